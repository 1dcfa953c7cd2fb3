//! What differs from run to run, removed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use distil_debian::UnixTime;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::io::Errno;
use thiserror::Error;

use crate::debian_image::plan::Plan;

/// A tree that cannot be normalised.
#[derive(Debug, Error)]
#[error("`{}` cannot be normalised", path.display())]
pub struct NormaliseError {
    /// File or directory on the host.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Files that say when or where the tree was made, or are made again when needed.
const REMOVED: [&str; 17] = [
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/hostname",
    "etc/hosts",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/catalog/database",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
];

/// Directories whose files go; those that packages ship in them stay.
const CLEARED: [&str; 3] = ["var/lib/apt/lists", "var/cache/apt", "var/log/apt"];

/// Directories whose contents go.
const EMPTIED: [&str; 7] = [
    "var/lib/dpkg/updates",
    "tmp",
    "var/tmp",
    "run/mount",
    "dev",
    "proc",
    "sys",
];

/// Removes caches, logs, backups and ids from the configured tree at `target`,
/// sets the dates in `/etc/shadow`, and clamps all modification times to the
/// plan's epoch. What dpkg's `--configure` wrote later than the epoch gets the
/// epoch; what packages ship keeps its own time. Nothing that the
/// sandbox may have left in `/dev` stays, nor marks of an overlay that the tree
/// was the upper directory of.
///
/// # Errors
/// When a file cannot be changed.
pub fn normalise(plan: &Plan, target: &Path) -> Result<(), NormaliseError> {
    for name in REMOVED {
        remove_file(&target.join(name))?;
    }
    for name in CLEARED {
        empty_directory(&target.join(name), false)?;
    }
    for name in EMPTIED {
        empty_directory(&target.join(name), true)?;
    }
    for name in ["etc/shadow", "etc/shadow-"] {
        set_shadow_dates(&target.join(name), plan.epoch)?;
    }
    clamp_times(target, plan.epoch)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> NormaliseError + '_ {
    move |source| NormaliseError {
        path: path.to_owned(),
        source,
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_file(path: &Path) -> Result<(), NormaliseError> {
    absent_is_fine(fs::remove_file(path)).map_err(failed(path))
}

/// Removes the files below a directory, and with `whole` the directories too.
fn empty_directory(path: &Path, whole: bool) -> Result<(), NormaliseError> {
    // A link in this place would lead out of the tree.
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Ok(()),
        Err(error) => return absent_is_fine(Err(error)).map_err(failed(path)),
    }
    for entry in fs::read_dir(path).map_err(failed(path))? {
        let entry = entry.map_err(failed(path))?;
        let child = entry.path();
        let kind = entry.file_type().map_err(failed(&child))?;
        match (kind.is_dir(), whole) {
            (true, true) => fs::remove_dir_all(&child).map_err(failed(&child))?,
            (true, false) => empty_directory(&child, false)?,
            (false, _) => fs::remove_file(&child).map_err(failed(&child))?,
        }
    }
    Ok(())
}

/// The third field is the day of the last password change, in days since 1970;
/// no account may have one after the epoch.
fn set_shadow_dates(path: &Path, epoch: UnixTime) -> Result<(), NormaliseError> {
    let mut text = String::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_string(&mut text).map_err(failed(path))?,
        Err(error) => return absent_is_fine(Err(error)).map_err(failed(path)),
    };
    let day = epoch.div_euclid(86_400);
    let mut changed = String::with_capacity(text.len());
    for line in text.lines() {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if let Some(field) = fields.get_mut(2)
            && field.parse().is_ok_and(|found: i64| found > day)
        {
            *field = day.to_string();
        }
        changed.push_str(&fields.join(":"));
        changed.push('\n');
    }
    if changed != text {
        // Written in place: owner and mode stay.
        let mut file = File::options()
            .write(true)
            .truncate(true)
            .open(path)
            .map_err(failed(path))?;
        file.write_all(changed.as_bytes()).map_err(failed(path))?;
    }
    Ok(())
}

/// What overlayfs notes on directories that it made says nothing about the tree.
fn remove_overlay_marks(path: &Path) -> Result<(), NormaliseError> {
    for space in ["trusted", "user"] {
        for mark in ["opaque", "impure", "origin", "uuid"] {
            match rustix::fs::lremovexattr(path, format!("{space}.overlay.{mark}")) {
                // NODATA is the usual case; PERM where `trusted` is not ours to see.
                Ok(()) | Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(failed(path)(error.into())),
            }
        }
    }
    Ok(())
}

/// Clamps the tree below and including `path`, contents before their directory.
fn clamp_times(path: &Path, epoch: UnixTime) -> Result<(), NormaliseError> {
    let meta = fs::symlink_metadata(path).map_err(failed(path))?;
    if meta.is_dir() {
        remove_overlay_marks(path)?;
        for entry in fs::read_dir(path).map_err(failed(path))? {
            clamp_times(&entry.map_err(failed(path))?.path(), epoch)?;
        }
    }
    let is_later = (meta.mtime(), meta.mtime_nsec()) > (epoch, 0);
    if is_later {
        let time = Timespec {
            tv_sec: epoch,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(path)(error.into()))?;
    }
    Ok(())
}
