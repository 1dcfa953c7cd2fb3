//! Package URLs: <https://github.com/package-url/purl-spec>.

use std::fmt::Write;

use super::{Ecosystem, Package};
use crate::OsRelease;

/// Of a package of a language. `name` has the group of Maven before a colon, npm's scope, Go's whole path.
pub(crate) fn of_language(ecosystem: Ecosystem, name: &str, version: &str) -> String {
    let path = match ecosystem {
        Ecosystem::Maven => match name.split_once(':') {
            Some((group, artifact)) => format!("{}/{}", encoded(group), encoded(artifact)),
            None => encoded(name),
        },
        // PEP 503: letter case and `-`, `_`, `.` make no difference.
        Ecosystem::Pypi => encoded(&normal_python_name(name)),
        _ => name.split('/').map(encoded).collect::<Vec<_>>().join("/"),
    };
    let kind = ecosystem.purl_type();
    match version {
        "" | "(devel)" => format!("pkg:{kind}/{path}"),
        version => format!("pkg:{kind}/{path}@{}", encoded(version)),
    }
}

/// Of a Debian package; the distribution is that of the image, Debian where it does not say.
pub(crate) fn of_deb(package: &Package, system: Option<&OsRelease>) -> String {
    let distribution = system
        .map(|system| system.id.as_str())
        .filter(|id| !id.is_empty());
    let distribution = distribution.unwrap_or("debian");
    let mut purl = format!(
        "pkg:deb/{}/{}@{}",
        encoded(distribution),
        encoded(&package.name),
        encoded(&package.version)
    );
    let mut sign = '?';
    let mut qualifier = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(purl, "{sign}{name}={}", encoded(value));
        sign = '&';
    };
    if !package.architecture.is_empty() {
        qualifier("arch", &package.architecture);
    }
    if let Some(system) = system.filter(|system| !system.version_id.is_empty()) {
        qualifier("distro", &format!("{distribution}-{}", system.version_id));
    }
    let source = &package.source;
    match (source.name == package.name, source.version == package.version) {
        (true, true) => {}
        (_, true) => qualifier("upstream", &source.name),
        (_, false) => qualifier("upstream", &format!("{}@{}", source.name, source.version)),
    }
    purl
}

/// A name of Python's index in the one form that all its forms have: lower case, `-` for runs of `-`, `_`, `.`.
#[must_use]
pub fn normal_python_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            _ => normal.extend(letter.to_lowercase()),
        }
    }
    normal
}

/// Percent-encodes everything but letters, digits and `.-_~:`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages() {
        for (ecosystem, name, version, purl) in [
            (
                Ecosystem::Npm,
                "@babel/core",
                "7.0.0+x",
                "pkg:npm/%40babel/core@7.0.0%2Bx",
            ),
            (
                Ecosystem::Golang,
                "github.com/a/b/v2",
                "v2.0.0",
                "pkg:golang/github.com/a/b/v2@v2.0.0",
            ),
            (
                Ecosystem::Golang,
                "example.com/a",
                "(devel)",
                "pkg:golang/example.com/a",
            ),
            (
                Ecosystem::Pypi,
                "Ruamel.yaml__x",
                "1!2",
                "pkg:pypi/ruamel-yaml-x@1%212",
            ),
            (Ecosystem::Maven, "org.a:b", "1", "pkg:maven/org.a/b@1"),
            (Ecosystem::Maven, "b", "", "pkg:maven/b"),
        ] {
            assert_eq!(of_language(ecosystem, name, version), purl);
        }
    }
}
