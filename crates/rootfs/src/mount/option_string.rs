//! An overlay by mount(2): all directories in one option string of at most a page, with names
//! relative to the directory that they have in common.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::overlay::Overlay;

/// A page, less the NUL at its end.
const MAX_OPTIONS: usize = 4095;

/// Mounts `overlay` onto `target`.
pub(super) fn attach(overlay: &Overlay<'_>, target: &Path) -> io::Result<()> {
    overlay.clear_work()?;
    let target = absolute(target)?;
    let base = common_directory(overlay)?;
    let fitting = fitting_layers(overlay, &base)?;
    if fitting == overlay.lower.len() {
        return mount_in(&base, &options(overlay, &base)?, &target);
    }
    // Too long: the lowest layers become one, as far as that helps.
    let lowest = Overlay {
        lower: &overlay.lower[..fitting],
        upper: None,
        work: None,
        ..*overlay
    };
    mount_in(&base, &options(&lowest, &base)?, &target)?;
    let mut lower = vec![target.clone()];
    lower.extend_from_slice(&overlay.lower[fitting..]);
    let whole = Overlay {
        lower: &lower,
        ..*overlay
    };
    let options = options(&whole, &base)?;
    let mounted = if options.len() <= MAX_OPTIONS {
        mount_in(&base, &options, &target)
    } else {
        Err(io::Error::from(io::ErrorKind::ArgumentListTooLong))
    };
    if mounted.is_err() {
        rustix::mount::unmount(&target, UnmountFlags::DETACH)?;
    }
    // The lower mount stays below, out of sight, and goes with the mount namespace or with a
    // second unmount.
    mounted
}

/// How many of the lowest layers fit into one string.
fn fitting_layers(overlay: &Overlay<'_>, base: &Path) -> io::Result<usize> {
    if options(overlay, base)?.len() <= MAX_OPTIONS {
        return Ok(overlay.lower.len());
    }
    let mut length = 200;
    let mut count = 0;
    for path in overlay.lower {
        length += relative_name(path, base)?.len() + 1;
        if length > MAX_OPTIONS {
            break;
        }
        count += 1;
    }
    Ok(count)
}

fn options(overlay: &Overlay<'_>, base: &Path) -> io::Result<Vec<u8>> {
    let mut options = b"lowerdir=".to_vec();
    for (index, path) in overlay.lower.iter().rev().enumerate() {
        if index > 0 {
            options.push(b':');
        }
        options.extend(relative_name(path, base)?);
    }
    for (key, path) in [("upperdir", overlay.upper), ("workdir", overlay.work)] {
        if let Some(path) = path {
            options.extend_from_slice(format!(",{key}=").as_bytes());
            options.extend(relative_name(path, base)?);
        }
    }
    for (key, value) in overlay.flags() {
        options.push(b',');
        options.extend_from_slice(key.as_bytes());
        if let Some(value) = value {
            options.push(b'=');
            options.extend_from_slice(value.as_bytes());
        }
    }
    Ok(options)
}

/// The name of `path` seen from `base`, with the characters escaped that mean something in
/// the string.
fn relative_name(path: &Path, base: &Path) -> io::Result<Vec<u8>> {
    let path = absolute(path)?;
    let relative = path.strip_prefix(base).unwrap_or(&path);
    let mut name = Vec::new();
    for byte in relative.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            name.push(b'\\');
        }
        name.push(*byte);
    }
    if name.is_empty() {
        name.push(b'.');
    }
    Ok(name)
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

/// The deepest directory that all directories are in.
fn common_directory(overlay: &Overlay<'_>) -> io::Result<PathBuf> {
    let mut common: Option<Vec<Component<'_>>> = None;
    let paths: Vec<PathBuf> = overlay
        .lower
        .iter()
        .map(PathBuf::as_path)
        .chain(overlay.upper)
        .chain(overlay.work)
        .map(absolute)
        .collect::<io::Result<_>>()?;
    for path in &paths {
        let parts: Vec<Component<'_>> = path.components().collect();
        common = Some(match common {
            None => parts,
            Some(common) => common
                .into_iter()
                .zip(parts)
                .take_while(|(a, b)| a == b)
                .map(|(part, _)| part)
                .collect(),
        });
    }
    Ok(common.unwrap_or_default().iter().collect())
}

/// Calls mount(2) in a thread of its own, whose working directory is its own too.
fn mount_in(base: &Path, options: &[u8], target: &Path) -> io::Result<()> {
    let options = CString::new(options)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: this thread alone gets a working directory of its own, and it ends with
            // this closure; memory and descriptors stay shared.
            let unshared = unsafe { libc::unshare(libc::CLONE_FS) };
            if unshared != 0 {
                return Err(io::Error::last_os_error());
            }
            rustix::process::chdir(base)?;
            let flags = MountFlags::empty();
            rustix::mount::mount("overlay", target, "overlay", flags, Some(&*options))?;
            Ok(())
        });
        match thread.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the mounting thread ended early")),
        }
    })
}
