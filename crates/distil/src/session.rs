//! What every command needs: where the store is, what the environment says.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use distil_store::{Prune, Store, Timestamp};

use crate::arguments::GlobalArgs;
use crate::config::{ConfigFile, Environment};
use crate::error::{CliError, chain};

/// Arguments, config files and environment of one invocation.
pub(crate) struct Session {
    pub(crate) environment: Environment,
    pub(crate) config: ConfigFile,
    pub(crate) global: GlobalArgs,
}

impl Session {
    /// Reads the config files.
    pub(crate) fn new(global: GlobalArgs) -> Result<Self, CliError> {
        let environment = Environment::read();
        let config = ConfigFile::read(&environment)?;
        let session = Self {
            environment,
            config,
            global,
        };
        session.debug(|| match session.config.read.as_slice() {
            [] => "no config file".into(),
            files => format!("config files {files:?}"),
        });
        Ok(session)
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> PathBuf {
        let chosen = self.global.root.clone().or_else(|| self.config.root.clone());
        chosen.unwrap_or_else(|| self.environment.default_root())
    }

    /// Opens the store.
    pub(crate) fn store(&self) -> Result<Store, CliError> {
        Store::open(&self.root()).map_err(store_error)
    }

    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }
}

/// A failure of the store as users read it; takes the error by value to fit `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err wants")]
pub(crate) fn store_error(error: distil_store::StoreError) -> CliError {
    CliError::failed(chain(&error))
}

impl Session {
    /// Starts distil again inside a user namespace, with the same arguments, and ends this process with its
    /// exit code. Returns only the reason why that is not possible.
    pub(crate) fn enter_namespace(&self) -> CliError {
        match distil_sandbox::userns::enter() {
            Ok(never) => match never {},
            Err(error) => {
                CliError::failed(chain(&error)).hint("`distil doctor` checks everything distil needs")
            }
        }
    }

    /// Makes sure that files of layers can be read, written and deleted with their owners: as root, or
    /// inside a user namespace.
    pub(crate) fn need_owners(&self) -> Result<(), CliError> {
        if distil_sandbox::userns::needed() {
            Err(self.enter_namespace())
        } else {
            Ok(())
        }
    }

    /// [`Session::need_owners`] when the next collection would delete files of layers.
    pub(crate) fn need_owners_to_collect(&self, store: &Store, prune: Prune<'_>) -> Result<(), CliError> {
        if distil_sandbox::userns::needed() && store.collect_dry_run(prune).map_err(store_error)?.layers > 0 {
            return Err(self.enter_namespace());
        }
        Ok(())
    }

    /// Tells what distil does, on standard error, when `--debug` asks for it.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.global.debug {
            let _ = writeln!(std::io::stderr(), "DEBUG: {}", message());
        }
    }
}
