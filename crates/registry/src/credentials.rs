//! Who logs in where.

use std::fmt;

use distil_fetch::Redacted;

/// What a registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user.
        username: String,
        /// The password, or a personal access token.
        password: Redacted<String>,
    },
    /// A token that is exchanged for access tokens (OAuth2 refresh token).
    IdentityToken(Redacted<String>),
    /// A token that is shown to the registry as it is.
    RegistryToken(Redacted<String>),
}

/// Why a login cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The config is not the JSON it should be.
    #[error("docker config: {0}")]
    Json(#[source] serde_json::Error),
    /// An `auth` entry is not base64 of `user:password`.
    #[error("docker config: the entry for `{server}` in `auths` is not the base64 form of `user:password`")]
    Auth {
        /// The entry's key.
        server: String,
    },
    /// A helper cannot be run.
    #[error(
        "cannot run `{program}`, which the docker config names for `{server}`: {source}; \
         install it or remove `credsStore` and `credHelpers` from the config"
    )]
    HelperMissing {
        /// The program.
        program: String,
        /// The registry.
        server: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A helper failed.
    #[error("`{program}` failed for `{server}`: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// The registry.
        server: String,
        /// Its words, or what is wrong with them.
        reason: String,
    },
}

/// Knows the logins of registries.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The login for a registry, named as in an image name (`docker.io`, `localhost:5000`), or `None` to stay
    /// anonymous. Called only when the registry asks, and at most once per registry and [`crate::Remote`].
    ///
    /// # Errors
    /// When there is a login but it cannot be had.
    fn find(&self, registry: &str) -> Result<Option<Login>, CredentialsError>;
}

/// Always anonymous.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn find(&self, _: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(None)
    }
}
