//! A folder that plays a stage.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use distil_elf::{Closure, ClosureError};
use distil_rootfs::DirTree;
use tempfile::TempDir;

use crate::build::{Build, library};

pub(crate) struct Stage {
    dir: TempDir,
}

impl Stage {
    pub(crate) fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// With a merged /usr, a loader that knows Debian's directories, and a C library.
    pub(crate) fn debian() -> Self {
        let stage = Self::empty();
        for name in ["lib", "lib64", "bin"] {
            fs::create_dir_all(stage.path(&format!("usr/{name}"))).unwrap();
            stage.link(name, &format!("usr/{name}"));
        }
        let mut loader = library("ld-linux-x86-64.so.2", &[]).bytes();
        loader.extend(b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\0");
        stage.file("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", &loader);
        stage.link(
            "usr/lib64/ld-linux-x86-64.so.2",
            "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        );
        let libc = Build {
            versions_defined: vec!["GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.36"],
            ..library("libc.so.6", &["ld-linux-x86-64.so.2"])
        };
        stage.elf("usr/lib/x86_64-linux-gnu/libc.so.6", &libc);
        stage
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub(crate) fn file(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn elf(&self, path: &str, build: &Build) {
        self.file(path, &build.bytes());
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    pub(crate) fn tree(&self) -> DirTree {
        DirTree::open(self.dir.path()).unwrap()
    }

    pub(crate) fn closure(&self, named: &[&str]) -> Result<Closure, ClosureError> {
        let named: Vec<PathBuf> = named.iter().map(PathBuf::from).collect();
        Closure::of(&self.tree(), &named, &std::sync::atomic::AtomicBool::new(false))
    }

    /// The members of the closure, sorted.
    pub(crate) fn members(&self, named: &[&str]) -> Vec<String> {
        members(&self.closure(named).unwrap())
    }
}

pub(crate) fn members(closure: &Closure) -> Vec<String> {
    let show = |path: &Path| path.display().to_string();
    closure.members.keys().map(|path| show(path)).collect()
}

/// What every program of [`Stage::debian`] needs.
pub(crate) const C_LIBRARY: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/usr/bin/tool",
];

/// [`C_LIBRARY`] and `more`, sorted.
pub(crate) fn with_c_library(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = C_LIBRARY
        .iter()
        .chain(more)
        .map(|path| (*path).to_owned())
        .collect();
    all.sort();
    all
}
