//! Digests of single files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

use super::ContentError;
use super::header;
use crate::node::{Node, Xattrs};
use crate::sys;
use crate::tree::{Dir, TreeError};

/// Files up to this size are read in one piece.
pub(crate) const SMALL_FILE: u64 = 256 * 1024;

/// The digest of a name in a directory that is no directory itself.
pub(crate) fn digest_entry(
    dir: &dyn Dir,
    name: &OsStr,
    node: &Node,
    transferred: bool,
    buffer: &mut Vec<u8>,
) -> Result<[u8; 32], ContentError> {
    if node.kind.is_file() {
        let mut file = dir.open_file(name)?;
        let path = || dir.path().join(name);
        let xattrs =
            sys::xattrs_fd(&file).map_err(|err| TreeError::io("list attributes of", &path(), err))?;
        let mut hash = header::start(node, b"", &xattrs, transferred);
        let read = hash_contents(&mut file, node.size, &mut hash, buffer)
            .map_err(|err| TreeError::io("read", &path(), err))?;
        if read != node.size {
            return Err(ContentError::Changed { path: path() });
        }
        return Ok(hash.finalize().into());
    }
    let xattrs = dir.xattrs(name)?;
    let link = if node.kind.is_symlink() {
        dir.read_link(name)?
    } else {
        Default::default()
    };
    let hash = header::start(node, link.as_bytes(), &xattrs, transferred);
    Ok(hash.finalize().into())
}

/// The digest of a directory's own metadata.
pub(crate) fn digest_dir_header(dir: &dyn Dir, transferred: bool) -> Result<[u8; 32], ContentError> {
    if transferred && dir.path().parent().is_none() {
        // A client never sends the root itself.
        return Ok(Sha256::digest(b"").into());
    }
    let xattrs: Xattrs = dir.own_xattrs()?;
    Ok(header::start(&dir.node(), b"", &xattrs, transferred)
        .finalize()
        .into())
}

/// Hashes a file of `size` bytes and returns how many there were.
pub(crate) fn hash_contents(
    file: &mut File,
    size: u64,
    hash: &mut Sha256,
    buffer: &mut Vec<u8>,
) -> std::io::Result<u64> {
    // One byte more, so that the end is seen by the same call for most files.
    let wanted = usize::try_from(size.min(SMALL_FILE)).unwrap_or(0) + 1;
    if buffer.len() < wanted {
        buffer.resize(wanted, 0);
    }
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer[..])?;
        hash.update(&buffer[..read]);
        total += read as u64;
        if read == 0 || (total == size && read < buffer.len()) {
            return Ok(total);
        }
    }
}
