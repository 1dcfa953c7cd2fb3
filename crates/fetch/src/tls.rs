//! Whom to trust.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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

    /// All trusted certificates.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, FetchError> {
        let mut all = Vec::new();
        for path in self.files()? {
            all.extend(read_file(&path)?);
        }
        Ok(all)
    }
}

fn read_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let wrong = |reason: String| FetchError::Roots {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

/// The usual verification, and one case more: a server that shows a certificate which is itself in the bundle.
///
/// Such are the certificates that `openssl req -x509` makes for private servers. They are marked as authorities, for
/// which the library refuses them as servers; OpenSSL and Go take them.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    trusted: HashSet<CertificateDer<'static>>,
}

impl Verifier {
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
        let known = self.trusted.contains(certificate);
        let parsed = ParsedCertificate::try_from(certificate);
        known && parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self
            .usual
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match usual {
            // Its time was looked at before: an expired certificate is another error.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if self.is_trusted_itself(end_entity, server_name) => Ok(ServerCertVerified::assertion()),
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
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
        let failed = |reason: String| FetchError::Tls {
            host: String::new(),
            reason,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusted = self.roots.certificates()?;
        let mut store = RootCertStore::empty();
        // Bundles hold a few certificates that the library cannot use; the others still count.
        store.add_parsable_certificates(trusted.iter().cloned());
        let usual =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build();
        let usual = usual.map_err(|error| failed(error.to_string()))?;
        let verifier = Verifier {
            usual,
            trusted: trusted.into_iter().collect(),
        };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| failed(error.to_string()))?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = builder.with_no_client_auth();
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
