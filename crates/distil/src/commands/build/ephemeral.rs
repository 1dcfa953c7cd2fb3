//! `--secret`, `--ssh`, `--host-ca`: what RUN steps are given that nothing keeps.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use distil_dockerfile::csv;
use distil_engine::{Ephemeral, HostCa, Secret};
use distil_fetch::TrustRoots;

use super::network::Trouble;
use crate::error::{CliError, chain};
use crate::session::Session;

/// BuildKit's limit for the bytes of a secret.
const MAX_SECRET_SIZE: u64 = 500 * 1024;

/// What RUN steps are given that leaves no trace in image and cache.
#[derive(Debug, Args)]
pub(crate) struct EphemeralArgs {
    /// Secret for RUN --mount=type=secret: id=NAME with src=FILE or env=VARIABLE
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Agent for RUN --mount=type=ssh: `default`, or NAME=SOCKET
    #[arg(long = "ssh", value_name = "NAME[=SOCKET]")]
    ssh: Vec<String>,
    /// Let programs in RUN trust this machine's certificate authorities, or those of FILE, and leave no trace of it
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "FILE", default_missing_value = "true",
          env = "DISTIL_HOST_CA")]
    host_ca: Option<String>,
}

/// Value of the config file's `host-ca`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged, expecting = "it is `true`, `false` or the path of a file")]
pub(crate) enum HostCaKey {
    /// The machine's own authorities, or none.
    Switch(bool),
    /// Those of a file.
    File(PathBuf),
}

/// Where the value of a secret is.
#[derive(Debug, PartialEq, Eq)]
enum SecretSource {
    Variable(String),
    File(PathBuf),
}

/// Checked arguments. The values are read only by [`Sources::read`], when RUN may need them: what comes from a
/// pipe can be read once.
#[derive(Debug)]
pub(crate) struct Sources {
    secrets: BTreeMap<String, SecretSource>,
    ssh_agents: BTreeMap<String, PathBuf>,
    host_ca: HostCaKey,
}

impl Sources {
    /// Checks the arguments.
    pub(crate) fn parse(session: &Session, args: &EphemeralArgs) -> Result<Self, CliError> {
        let mut secrets = BTreeMap::new();
        for text in args.secrets.iter().filter(|text| !text.is_empty()) {
            let (id, source) = secret(text, &|name| std::env::var_os(name).is_some())?;
            secrets.insert(id, source);
        }
        let host_ca = match args.host_ca.as_deref() {
            Some("true" | "1") => HostCaKey::Switch(true),
            Some("false" | "0") => HostCaKey::Switch(false),
            Some(file) if !file.is_empty() => HostCaKey::File(PathBuf::from(file)),
            // An empty variable counts as not set.
            _ => session.config.host_ca.clone().unwrap_or(HostCaKey::Switch(false)),
        };
        let variable = session.environment.get("SSH_AUTH_SOCK");
        let mut ssh_agents = BTreeMap::new();
        for text in args.ssh.iter().filter(|text| !text.is_empty()) {
            let (id, socket) = ssh_agent(text, variable)?;
            if ssh_agents.insert(id, socket).is_some() {
                return Err(CliError::usage(format!(
                    "`--ssh {text}`: this agent was named before"
                )));
            }
        }
        Ok(Self {
            secrets,
            ssh_agents,
            host_ca,
        })
    }

