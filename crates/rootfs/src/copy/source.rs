//! Finding the paths that a copy starts from.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ignore::{WildcardPath, match_path};
use crate::tree::{Dir, Tree, TreeError, clean_absolute};

/// The paths that match `source` in `tree`, in walk order: a directory that matches is not
/// searched further. Without a wildcard it is the path itself, whether it exists or not.
pub(crate) fn resolve_wildcards(
    tree: &dyn Tree,
    source: &str,
    follow: bool,
) -> Result<Vec<PathBuf>, TreeError> {
    let clean = clean_absolute(Path::new(source));
    let wildcard = WildcardPath::split(clean.as_os_str().as_bytes());
    let prefix = PathBuf::from(OsStr::from_bytes(&wildcard.prefix));
    if wildcard.pattern.is_empty() {
        return Ok(vec![prefix]);
    }
    let base = if follow {
        tree.resolve(&prefix)?
    } else {
        tree.resolve_parent(&prefix)?
    };
    match tree.lookup(&base)? {
        None => return Err(TreeError::NotFound { path: base }),
        Some(node) if !node.kind.is_dir() => return Ok(Vec::new()),
        Some(_) => {}
    }
    // A malformed pattern is an error even where nothing is compared with it.
    match_path(&wildcard.pattern, b"")?;
    let mut found = Vec::new();
    let dir = tree.open_dir(&base)?;
    search(dir.as_ref(), &wildcard, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn search(
    dir: &dyn Dir,
    wildcard: &WildcardPath,
    relative: &mut Vec<u8>,
    found: &mut Vec<PathBuf>,
) -> Result<(), TreeError> {
    for entry in dir.entries()? {
        let length = relative.len();
        if length > 0 {
            relative.push(b'/');
        }
        relative.extend_from_slice(entry.name.as_bytes());
        if match_path(&wildcard.pattern, relative)? {
            found.push(dir.path().join(&entry.name));
        } else if entry.node.kind.is_dir() && wildcard.may_match_below_relative(relative) {
            let below = dir.open_dir(&entry.name)?;
            search(below.as_ref(), wildcard, relative, found)?;
        }
        relative.truncate(length);
    }
    Ok(())
}
