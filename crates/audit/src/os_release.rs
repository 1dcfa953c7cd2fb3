//! What system an image says it is: os-release(5); or what the stages said that its packages were copied from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::origin::Origins;
use crate::{AuditError, ImageView};

const PATHS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
const LIMIT: u64 = 1 << 20;

/// Fields of `os-release`; one that is missing is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OsRelease {
    /// `debian`.
    pub id: String,
    /// `12`.
    pub version_id: String,
    /// `bookworm`.
    pub codename: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: String,
}

impl OsRelease {
    /// Reads `/etc/os-release`, or `/usr/lib/os-release`. Where there is neither, it is what the stages say that packages
    /// of the image were copied from ([`Origins`]), as far as they agree; else none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(view: &ImageView) -> Result<Option<Self>, AuditError> {
        for path in PATHS {
            let entry = view.find(Path::new(path), true);
            let Some(entry) = entry.filter(|entry| entry.node.kind.is_file() && entry.size() <= LIMIT) else {
                continue;
            };
            let bytes = view.read(entry, LIMIT)?;
            return Ok(Some(Self::parse(&String::from_utf8_lossy(&bytes))));
        }
        let origins = Origins::read(view.store(), &view.id())?;
        let mut systems = origins.iter().flat_map(Origins::packages);
        let first = systems.next().and_then(|(_, package, _)| package.system.as_ref());
        let agree = systems.all(|(_, package, _)| package.system.as_ref() == first);
        Ok(first.filter(|_| agree).cloned())
    }

    /// Reads the text: `NAME=value` a line, with shell quotes.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else {
                continue;
            };
            let field = match name {
                "ID" => &mut release.id,
                "VERSION_ID" => &mut release.version_id,
                "VERSION_CODENAME" => &mut release.codename,
                "PRETTY_NAME" => &mut release.pretty_name,
                _ => continue,
            };
            *field = unquoted(value.trim());
        }
        release
    }
}

fn unquoted(value: &str) -> String {
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut escaped = false;
    for letter in inner.unwrap_or(value).chars() {
        if letter == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_nonsense() {
        let release =
            OsRelease::parse("PRETTY_NAME=\"A \\\"B\\\"\"\nID=debian\n# x\nVERSION_ID='12'\nnonsense\n=\n");
        assert_eq!(
            (
                release.pretty_name.as_str(),
                release.id.as_str(),
                release.version_id.as_str()
            ),
            ("A \"B\"", "debian", "12")
        );
        assert!(release.codename.is_empty());
    }
}
