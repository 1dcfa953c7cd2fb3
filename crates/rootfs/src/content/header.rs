//! The digest of one file: its metadata as in Docker's "v1 tarsum", then its bytes.

use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

use crate::node::{FileKind, Node, Xattrs};

/// Starts the digest of a file with its metadata; the bytes of a regular file follow.
///
/// `transferred`: the tree stands for one that BuildKit receives from a client. Device
/// numbers count only there.
pub(crate) fn start(node: &Node, link: &[u8], xattrs: &Xattrs, transferred: bool) -> Sha256 {
    let (typeflag, size) = match node.kind {
        FileKind::File => (b'0', node.size),
        // A socket loses its type on the way and counts as an empty file.
        FileKind::Socket => (b'0', node.size),
        FileKind::Symlink => (b'2', 0),
        FileKind::CharDevice => (b'3', 0),
        FileKind::BlockDevice => (b'4', 0),
        FileKind::Dir => (b'5', 0),
        FileKind::Fifo => (b'6', 0),
    };
    let mode = if node.kind.is_symlink() {
        node.mode | 0o777
    } else {
        node.mode
    };
    let (major, minor) = if transferred {
        (rustix::fs::major(node.rdev), rustix::fs::minor(node.rdev))
    } else {
        (0, 0)
    };
    let mut head = format!(
        "namemode{mode}uid{}gid{}size{size}typeflag{}linkname",
        node.uid,
        node.gid,
        char::from(typeflag)
    )
    .into_bytes();
    if node.kind.is_symlink() {
        head.extend_from_slice(link);
    }
    head.extend_from_slice(format!("unamegnamedevmajor{major}devminor{minor}").as_bytes());
    for (name, value) in xattrs {
        if counts(name.as_bytes()) {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(value);
        }
    }
    Sha256::new_with_prefix(head)
}

/// Whether an attribute is part of the digest.
fn counts(name: &[u8]) -> bool {
    name == b"security.capability" || !(name.starts_with(b"security.") || name.starts_with(b"system."))
}

/// The text form in which digests are hashed again: `sha256:` and 64 hex digits.
pub(crate) fn digest_text(digest: &[u8; 32]) -> [u8; 71] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (index, byte) in digest.iter().enumerate() {
        text[7 + 2 * index] = HEX[usize::from(byte >> 4)];
        text[8 + 2 * index] = HEX[usize::from(byte & 15)];
    }
    text
}

/// The digest of a directory from its own header and its children, sorted by name.
pub(crate) struct DirDigest(Sha256);

impl DirDigest {
    pub(crate) fn new(header: &[u8; 32]) -> DirDigest {
        let mut hash = Sha256::new_with_prefix(b"\0");
        hash.update(digest_text(header));
        DirDigest(hash)
    }

    pub(crate) fn add(&mut self, name: &[u8], digest: &[u8; 32]) {
        self.0.update(b"\0");
        self.0.update(name);
        self.0.update(digest_text(digest));
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