    /// The error with a way out, for a step that did not reach a server, or that did not know a certificate
    /// authority and was lent none.
    pub(super) fn hint_of_failure(&self, error: CliError, trouble: Option<Trouble>) -> CliError {
        let lent = self.host_ca != HostCaKey::Switch(false);
        match trouble.and_then(|trouble| trouble.hint(lent)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Reads the values.
    pub(crate) fn read(&self, session: &Session) -> Result<Ephemeral, CliError> {
        let secrets = self
            .secrets
            .iter()
            .map(|(id, source)| Ok((id.clone(), Secret::new(value(id, source)?))));
        Ok(Ephemeral {
            secrets: secrets.collect::<Result<_, CliError>>()?,
            ssh_agents: self.ssh_agents.clone(),
            host_ca: self.authorities(session)?,
        })
    }
}

impl Sources {
    fn authorities(&self, session: &Session) -> Result<Option<HostCa>, CliError> {
        let path = match &self.host_ca {
            HostCaKey::Switch(false) => return Ok(None),
            HostCaKey::File(path) => path.clone(),
            HostCaKey::Switch(true) => {
                let roots = TrustRoots {
                    bundle: session.environment.get("SSL_CERT_FILE").map(PathBuf::from),
                    ..TrustRoots::default()
                };
                let files = roots.files().map_err(|error| CliError::failed(chain(&error)))?;
                files.into_iter().next().unwrap_or_default()
            }
        };
        let text = std::fs::read(&path).map_err(|error| {
            CliError::failed(format!("--host-ca: cannot read `{}`: {error}", path.display()))
        })?;
        Ok(Some(HostCa::new(&path, text)))
    }
}

/// Reads `id=NAME,src=FILE`, `id=NAME,env=VARIABLE`, `type=file|env,...` as buildx does: without a source the
/// variable of that name is taken if it is set, else the file.
fn secret(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<(String, SecretSource), CliError> {
    let wrong = |problem: &str| {
        CliError::usage(format!("`--secret {text}`: {problem}"))
            .hint("write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    };
    let fields = csv::fields(text).map_err(|(reason, _)| wrong(reason))?;
    let (mut kind, mut id, mut file, mut variable) = (None, None, None, None);
    for (field, _) in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(&format!("`{field}` is not KEY=VALUE")));
        };
        match (key.to_ascii_lowercase().as_str(), value) {
            ("type", "file" | "env") => kind = Some(value),
            ("type", other) => return Err(wrong(&format!("there is no type `{other}`, but file and env"))),
            ("id", value) => id = Some(value),
            ("source" | "src", value) => file = Some(value),
            ("env", value) => variable = Some(value),
            (other, _) => return Err(wrong(&format!("there is no `{other}`"))),
        }
    }
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err(wrong("it has no id"));
    };
    if kind == Some("env") && variable.is_none_or(str::is_empty) {
        variable = file.take();
    }
    let given = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    let source = match (given(variable), given(file)) {
        (Some(variable), _) => SecretSource::Variable(variable),
        (None, Some(file)) => SecretSource::File(PathBuf::from(file)),
        (None, None) if kind != Some("file") && is_set(id) => SecretSource::Variable(id.to_owned()),
        (None, None) => SecretSource::File(PathBuf::from(id)),
    };
    Ok((id.to_owned(), source))
}

/// Reads `NAME[=SOCKET]`; without a socket it is that of the caller's agent, `variable`.
fn ssh_agent(text: &str, variable: Option<&str>) -> Result<(String, PathBuf), CliError> {
    let wrong = |problem: String| CliError::usage(format!("`--ssh {text}`: {problem}"));
    let (id, path) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    let path = match (path, variable) {
        ("", Some(path)) => path,
        ("", None) => {
            return Err(wrong("there is no agent: `SSH_AUTH_SOCK` is not set".into())
                .hint("start one with `eval $(ssh-agent)` and give it the key with ssh-add"));
        }
        (path, _) => path,
    };
    // A relative path is the caller's, and the step has another working directory.
    let path = std::path::absolute(path)?;
    let metadata = std::fs::metadata(&path)
        .map_err(|error| wrong(format!("cannot find `{}`: {error}", path.display())))?;
    match std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
        true => Ok((id.to_owned(), path)),
        false => Err(wrong(format!(
            "`{}` is not the socket of an agent, and key files are not supported",
            path.display()
        ))
        .hint("give the key to an agent with ssh-add, and name the agent")),
    }
}

fn value(id: &str, source: &SecretSource) -> Result<Vec<u8>, CliError> {
    let value = match source {
        // As with buildx, a variable that is not set is empty.
        SecretSource::Variable(name) => std::env::var_os(name).map(OsString::into_vec).unwrap_or_default(),
        SecretSource::File(path) => read_file(id, path)?,
    };
    if value.len() as u64 > MAX_SECRET_SIZE {
        return Err(CliError::failed(format!(
            "secret `{id}` has more than the {} KiB that a secret may have",
            MAX_SECRET_SIZE / 1024
        )));
    }
    Ok(value)
}

/// The bytes of a file, up to one more than a secret may have.
fn read_file(id: &str, path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET_SIZE + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            CliError::failed(format!(
                "secret `{id}`: cannot read `{}`: {error}",
                path.display()
            ))
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_as_buildx_reads_them() {
        let file = |path: &str| Some(SecretSource::File(path.into()));
        let variable = |name: &str| Some(SecretSource::Variable(name.into()));
        for (text, source) in [
            ("id=a,src=f", file("f")),
            ("id=a,source=f", file("f")),
            ("ID=a,SRC=f", file("f")),
            ("type=file,id=a,src=f", file("f")),
            ("id=a,env=V", variable("V")),
            ("type=env,id=a,env=V", variable("V")),
            ("type=env,id=a,src=V", variable("V")),
            ("id=a", file("a")),
            ("id=SET", variable("SET")),
            ("type=file,id=SET", file("SET")),
            ("type=env,id=SET", variable("SET")),
            ("id=a,src=f,env=V", variable("V")),
            ("id=a,\"src=f,g\"", file("f,g")),
            ("src=f", None),
            ("id=,src=f", None),
            ("id", None),
            ("a", None),
            ("id=a,type=other", None),
            ("id=a,mode=0400", None),
            ("id=a,\"src=f", None),
        ] {
            let read = secret(text, &|name| name == "SET").ok().map(|(_, source)| source);
            assert_eq!(read, source, "{text}");
        }
    }
}
