//! `RUN --mount=type=secret`: a file in memory, or a variable.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use distil_llb::pb;
use distil_sandbox::MountSource;
use distil_solver::OpError;

use super::ExecOp;
use crate::ephemeral::Secret;

impl ExecOp {
    /// The file of a secret; `None` for one that was not given and need not be.
    pub(super) fn secret_file(&self, mount: &pb::Mount) -> Result<Option<MountSource>, OpError> {
        let Some(options) = &mount.secret_opt else {
            return Ok(None);
        };
        let secret = self.secret(&options.id, options.optional)?;
        Ok(secret.map(|secret| MountSource::File {
            content: secret.bytes().to_vec(),
            uid: options.uid,
            gid: options.gid,
            mode: options.mode & 0o777,
            executable: options.mode & 0o111 != 0,
        }))
    }

    /// `NAME=VALUE` of a secret, its bytes as they are; empty for one that was not given and need not be.
    pub(super) fn secret_variable(&self, variable: &pb::SecretEnv) -> Result<OsString, OpError> {
        let secret = self.secret(&variable.id, variable.optional)?;
        let value = secret.map(Secret::bytes).unwrap_or_default();
        if value.contains(&0) {
            return Err(OpError::failed(format!(
                "secret `{}` has a zero byte, which the variable `{}` cannot hold: mount it as a file",
                variable.id, variable.name
            )));
        }
        let mut pair = format!("{}=", variable.name).into_bytes();
        pair.extend_from_slice(value);
        Ok(OsString::from_vec(pair))
    }

    fn secret(&self, id: &str, optional: bool) -> Result<Option<&Secret>, OpError> {
        match self.environment.ephemeral.secrets.get(id) {
            None if !optional => Err(OpError::failed(format!(
                "secret `{id}` is required and was not given: `--secret id={id},src=FILE` gives it, or `env=NAME`"
            ))),
            found => Ok(found),
        }
    }
}
