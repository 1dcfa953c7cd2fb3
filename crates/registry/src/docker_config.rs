//! Docker's `config.json`: `auths`, `credsStore` and `credHelpers`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use distil_fetch::Redacted;
use serde::Deserialize;

use crate::{Credentials, CredentialsError, Login};

/// The key of Docker Hub, which is an address of long ago.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The names that Docker Hub goes by.
const HUB_NAMES: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];
/// A helper gives this as the user when the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Some programs write the padding, some do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The logins of a Docker config. Helpers are programs `docker-credential-NAME` on the search path.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DockerConfig {
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<SecretText>,
    username: Option<String>,
    password: Option<SecretText>,
    identitytoken: Option<SecretText>,
    registrytoken: Option<SecretText>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A secret text in JSON.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct SecretText(String);

/// What a helper writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl DockerConfig {
    /// Reads the text of a `config.json`. Fields that are not about logins are ignored.
    ///
    /// # Errors
    /// When it is not JSON of that shape.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(CredentialsError::Json)
    }

    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self
            .cred_helpers
            .iter()
            .flatten()
            .find(|(key, _)| same_registry(key, registry));
        let helper = own.map(|(_, helper)| helper).or(self.creds_store.as_ref());
        helper.map(String::as_str).filter(|helper| !helper.is_empty())
    }

    fn entry(&self, registry: &str) -> Result<Option<Login>, CredentialsError> {
        let mut entries = self
            .auths
            .iter()
            .flatten()
            .filter(|(key, _)| same_registry(key, registry));
        entries
            .find_map(|(key, entry)| entry.login(key).transpose())
            .transpose()
    }
}

impl Entry {
    /// Entries without any secret are marks that a helper has it.
    fn login(&self, key: &str) -> Result<Option<Login>, CredentialsError> {
        let given = |secret: &Option<SecretText>| {
            secret
                .as_ref()
                .filter(|secret| !secret.0.is_empty())
                .map(|secret| secret.0.clone())
        };
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Login::IdentityToken(token.into())));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Login::RegistryToken(token.into())));
        }
        if let Some(auth) = given(&self.auth) {
            let wrong = || CredentialsError::Auth {
                server: key.to_owned(),
            };
            let decoded = BASE64.decode(auth.trim()).map_err(|_| wrong())?;
            let text = String::from_utf8(decoded).map_err(|_| wrong())?;
            let (username, password) = text.split_once(':').ok_or_else(wrong)?;
            // Docker pads passwords with zero bytes.
            let password = password.trim_end_matches('\0').to_owned().into();
            return Ok(Some(Login::Password {
                username: username.to_owned(),
                password,
            }));
        }
        let password = given(&self.password);
        let login = self.username.clone().zip(password);
        Ok(login.map(|(username, password)| Login::Password {
            username,
            password: password.into(),
        }))
    }
}

/// Keys may be hosts or addresses (`https://ghcr.io/v2/`); only the host counts.
fn same_registry(key: &str, registry: &str) -> bool {
    let host = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let host = host.split('/').next().unwrap_or_default();
    let hub = |name: &str| HUB_NAMES.contains(&name);
    host == registry || (hub(host) && hub(registry))
}

impl Credentials for DockerConfig {
    fn find(&self, registry: &str) -> Result<Option<Login>, CredentialsError> {
        let server = if HUB_NAMES.contains(&registry) {
            HUB_KEY
        } else {
            registry
        };
        let by_helper = match self.helper(registry) {
            Some(helper) => ask(&format!("docker-credential-{helper}"), server)?,
            None => None,
        };
        match by_helper {
            Some(login) => Ok(Some(login)),
            None => self.entry(registry),
        }
    }
}

