//! Where a registry's API is.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The API's host of a registry name: Docker Hub's is another.
pub(crate) fn api_host(domain: &str) -> &str {
    if domain == "docker.io" {
        "registry-1.docker.io"
    } else {
        domain
    }
}

/// The host without its port.
fn bare_host(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a host is this machine, where plain http may be spoken.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = bare_host(host);
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || bare
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Where requests go: the registry itself or a mirror of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://host[:port]`, without a slash at the end.
    pub(crate) base: String,
    /// The name that logins are kept under.
    pub(crate) login: String,
    /// For mirrors: the registry that is meant (`ns` of the containerd convention).
    pub(crate) namespace: Option<String>,
}

impl Endpoint {
    /// The address of something in a repository: `manifests/latest`.
    pub(crate) fn url(&self, repository: &str, rest: &str) -> String {
        let namespace = self
            .namespace
            .as_ref()
            .map(|namespace| format!("?ns={namespace}"))
            .unwrap_or_default();
        format!("{}/v2/{repository}/{rest}{namespace}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:5000",
            "a.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "docker.io",
            "10.0.0.1:5000",
            "localhost.example.com",
            "[fd00::1]:5000",
            "1270.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
        assert_eq!(api_host("docker.io"), "registry-1.docker.io");
        assert_eq!(api_host("ghcr.io"), "ghcr.io");
    }
}
