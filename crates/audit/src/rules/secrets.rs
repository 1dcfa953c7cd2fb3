//! Keys, passwords and the files that hold them, also where a later layer hides them.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::catalog::SECRET;
use super::{Image, quoted};
use crate::{AuditError, Entry, Finding};

/// What contents give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposed {
    /// A private key in PEM.
    PrivateKey,
    /// A Java keystore with a private key, which its password does not protect well.
    Keystore,
    /// Nothing but public keys or certificates.
    Public,
}

/// Names of files that hold secrets.
const NAMES: [&str; 13] = [
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".pgpass",
    "kubeconfig",
    ".env",
    ".dockercfg",
];
/// Ends of such names.
const SUFFIXES: [&str; 4] = [".key", ".p12", ".pfx", ".kdbx"];
/// Ends of such paths.
const PATHS: [&str; 5] = [
    "/.docker/config.json",
    "/.aws/credentials",
    "/.kube/config",
    "/.config/gcloud/application_default_credentials.json",
    "/.cargo/credentials.toml",
];
/// What `.ssh` has besides keys.
const SSH_PUBLIC: [&str; 5] = ["known_hosts", "authorized_keys", "config", "environment", "rc"];
/// Formats without text in them.
const BINARY: [&str; 30] = [
    ".a", ".avi", ".bmp", ".bz2", ".class", ".dat", ".deb", ".eot", ".gif", ".gz", ".ico", ".jar", ".jpeg",
    ".jpg", ".mo", ".mp3", ".mp4", ".o", ".otf", ".png", ".pyc", ".rlib", ".so", ".tiff", ".ttf", ".webp",
    ".woff", ".woff2", ".xz", ".zst",
];

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let mut groups = HashSet::new();
    for entry in image.view.entries() {
        if !entry.node.kind.is_file() || entry.size() == 0 {
            continue;
        }
        let exposed = image.contents.of(entry).and_then(|facts| facts.secret);
        let Some(message) = message(image, entry, exposed) else {
            continue;
        };
        if entry.link_group.is_none_or(|group| groups.insert(group)) {
            found.push(SECRET.at(image, entry, message));
        }
    }
    hidden(image, found);
    Ok(())
}

fn message(image: &Image<'_>, entry: &Entry, exposed: Option<Exposed>) -> Option<String> {
    let path = quoted(&entry.path);
    match exposed {
        Some(Exposed::PrivateKey) => return Some(format!("{path} holds a private key")),
        Some(Exposed::Keystore) => return Some(format!("{path} is a keystore with a private key")),
        Some(Exposed::Public) => return None,
        None => {}
    }
    // What a package ships is public.
    let named = is_named_so(&entry.path) && image.inventory.owner(&entry.path).is_none();
    named.then(|| format!("{path} is where keys or passwords are kept"))
}

/// Files that a later layer replaced or removed: whoever pulls the image has them.
fn hidden(image: &Image<'_>, found: &mut Vec<Finding>) {
    let hidden = image.view.hidden();
    let mut told: Vec<(usize, &str)> = Vec::new();
    for (at, one) in hidden.iter().enumerate() {
        let exposed = image.contents.hidden.iter().find(|(number, _)| *number == at);
        let what = match exposed.map(|(_, exposed)| exposed) {
            Some(Exposed::PrivateKey) => "holds a private key",
            Some(Exposed::Keystore) => "is a keystore with a private key",
            Some(Exposed::Public) => continue,
            None if one.node.kind.is_file() && one.node.size > 0 && is_named_so(&one.path) => {
                "is where keys or passwords are kept"
            }
            None => continue,
        };
        if image.inventory.owner(&one.path).is_none() {
            told.push((at, what));
        }
    }
    for (at, what) in told {
        let Some(one) = hidden.get(at) else { continue };
        let message = format!(
            "{} {what}; layer {} hides it, but whoever has the image has layer {} too",
            quoted(&one.path),
            one.by,
            one.layer
        );
        let mut finding = SECRET.about(message);
        finding.path = Some(one.path.clone());
        finding.layer = Some(one.layer);
        finding.instruction = image.instruction(one.layer);
        found.push(finding);
    }
}