/// Asks a helper. Source of its protocol: github.com/docker/docker-credential-helpers.
fn ask(program: &str, server: &str) -> Result<Option<Login>, CredentialsError> {
    let missing = |source| CredentialsError::HelperMissing {
        program: program.to_owned(),
        server: server.to_owned(),
        source,
    };
    let failed = |reason: String| CredentialsError::Helper {
        program: program.to_owned(),
        server: server.to_owned(),
        reason,
    };
    let mut command = Command::new(program);
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(missing)?;
    if let Some(mut input) = child.stdin.take() {
        let written = input.write_all(server.as_bytes());
        // A helper that does not read what it is asked has its reason on its output.
        written.or_else(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(())
            } else {
                Err(missing(error))
            }
        })?;
    }
    let output = child.wait_with_output().map_err(missing)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // Helpers report errors on standard output.
        let words = format!(
            "{} {}",
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let none = words.contains("credentials not found") || words.contains("no credentials server URL");
        return if none {
            Ok(None)
        } else {
            Err(failed(words.trim().to_owned()))
        };
    }
    let answer: HelperAnswer = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    let secret = Redacted::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Login::IdentityToken(secret),
        _ => Login::Password {
            username: answer.username,
            password: secret,
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn password(username: &str, password: &str) -> Login {
        Login::Password {
            username: username.into(),
            password: password.to_owned().into(),
        }
    }

    #[test]
    fn finds_entries_by_any_spelling() {
        let config = DockerConfig::parse(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpwOnc="},
                "ghcr.io": {"auth": "dTpw"},
                "https://quay.io/v2/": {"username": "a", "password": "b"},
                "id.example": {"auth": "dTo=", "identitytoken": "t"},
                "reg.example": {"registrytoken": "r"},
                "empty.example": {},
                "bad.example": {"auth": "@@"}
            }, "HttpHeaders": {"User-Agent": "x"}}"#,
        )
        .unwrap();
        let find = |registry: &str| config.find(registry).unwrap();
        assert_eq!(find("docker.io"), Some(password("u", "p:w")));
        assert_eq!(find("ghcr.io"), Some(password("u", "p")));
        assert_eq!(find("quay.io"), Some(password("a", "b")));
        assert_eq!(
            find("id.example"),
            Some(Login::IdentityToken("t".to_owned().into()))
        );
        assert_eq!(
            find("reg.example"),
            Some(Login::RegistryToken("r".to_owned().into()))
        );
        assert_eq!(find("empty.example"), None);
        assert_eq!(find("other.example"), None);
        assert!(matches!(
            config.find("bad.example"),
            Err(CredentialsError::Auth { .. })
        ));
        let shown = format!("{config:?}");
        assert!(!shown.contains("dTpw") && !shown.contains("\"b\""), "{shown}");
    }

    #[test]
    fn nulls_and_nothing() {
        assert_eq!(DockerConfig::parse("").unwrap().find("docker.io").unwrap(), None);
        let text = r#"{"auths": null, "credHelpers": null, "credsStore": ""}"#;
        assert_eq!(
            DockerConfig::parse(text).unwrap().find("docker.io").unwrap(),
            None
        );
        assert!(DockerConfig::parse("[").is_err());
    }

    #[test]
    fn asks_helpers() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r server\ncase $server in\n\
            a) echo '{\"ServerURL\":\"a\",\"Username\":\"u\",\"Secret\":\"p\"}';;\n\
            t) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\n\
            n) echo 'credentials not found in native keychain'; exit 1;;\n\
            *) echo 'locked'; exit 1;;\nesac\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let ask = |server| super::ask(program.to_str().unwrap(), server);
        assert_eq!(ask("a").unwrap(), Some(password("u", "p")));
        assert_eq!(
            ask("t").unwrap(),
            Some(Login::IdentityToken("t".to_owned().into()))
        );
        assert_eq!(ask("n").unwrap(), None);
        assert!(matches!(ask("x"), Err(CredentialsError::Helper { reason, .. }) if reason == "locked"));

        let config =
            DockerConfig::parse(r#"{"credsStore": "no-such", "credHelpers": {"x.io": "other"}}"#).unwrap();
        assert!(
            matches!(config.find("docker.io"), Err(CredentialsError::HelperMissing { program, .. })
            if program == "docker-credential-no-such")
        );
        assert_eq!(config.helper("x.io"), Some("other"));
    }
}
