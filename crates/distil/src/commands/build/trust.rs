//! Recognises that a step failed because it does not know a certificate authority.

/// The way out.
pub(super) const HINT: &str = "the step does not know the authority that signed a server's certificate: \
                               `--host-ca` lets it trust those of this machine, `--host-ca=FILE` others";

/// What programs say of such a certificate, in lower case.
const MESSAGES: &[&str] = &[
    // curl, git, cargo: OpenSSL and GnuTLS
    "ssl certificate problem",
    "server certificate verification failed",
    "ssl peer certificate or ssh remote key was not ok",
    // apt
    "the certificate issuer is unknown",
    "certificate verify failed",
    // Python
    "certificate_verify_failed",
    // Node.js
    "self_signed_cert_in_chain",
    "depth_zero_self_signed_cert",
    "unable_to_get_issuer_cert",
    "unable_to_verify_leaf_signature",
    "unable to get local issuer certificate",
    "unable to verify the first certificate",
    // Go
    "certificate signed by unknown authority",
    // Java
    "pkix path building failed",
    "unable to find valid certification path",
    "the trustanchors parameter must be non-empty",
    // wget
    "the certificate of",
    "unable to locally verify the issuer's authority",
    // rustls
    "invalid peer certificate: unknownissuer",
    // .NET
    "untrustedroot",
];

/// Whether a line of output says so.
pub(super) fn is_distrust(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_lowercase();
    MESSAGES.iter().any(|message| match *message {
        "the certificate of" => line.contains(message) && line.contains("is not trusted"),
        message => line.contains(message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_real_programs() {
        for (line, found) in [
            (
                "curl: (60) SSL certificate problem: unable to get local issuer certificate",
                true,
            ),
            (
                "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none",
                true,
            ),
            (
                "  Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.  Could not handshake: Error in the certificate verification.",
                true,
            ),
            (
                "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain (_ssl.c:992)'))",
                true,
            ),
            ("npm ERR! code SELF_SIGNED_CERT_IN_CHAIN", true),
            (
                "  [60] SSL peer certificate or SSH remote key was not OK (SSL certificate problem)",
                true,
            ),
            (
                "go: x: Get \"https://x\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                true,
            ),
            (
                "[ERROR] PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid certification path to requested target",
                true,
            ),
            ("ERROR: The certificate of 'x' is not trusted.", true),
            ("curl: (6) Could not resolve host: x", false),
            ("the certificate of merit", false),
            ("tls: handshake failure", false),
            ("", false),
        ] {
            assert_eq!(is_distrust(line.as_bytes()), found, "{line}");
        }
    }
}
