//! Everything that is in layer directories, found in one parallel walk.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::TreeError;
use crate::copy::LayerManifest;
use crate::node::{FileKind, Node};
use crate::{pool, sys};

/// One directory of a layer, as it is on disk.
#[derive(Clone, Debug)]
pub struct ScannedDir {
    /// Path inside the layer, absolute.
    pub path: PathBuf,
    /// Metadata of the directory itself.
    pub node: Node,
    /// It hides the directory of the same path in layers below.
    pub opaque: bool,
    /// What is in it, whiteouts included, in no order.
    pub entries: Vec<ScannedEntry>,
}

/// One name in a [`ScannedDir`].
#[derive(Clone, Debug)]
pub struct ScannedEntry {
    /// File name.
    pub name: OsString,
    /// Its metadata; [`Node::is_whiteout`] says whether it removes what is below.
    pub node: Node,
    /// Target of a symbolic link.
    pub target: Option<OsString>,
}

/// A directory that is still to be listed.
struct Job {
    layer: usize,
    files: Option<Arc<LayerManifest>>,
    parent: Arc<OwnedFd>,
    /// Empty for the root of a layer.
    name: OsString,
    path: PathBuf,
}

/// Lists every directory of the layer directories `layers` with `threads` threads (0: one a core). The
/// result has the order of `layers`, and in each its directories sorted by path components, so that a
/// directory comes before what is in it.
///
/// # Errors
/// When a directory cannot be read. A directory that vanishes meanwhile is an error: layers never change.
pub fn scan_layers<P: AsRef<Path>>(layers: &[P], threads: usize) -> Result<Vec<Vec<ScannedDir>>, TreeError> {
    let layers: Vec<_> = layers.iter().map(|path| (path, None)).collect();
    scan_listed_layers(&layers, threads)
}

/// [`scan_layers`] that takes the metadata of regular files from where it is listed, as
/// [`super::DirTree::with_files`] does: device and inode are 0 then. A directory that another one adds to may be
/// listed with it.
///
/// # Errors
/// As [`scan_layers`].
pub fn scan_listed_layers<P: AsRef<Path>>(
    layers: &[(P, Option<Arc<LayerManifest>>)],
    threads: usize,
) -> Result<Vec<Vec<ScannedDir>>, TreeError> {
    let mut jobs = Vec::with_capacity(layers.len());
    for (layer, (path, files)) in layers.iter().enumerate() {
        let path = path.as_ref();
        let fd = sys::open_host_dir(path).map_err(|err| TreeError::io("open", path, err))?;
        jobs.push(Job {
            layer,
            files: files.clone(),
            parent: Arc::new(fd),
            name: OsString::new(),
            path: PathBuf::from("/"),
        });
    }
    let found: Vec<Mutex<Vec<ScannedDir>>> = layers.iter().map(|_| Mutex::default()).collect();
    pool::run(threads, jobs, |job: Job, queue: &pool::Queue<Job, TreeError>| {
        let (dir, below) = scan(&job)?;
        if !below.is_empty() {
            queue.push(below);
        }
        found[job.layer]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(dir);
        Ok(())
    })?;
    Ok(found
        .into_iter()
        .map(|dirs| {
            let mut dirs = dirs.into_inner().unwrap_or_else(PoisonError::into_inner);
            dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            dirs
        })
        .collect())
}

fn scan(job: &Job) -> Result<(ScannedDir, Vec<Job>), TreeError> {
    let failed = |action, path: &Path, err: Errno| TreeError::io(action, path, err);
    let fd = if job.name.is_empty() {
        Arc::clone(&job.parent)
    } else {
        let fd = sys::open_dir_at(&*job.parent, &job.name).map_err(|err| failed("open", &job.path, err))?;
        Arc::new(fd)
    };
    let node = sys::stat_fd(&*fd).map_err(|err| failed("stat", &job.path, err))?;
    let names = sys::names(&*fd).map_err(|err| failed("list", &job.path, err))?;
    let mut entries = Vec::with_capacity(names.len());
    let mut below = Vec::new();
    let listed = job.files.as_deref();
    let listed = listed.and_then(|files| files.dir(job.path.strip_prefix("/").unwrap_or(&job.path)));
    for (name, kind) in names {
        let at = |action, err| failed(action, &job.path.join(&name), err);
        let known = listed.filter(|_| kind == FileType::RegularFile);
        let node = match known.and_then(|files| files.get(&name)) {
            Some(file) => file.node(),
            None => sys::stat_at(&*fd, &name)
                .map_err(|err| at("stat", err))?
                .ok_or_else(|| at("stat", Errno::NOENT))?,
        };
        let target = match node.kind {
            FileKind::Symlink => Some(sys::read_link_at(&*fd, &name).map_err(|err| at("read link", err))?),
            FileKind::Dir => {
                below.push(Job {
                    layer: job.layer,
                    files: job.files.clone(),
                    parent: Arc::clone(&fd),
                    name: name.clone(),
                    path: job.path.join(&name),
                });
                None
            }
            _ => None,
        };
        entries.push(ScannedEntry { name, node, target });
    }
    let dir = ScannedDir {
        path: job.path.clone(),
        node,
        opaque: job.layer > 0 && sys::is_opaque(&*fd),
        entries,
    };
    Ok((dir, below))
}
