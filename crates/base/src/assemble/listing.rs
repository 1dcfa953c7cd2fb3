//! What a layer holds, entry by entry, in bytes that can be kept and compared.
//!
//! ```text
//! of each entry, in the byte order of the paths:
//!   path, mode, uid, gid (u32), time (i64), then
//!   d                                a directory
//!   s, target                        a symbolic link
//!   h, path                          a hard link
//!   b, sha256                        a file of these bytes
//!   p, sha256, entry number (u64)    a file of an unpacked package
//!   m, path on the host, path in it  a file of an archive from elsewhere
//! ```
//! Numbers are little-endian; texts have their length (u64) before them.

use std::os::unix::ffi::OsStrExt;

use distil_oci::{Digest, Digester};

use super::Composed;
use super::tree::{Content, Kind, Node};

/// Names the form, and with it what the same entries give.
const FORM: &[u8] = b"layer 2\n";

/// What a layer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing(pub(super) Vec<u8>);

/// One entry of a listing.
struct Entry<'a> {
    path: &'a [u8],
    kind: u8,
    /// All of it.
    bytes: &'a [u8],
}

impl Composed {
    /// What layer `number` holds.
    #[must_use]
    pub fn listing(&self, number: usize) -> Listing {
        let mut out = Vec::new();
        for (path, node) in self.layer(number) {
            self.list(&mut out, path, node);
        }
        Listing(out)
    }

    fn list(&self, out: &mut Vec<u8>, path: &[u8], node: &Node) {
        let meta = &node.meta;
        field(out, path);
        for number in [meta.mode, meta.uid, meta.gid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&meta.mtime.to_le_bytes());
        match &node.kind {
            Kind::Directory => out.push(b'd'),
            Kind::Symlink(target, _) => {
                out.push(b's');
                field(out, target);
            }
            Kind::HardLink(target) => {
                out.push(b'h');
                field(out, target);
            }
            Kind::File(content) => self.list_content(out, content),
        }
    }

    fn list_content(&self, out: &mut Vec<u8>, content: &Content) {
        match content {
            Content::Bytes(bytes) => {
                out.push(b'b');
                out.extend_from_slice(Digest::sha256(bytes).as_bytes());
            }
            // Files of a package are what its hash says.
            Content::Stored(stored) | Content::Copied(stored) => {
                out.push(b'p');
                out.extend_from_slice(stored.package.sha256().as_bytes());
                out.extend_from_slice(&(stored.entry as u64).to_le_bytes());
            }
            // Downloads are named by their hash.
            Content::Member(input, member) => {
                out.push(b'm');
                let archive = self.inputs.get(*input);
                let path = archive.map(|archive| archive.path.as_os_str());
                let member = archive.and_then(|archive| archive.members.get(*member));
                field(out, path.unwrap_or_default().as_bytes());
                field(out, member.map_or("", String::as_str).as_bytes());
            }
        }
    }
}

impl Listing {
    /// The listing of these bytes, when they are those that gave `key`.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>, key: &Digest) -> Option<Listing> {
        let listing = Listing(bytes);
        (listing.key() == *key).then_some(listing)
    }

    /// The bytes, for [`Listing::from_bytes`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the bytes of the layer depend on, as a digest: in one store equal ones mean equal layers.
    #[must_use]
    pub fn key(&self) -> Digest {
        let mut key = Digester::new();
        key.update(FORM);
        key.update(&self.0);
        key.finish()
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().count()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths that this layer adds to `earlier` or has otherwise, each without a slash before it. `None` when
    /// adding alone does not make it: something is gone, a directory is none any more or the other way round, or
    /// a layer has hard links or files out of archives.
    #[must_use]
    pub fn added_to(&self, earlier: &Listing) -> Option<Vec<&[u8]>> {
        // An entry that is gone stays the next one to the end.
        let mut before = earlier.entries().peekable();
        let mut added = Vec::new();
        for entry in self.entries() {
            let same = before.next_if(|before| before.path == entry.path);
            if !entry.stands_alone() || same.as_ref().is_some_and(|same| !entry.can_hide(same)) {
                return None;
            }
            if same.is_none_or(|same| same.bytes != entry.bytes) {
                added.push(entry.path);
            }
        }
        before.next().is_none().then_some(added)
    }

    fn entries(&self) -> Entries<'_> {
        Entries(&self.0)
    }
}

impl Entry<'_> {
    /// Whether no other entry is part of it, and its bytes are known before it is written.
    fn stands_alone(&self) -> bool {
        !matches!(self.kind, b'h' | b'm')
    }

    /// Whether it can lie on top of `below`, which it is in place of.
    fn can_hide(&self, below: &Entry<'_>) -> bool {
        below.stands_alone() && (self.kind == b'd') == (below.kind == b'd')
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The entries in the bytes of a listing; ends where they are no entry.
struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<&'a [u8]> {
        let length = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let all = self.0;
        let path = self.field()?;
        // Mode, owner, group, time.
        self.take(3 * 4 + 8)?;
        let kind = *self.take(1)?.first()?;
        match kind {
            b's' | b'h' => drop(self.field()?),
            b'b' => drop(self.take(32)?),
            b'p' => drop(self.take(32 + 8)?),
            b'm' => drop((self.field()?, self.field()?)),
            _ => {}
        }
        let bytes = all.get(..all.len() - self.0.len())?;
        Some(Entry { path, kind, bytes })
    }
}
