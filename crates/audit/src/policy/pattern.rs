//! Patterns of paths.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use distil_rootfs::ignore::match_path;

/// An absolute path whose parts are Go's `filepath.Match` patterns, or `**` for any number of parts, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Vec<u8>>,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a path begins with `/`".to_owned());
        };
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| matches!(*part, "." | "..")) {
            return Err("a path has no `.` and no `..`".to_owned());
        }
        for part in &parts {
            match_path(part.as_bytes(), b"").map_err(|error| error.to_string())?;
        }
        let parts = parts.into_iter().map(|part| part.as_bytes().to_vec()).collect();
        Ok(Self { parts })
    }

    pub(super) fn matches(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let names: Vec<&[u8]> = bytes
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .collect();
        // Which beginnings of the pattern fit the names so far; that way no pattern takes long.
        let mut fits = vec![false; self.parts.len() + 1];
        fits[0] = true;
        self.skip_any(&mut fits);
        for name in names {
            let mut next = vec![false; fits.len()];
            for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| fits[*at]) {
                if part == b"**" {
                    next[at] = true;
                } else {
                    next[at + 1] |= match_path(part, name).unwrap_or(false);
                }
            }
            self.skip_any(&mut next);
            fits = next;
        }
        fits[self.parts.len()]
    }

    /// `**` fits nothing, too.
    fn skip_any(&self, fits: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if fits[at] && part == b"**" {
                fits[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_by_pattern() {
        for (pattern, path, expected) in [
            ("/usr/bin/sh", "/usr/bin/sh", true),
            ("/usr/bin/*", "/usr/bin/sh", true),
            ("/usr/*", "/usr/bin/sh", false),
            ("/usr/**", "/usr/bin/sh", true),
            ("/usr/**", "/usr", true),
            ("/**/sh", "/sh", true),
            ("/**/bin/**/x?", "/a/bin/b/c/xy", true),
            ("/**/bin/**/x?", "/a/b/c/xy", false),
            ("/usr/lib/python3*/test", "/usr/lib/python3.13/test", true),
            ("/", "/", true),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(Path::new(path)), expected, "{pattern} {path}");
        }
        for wrong in ["usr", "/a/../b", "/[", ""] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
