//! Whom to trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::FetchError;

/// Where systems keep their certificates, in one file. Source: Go's crypto/x509 `root_linux.go`.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The certificate bundles to trust, read when the first TLS connection is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustRoots {
    /// Replaces the system's bundle (`SSL_CERT_FILE`).
    pub bundle: Option<PathBuf>,
    /// Trusted as well.
    pub extra: Vec<PathBuf>,
}

impl TrustRoots {
    /// The files whose certificates are trusted, in the order in which they are read.
    ///
    /// # Errors
    /// When there is neither a bundle nor a system's one.
    pub fn files(&self) -> Result<Vec<PathBuf>, FetchError> {
        let system = || {
            SYSTEM_BUNDLES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.is_file())
        };
        let mut files: Vec<PathBuf> = self.bundle.clone().or_else(system).into_iter().collect();
        files.extend(self.extra.iter().cloned());
        if files.is_empty() {
            let reason = "the system has no bundle; install ca-certificates or set SSL_CERT_FILE".to_owned();
            return Err(FetchError::Roots {
                path: SYSTEM_BUNDLES[0].into(),
                reason,
            });
        }
        Ok(files)
    }

    fn store(&self) -> Result<RootCertStore, FetchError> {
        let mut store = RootCertStore::empty();
        for path in self.files()? {
            add_file(&mut store, &path)?;
        }
        Ok(store)
    }
}

fn add_file(store: &mut RootCertStore, path: &Path) -> Result<(), FetchError> {
    let wrong = |reason: String| FetchError::Roots {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    // Bundles hold a few certificates that the library cannot use; the others still count.
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(())
}

/// The TLS settings, made at first use: reading the bundle costs milliseconds that a build without network saves.
#[derive(Debug, Default)]
pub(crate) struct LazyTls {
    roots: TrustRoots,
    config: OnceLock<Arc<ClientConfig>>,
}

impl LazyTls {
    pub(crate) fn new(roots: TrustRoots) -> Self {
        Self {
            roots,
            config: OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Result<Arc<ClientConfig>, FetchError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| FetchError::Tls {
            host: String::new(),
            reason: error.to_string(),
        })?;
        let config = builder
            .with_root_certificates(self.roots.store()?)
            .with_no_client_auth();
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_bundle_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let get = || {
            LazyTls::new(TrustRoots {
                bundle: Some(path.clone()),
                extra: vec![],
            })
            .get()
        };
        assert!(matches!(get(), Err(FetchError::Roots { path: wrong, .. }) if wrong == path));
        fs::write(&path, "nothing here").unwrap();
        assert!(get().unwrap_err().to_string().contains("holds no certificate"));
    }
}