/// Whether a path is one where secrets are kept.
fn is_named_so(path: &Path) -> bool {
    let whole = path.as_os_str().as_bytes();
    let Some(name) = path.file_name().map(OsStrExt::as_bytes) else {
        return false;
    };
    let ends = |ends: &[&str], text: &[u8]| ends.iter().any(|end| text.ends_with(end.as_bytes()));
    let is = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
    let parent = path.parent().and_then(Path::file_name);
    let in_ssh =
        parent.is_some_and(|parent| parent == ".ssh") && !name.ends_with(b".pub") && !is(&SSH_PUBLIC);
    is(&NAMES) || ends(&SUFFIXES, name) || ends(&PATHS, whole) || in_ssh
}

/// Whether a file of this name is searched for keys.
pub(super) fn may_hold_key(name: &[u8]) -> bool {
    !BINARY.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// What the contents of a file give away. A mark alone, as programs that read keys have it, is none.
pub(super) fn exposed(path: &Path, contents: &[u8]) -> Option<Exposed> {
    if contents.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        // Version and number of entries follow, then 1 for a key or 2 for a certificate.
        return (contents.get(12..16) == Some(&[0, 0, 0, 1])).then_some(Exposed::Keystore);
    }
    let text = contents.trim_ascii_start();
    for at in memchr::memmem::find_iter(contents, b"-----BEGIN ") {
        let rest = &contents[at + 11..];
        let Some(end) = memchr::memmem::find(&rest[..rest.len().min(48)], b"-----") else {
            continue;
        };
        let label = &rest[..end];
        let private = label.ends_with(b"PRIVATE KEY") || label == b"PGP PRIVATE KEY BLOCK";
        let at_start = contents.len() - text.len() == at;
        if private && (at_start || is_base64(&rest[end + 5..])) {
            return Some(Exposed::PrivateKey);
        }
    }
    // A file that is named as a key, but has only public ones.
    let public = text.starts_with(b"-----BEGIN ") && path.as_os_str().as_bytes().ends_with(b".key");
    public.then_some(Exposed::Public)
}

/// Whether key data follows: line ends, real ones or as a program's text has them, perhaps headers, then base64.
fn is_base64(rest: &[u8]) -> bool {
    const ENOUGH: usize = 32;
    let window = &rest[..rest.len().min(512)];
    let mut run = 0;
    for byte in window {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => run += 1,
            _ => run = 0,
        }
        if run >= ENOUGH {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_secrets() {
        for (path, expected) in [
            ("/root/.ssh/id_ed25519", true),
            ("/root/.ssh/work", true),
            ("/root/.ssh/work.pub", false),
            ("/root/.ssh/known_hosts", false),
            ("/app/.env", true),
            ("/app/.env.example", false),
            ("/root/.docker/config.json", true),
            ("/app/config.json", false),
            ("/etc/tls/server.key", true),
            ("/app/store.kdbx", true),
            ("/app/monkey", false),
        ] {
            assert_eq!(is_named_so(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn keys_and_mere_marks() {
        let data = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
        let key = |label: &str| format!("x\n-----BEGIN {label}-----\n{data}\n");
        let json = format!(r#"{{"private_key": "-----BEGIN PRIVATE KEY-----\n{data}\n"}}"#);
        let lines = format!(
            "a = '-----BEGIN RSA PRIVATE KEY-----'\n# {data}",
            data = &data[..20]
        );
        for (contents, expected) in [
            (key("PRIVATE KEY"), Some(Exposed::PrivateKey)),
            (key("OPENSSH PRIVATE KEY"), Some(Exposed::PrivateKey)),
            (key("PGP PRIVATE KEY BLOCK"), Some(Exposed::PrivateKey)),
            (json, Some(Exposed::PrivateKey)),
            (
                "\n-----BEGIN EC PRIVATE KEY-----\nabc".into(),
                Some(Exposed::PrivateKey),
            ),
            (key("PUBLIC KEY"), None),
            (key("CERTIFICATE"), None),
            (lines, None),
            ("-----BEGIN ".into(), None),
        ] {
            assert_eq!(
                exposed(Path::new("/a"), contents.as_bytes()),
                expected,
                "{contents}"
            );
        }
        let public = exposed(Path::new("/a.key"), b"-----BEGIN PUBLIC KEY-----\n");
        assert_eq!(public, Some(Exposed::Public));
        let keystore = |tag: u8| {
            [
                &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0][..],
                &[tag],
            ]
            .concat()
        };
        assert_eq!(exposed(Path::new("/a"), &keystore(1)), Some(Exposed::Keystore));
        assert_eq!(exposed(Path::new("/a"), &keystore(2)), None);
    }
}
