//! What the tests of several modules share.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::node::FileKind;
use crate::tree::{Dir, MergedTree, Tree};
use crate::upper::{OpaqueXattr, Upper, UpperOptions};

/// Whether the test runs as root; says so on stderr when not.
pub(crate) fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}

/// Whether ids are mapped, so that overlayfs takes `user.*` attributes only.
pub(crate) fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

/// A file system entry to make: `dir/`, `file=contents`, `link->target`; then an optional
/// octal mode after a blank.
pub(crate) fn populate(root: &Path, entries: &[&str]) {
    for entry in entries {
        let (what, mode) = match entry.rsplit_once(' ') {
            Some((what, mode)) => (what, Some(u32::from_str_radix(mode, 8).unwrap())),
            None => (*entry, None),
        };
        let path;
        if let Some((name, target)) = what.split_once("->") {
            path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
            continue;
        } else if let Some(name) = what.strip_suffix('/') {
            path = root.join(name);
            fs::create_dir_all(&path).unwrap();
        } else {
            let (name, contents) = what.split_once('=').unwrap_or((what, ""));
            path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, contents).unwrap();
        }
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// A layer directory with an empty or given lower stack.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) layers: Vec<PathBuf>,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture {
            dir: tempfile::tempdir().unwrap(),
            layers: Vec::new(),
        }
    }

    /// A plain directory, for instance a context.
    pub(crate) fn source(&self, name: &str, entries: &[&str]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        populate(&path, entries);
        path
    }

    /// Adds a layer on top.
    pub(crate) fn layer(&mut self, entries: &[&str]) -> PathBuf {
        let path = self.source(&format!("layer{}", self.layers.len()), entries);
        self.layers.push(path.clone());
        path
    }

    /// An empty layer on top of all others, open for writing.
    pub(crate) fn upper(&mut self) -> Upper {
        let lower = MergedTree::open(&self.layers).unwrap();
        let path = self.layer(&[]);
        let options = UpperOptions {
            opaque: if in_user_namespace() {
                OpaqueXattr::User
            } else {
                OpaqueXattr::Trusted
            },
            ..UpperOptions::default()
        };
        Upper::open(&lower, &path, options).unwrap()
    }
}

/// One line an entry: path, kind, mode, owner, then contents or link target.
pub(crate) fn dump(tree: &dyn Tree) -> Vec<String> {
    let mut out = Vec::new();
    dump_dir(tree.root().unwrap().as_ref(), &mut out);
    out
}

fn dump_dir(dir: &dyn Dir, out: &mut Vec<String>) {
    for entry in dir.entries().unwrap() {
        let node = entry.node;
        let path = dir.path().join(&entry.name);
        let (kind, rest) = match node.kind {
            FileKind::Dir => ('d', String::new()),
            FileKind::File => {
                let mut file = dir.open_file(&entry.name).unwrap();
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut file, &mut text).unwrap();
                ('f', format!(" {}", String::from_utf8_lossy(&text)))
            }
            FileKind::Symlink => {
                let target = dir.read_link(&entry.name).unwrap();
                ('l', format!(" {}", target.to_string_lossy()))
            }
            FileKind::Fifo => ('p', String::new()),
            FileKind::CharDevice => ('c', format!(" {:x}", node.rdev)),
            FileKind::BlockDevice => ('b', format!(" {:x}", node.rdev)),
            FileKind::Socket => ('s', String::new()),
        };
        let owner = format!("{}:{}", node.uid, node.gid);
        let path = path.display();
        out.push(format!("{path} {kind} {:04o} {owner}{rest}", node.mode));
        if node.kind.is_dir() {
            dump_dir(dir.open_dir(&entry.name).unwrap().as_ref(), out);
        }
    }
}

/// Only the paths of [`dump`].
pub(crate) fn paths(tree: &dyn Tree) -> Vec<String> {
    dump(tree)
        .iter()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect()
}

/// Inode number of a host path.
pub(crate) fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}
