//! Lists of library directories: `/etc/ld.so.conf` and musl's `/etc/ld-musl-ARCH.path`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_rootfs::TreeError;

use crate::stage::Stage;

const MAX_CONF: usize = 1 << 20;
const MAX_DIRECTORIES: usize = 4096;

/// The directories of `ld.so.conf` and what it includes, in order. Empty when there is no such file.
///
/// # Errors
/// When the tree cannot be read.
pub(crate) fn ld_so_conf(stage: &Stage<'_>) -> Result<Vec<PathBuf>, TreeError> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    read_conf(stage, Path::new("/etc/ld.so.conf"), &mut seen, &mut found)?;
    found.truncate(MAX_DIRECTORIES);
    Ok(found)
}

fn read_conf(
    stage: &Stage<'_>,
    path: &Path,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), TreeError> {
    if !seen.insert(path.to_owned()) || seen.len() > MAX_DIRECTORIES {
        return Ok(());
    }
    let Some(text) = stage.read(path, MAX_CONF)? else {
        return Ok(());
    };
    for line in text.split(|byte| *byte == b'\n') {
        let line = line
            .split(|byte| *byte == b'#')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if let Some(pattern) = line
            .strip_prefix(b"include")
            .filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
        {
            let from = path.parent().unwrap_or(Path::new("/"));
            for included in stage.matches(&from.join(OsStr::from_bytes(pattern.trim_ascii())))? {
                read_conf(stage, &included, seen, found)?;
            }
        } else if line.starts_with(b"/") {
            // `DIRECTORY=TYPE` is the old way to say what kind of libraries are in it.
            let directory = line
                .split(|byte| matches!(byte, b'=' | b' ' | b'\t'))
                .next()
                .unwrap_or(line);
            found.push(PathBuf::from(OsStr::from_bytes(directory)));
        }
    }
    Ok(())
}

/// The directories of musl's path file, at colons or lines; `None` when there is no such file.
///
/// # Errors
/// When the tree cannot be read.
pub(crate) fn musl_path(stage: &Stage<'_>, file: &Path) -> Result<Option<Vec<PathBuf>>, TreeError> {
    let Some(text) = stage.read(file, MAX_CONF)? else {
        return Ok(None);
    };
    let directories = text
        .split(|byte| matches!(byte, b':' | b'\n'))
        .filter(|directory| directory.starts_with(b"/"))
        .map(|directory| PathBuf::from(OsStr::from_bytes(directory)));
    Ok(Some(directories.take(MAX_DIRECTORIES).collect()))
}
