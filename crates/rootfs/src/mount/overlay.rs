//! An overlay through the mount context interface (`fsopen`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{DetachedMount, Mount, MountError, MountStrategy, unmount};
use crate::sys;

/// Layers of one mount; the kernel's limit is 500 with the upper one.
pub(super) const MAX_LAYERS: usize = 400;

/// fsconfig takes strings below this length.
const MAX_STRING: usize = 256;

/// The parts of an overlay; there is at least one lower layer.
#[derive(Clone, Copy)]
pub(super) struct Overlay<'a> {
    /// Lowest first.
    pub(super) lower: &'a [PathBuf],
    pub(super) upper: Option<&'a Path>,
    pub(super) work: Option<&'a Path>,
    pub(super) userxattr: bool,
}

/// A directory in the form that fsconfig takes: itself, or a short name of its descriptor.
struct Name {
    text: Vec<u8>,
    _open: Option<OwnedFd>,
}

impl Name {
    fn new(path: &Path, always_short: bool) -> io::Result<Name> {
        let bytes = path.as_os_str().as_bytes();
        let plain = !bytes.iter().any(|byte| matches!(byte, b'\\' | b':' | b','));
        if plain && bytes.len() < MAX_STRING && !always_short {
            return Ok(Name {
                text: bytes.to_vec(),
                _open: None,
            });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Name {
            text: format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes(),
            _open: Some(fd),
        })
    }
}

impl Overlay<'_> {
    /// Options that do not name directories.
    pub(super) fn flags(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let mut flags = vec![("index", Some("off"))];
        if self.userxattr {
            flags.push(("userxattr", None));
        } else {
            // A distribution may have turned these on; a layer directory must be plain.
            flags.push(("redirect_dir", Some("off")));
            flags.push(("metacopy", Some("off")));
        }
        if self.upper.is_some() {
            flags.push(("volatile", None));
        }
        flags
    }

    /// An earlier volatile mount leaves a mark in the work directory that forbids the next.
    pub(super) fn clear_work(&self) -> io::Result<()> {
        if let Some(work) = self.work {
            let fd = sys::open_host_dir(work)?;
            let mark = work.join("work/incompat");
            if mark.exists() {
                crate::upper::remove_all(&fd, std::ffi::OsStr::new("work"))?;
            }
        }
        Ok(())
    }

    pub(super) fn detached(&self, strategy: MountStrategy) -> Result<DetachedMount, MountError> {
        let mut reasons = Vec::new();
        if strategy != MountStrategy::OptionString {
            match self.make(true) {
                Ok(fd) => return Ok(DetachedMount { fd }),
                Err(err) => reasons.push(format!("layer by layer: {err}")),
            }
        }
        if strategy != MountStrategy::LayerByLayer {
            match self.make(false) {
                Ok(fd) => return Ok(DetachedMount { fd }),
                Err(err) => reasons.push(format!("option string: {err}")),
            }
        }
        Err(MountError::OverlayRefused {
            layers: self.lower.len(),
            reason: reasons.join("; "),
        })
    }

    /// Mounts onto `target`. More layers than one mount takes: the lowest are mounted on the
    /// target first and become one layer of the real mount. (Only the lowest: a mount hides
    /// its own whiteouts from what is below it.)
    pub(super) fn attach_by_layer(&self, target: &Path) -> io::Result<()> {
        let text = |err: MountError| io::Error::other(err.to_string());
        if self.lower.len() <= MAX_LAYERS {
            let fd = self.make(true)?;
            return DetachedMount { fd }.attach(target).map_err(text);
        }
        self.attach_nested(
            target,
            &|lowest, target| {
                lowest
                    .attach_with(target, MountStrategy::LayerByLayer)
                    .map_err(text)
            },
            &|rest| {
                let fd = rest.make(true)?;
                Ok(DetachedMount { fd })
            },
        )
    }

    /// Mounts the lowest layers with `mount_lowest` on `target`, the whole with `make` above.
    fn attach_nested(
        &self,
        target: &Path,
        mount_lowest: &dyn Fn(&Mount, &Path) -> io::Result<()>,
        make: &dyn Fn(&Overlay<'_>) -> io::Result<DetachedMount>,
    ) -> io::Result<()> {
        let (lowest, rest) = self.lower.split_at(self.lower.len().min(MAX_LAYERS));
        let lowest = Mount::Overlay {
            lower: lowest.to_vec(),
            upper: None,
            work: None,
            userxattr: self.userxattr,
        };
        mount_lowest(&lowest, target)?;
        let mut lower = vec![target.to_owned()];
        lower.extend_from_slice(rest);
        let whole = Overlay {
            lower: &lower,
            ..*self
        };
        let made = make(&whole);
        // The overlay has its own reference to the mount below.
        unmount(target)?;
        made?
            .attach(target)
            .map_err(|err| io::Error::other(err.to_string()))
    }

    /// Makes the mount: one `lowerdir+` a layer, or all in one `lowerdir`.
    fn make(&self, layer_by_layer: bool) -> io::Result<OwnedFd> {
        self.clear_work()?;
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let said = |err: rustix::io::Errno| explain(&context, err);
        let set =
            |key: &str, value: &[u8]| rustix::mount::fsconfig_set_string(&context, key, value).map_err(said);
        let mut names = Vec::new();
        for path in self.lower.iter().rev() {
            names.push(Name::new(path, !layer_by_layer)?);
        }
        if layer_by_layer {
            for name in &names {
                set("lowerdir+", &name.text)?;
            }
        } else {
            let texts: Vec<&[u8]> = names.iter().map(|name| name.text.as_slice()).collect();
            set("lowerdir", &texts.join(&b':'))?;
        }
        for (key, path) in [("upperdir", self.upper), ("workdir", self.work)] {
            if let Some(path) = path {
                let name = Name::new(path, false)?;
                set(key, &name.text)?;
                names.push(name);
            }
        }
        for (key, value) in self.flags() {
            match value {
                Some(value) => set(key, value.as_bytes())?,
                None => rustix::mount::fsconfig_set_flag(&context, key).map_err(said)?,
            }
        }
        rustix::mount::fsconfig_create(&context).map_err(said)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        rustix::mount::fsmount(&context, flags, MountAttrFlags::empty()).map_err(said)
    }
}

/// The error with what the kernel wrote about it into the mount context.
fn explain(context: &OwnedFd, err: rustix::io::Errno) -> io::Error {
    let plain = io::Error::from(err);
    let mut log = [0u8; 1024];
    let mut messages = Vec::new();
    while let Ok(read @ 1..) = rustix::io::read(context, &mut log) {
        let text = String::from_utf8_lossy(&log[..read]);
        // A letter for the severity comes first.
        let text = text.trim().trim_start_matches(['e', 'w', 'i']).trim();
        messages.push(text.to_owned());
        if messages.len() > 8 {
            break;
        }
    }
    if messages.is_empty() {
        return plain;
    }
    io::Error::new(plain.kind(), format!("{plain} ({})", messages.join(", ")))
}
