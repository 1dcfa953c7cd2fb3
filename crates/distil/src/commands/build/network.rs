//! Recognises that a step failed because of the network: it does not know a certificate authority, or does not
//! reach a server.

/// Why a download failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A server was not reached.
    Unreachable,
    /// A server's certificate is of an authority that the step does not know.
    Distrust,
    /// The same, and it is Java that says so.
    JavaDistrust,
}

impl Trouble {
    /// The way out; `lent` where the step was lent authorities.
    pub(super) fn hint(self, lent: bool) -> Option<&'static str> {
        match (self, lent) {
            (Self::Distrust | Self::JavaDistrust, false) => Some(
                "the step does not know the authority that signed a server's certificate: `--host-ca` lets it trust \
                 those of this machine, `--host-ca=FILE` others",
            ),
            (Self::JavaDistrust, true) => Some(
                "Java reads what `--host-ca` lends where it was there when the step began: install it in a RUN of its \
                 own, before the one that downloads",
            ),
            (Self::Distrust, true) => None,
            (Self::Unreachable, _) => Some(
                "the step did not reach a server: RUN has the network of this machine (without `--network none`) and \
                 its `http_proxy`, `https_proxy` and `no_proxy`; what was done before is cached, the same build goes \
                 on from there",
            ),
        }
    }
}

/// What programs say of such a certificate, in lower case.
const DISTRUST: &[&str] = &[
    // curl, git, cargo: OpenSSL and GnuTLS
    "ssl certificate problem",
    "server certificate verification failed",
    "ssl peer certificate or ssh remote key was not ok",
    // libgit2 in cargo
    "the ssl certificate is invalid",
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
    // wget
    "the certificate of",
    "unable to locally verify the issuer's authority",
    // rustls
    "invalid peer certificate: unknownissuer",
    // .NET
    "untrustedroot",
];

/// What Java says of such a certificate, in lower case.
const JAVA_DISTRUST: &[&str] = &[
    "pkix path building failed",
    "unable to find valid certification path",
    "the trustanchors parameter must be non-empty",
];

/// What programs say of a server that is not there, in lower case.
const UNREACHABLE: &[&str] = &[
    // curl, git
    "could not resolve host",
    "couldn't connect to server",
    "failed to connect to",
    // apt
    "temporary failure resolving",
    "could not resolve '",
    "cannot initiate the connection to",
    "unable to connect to",
    // wget
    "unable to resolve host address",
    "failed: connection refused",
    "wget: bad address",
    "failed: network is unreachable",
    // Python; what the C library says in many programs
    "failed to establish a new connection",
    "temporary failure in name resolution",
    "name or service not known",
    "connecttimeouterror",
    "readtimeouterror",
    // Go
    "dial tcp",
    // Cargo
    "could not resolve hostname",
    // Java
    "unknownhostexception",
    "java.net.connectexception",
    "connect timed out",
    "connection refused",
];

/// The same as codes of Node.js; others contain them in small letters.
const UNREACHABLE_CODES: &[&str] = &[
    "ENOTFOUND",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "ENETUNREACH",
];

/// Exit codes of programs that say nothing when they are told to be quiet (`curl -s`, `wget -q`).
const CODES: &[(&str, u8, Trouble)] = &[
    ("curl", 5, Trouble::Unreachable),
    ("curl", 6, Trouble::Unreachable),
    ("curl", 7, Trouble::Unreachable),
    ("curl", 60, Trouble::Distrust),
    ("wget", 4, Trouble::Unreachable),
    ("wget", 5, Trouble::Distrust),
];

/// What a line of output says.
pub(super) fn of_line(line: &[u8]) -> Option<Trouble> {
    let as_written = String::from_utf8_lossy(line);
    let line = as_written.to_lowercase();
    let distrust = DISTRUST.iter().any(|message| match *message {
        "the certificate of" => line.contains(message) && line.contains("is not trusted"),
        message => line.contains(message),
    });
    if distrust {
        return Some(Trouble::Distrust);
    }
    if JAVA_DISTRUST.iter().any(|message| line.contains(message)) {
        return Some(Trouble::JavaDistrust);
    }
    let unreachable = UNREACHABLE.iter().any(|message| line.contains(message))
        || UNREACHABLE_CODES.iter().any(|code| as_written.contains(code));
    unreachable.then_some(Trouble::Unreachable)
}

/// What the exit code of a command says.
pub(super) fn of_code(command: &str, code: u8) -> Option<Trouble> {
    let has = |program: &str| {
        let mut words = command.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| word == program)
    };
    let found = CODES
        .iter()
        .find(|(program, number, _)| *number == code && has(program));
    found.map(|(_, _, trouble)| *trouble)
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
            let trouble = of_line(line.as_bytes());
            assert_eq!(trouble > Some(Trouble::Unreachable), found, "{line}");
        }
    }

    #[test]
    fn servers_that_are_not_there_are_told_from_other_failures() {
        for (line, found) in [
            ("curl: (6) Could not resolve host: x.invalid", true),
            (
                "E: Failed to fetch http://x.invalid/a  Temporary failure resolving 'x.invalid'",
                true,
            ),
            ("wget: unable to resolve host address ‘x.invalid’", true),
            (
                "W: Failed to fetch https://x.invalid/a  Could not resolve 'x.invalid'",
                true,
            ),
            ("wget: bad address 'x.invalid'", true),
            (
                "npm ERR! request to https://x.invalid/a failed, reason: getaddrinfo ENOTFOUND x.invalid",
                true,
            ),
            (
                "go: a@v1: Get \"https://x.invalid/a\": dial tcp: lookup x.invalid: no such host",
                true,
            ),
            ("Caused by: java.net.UnknownHostException: x.invalid", true),
            ("java.io.FileNotFoundException: https://x/java", false),
            ("npm ERR! 404 Not Found", false),
            ("error: test failed", false),
        ] {
            assert_eq!(
                of_line(line.as_bytes()) == Some(Trouble::Unreachable),
                found,
                "{line}"
            );
        }
    }

    #[test]
    fn quiet_programs_end_with_codes() {
        for (command, code, trouble) in [
            ("RUN wget -qO- https://x | tar x", 5, Some(Trouble::Distrust)),
            (
                "[2/3] RUN /usr/bin/curl -s https://x",
                60,
                Some(Trouble::Distrust),
            ),
            ("RUN curl -s https://x", 6, Some(Trouble::Unreachable)),
            ("RUN curl -s https://x", 1, None),
            ("RUN curly", 60, None),
            ("RUN make", 5, None),
        ] {
            assert_eq!(of_code(command, code), trouble, "{command}");
        }
    }

    #[test]
    fn each_trouble_has_its_way_out() {
        assert!(
            Trouble::Distrust
                .hint(false)
                .is_some_and(|text| text.contains("`--host-ca`"))
        );
        assert_eq!(Trouble::Distrust.hint(true), None);
        assert!(
            Trouble::JavaDistrust
                .hint(true)
                .is_some_and(|text| text.contains("RUN of its own"))
        );
        assert_eq!(Trouble::Unreachable.hint(true), Trouble::Unreachable.hint(false));
    }
}
