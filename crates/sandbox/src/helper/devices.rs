//! `/dev`, the pseudo-terminal, and the loopback interface.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pty::OpenptFlags;

use super::Step;
use super::mounts::{self, Layout};
use super::users::User;
use crate::spec::{ProcessSpec, Security, TerminalSize};
use crate::wire::Report;

/// Character devices that every container has: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Mounts `/dev` with all that belongs below it.
pub(super) fn mount_dev(layout: &mut Layout, spec: &ProcessSpec) -> Result<(), Report> {
    let options = [("mode", "755".to_owned()), ("size", "65536k".to_owned())];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let tree =
        mounts::new_mount("tmpfs", &options, attributes).step(|| "make a tmpfs for `/dev`".to_owned())?;
    layout.put_directory(&tree, "/dev")?;
    for (name, major, minor) in DEVICES {
        make_device(layout, name, major, minor).step(|| format!("make `/dev/{name}`"))?;
    }
    for (link, target) in LINKS {
        symlink(target, link).step(|| format!("make `{link}`"))?;
    }
    if spec.security == Security::Insecure {
        share_further_devices(layout);
    }
    mount_below_dev(spec)
}

/// Makes a device node, or binds the host's where nodes may not be made (user namespaces).
fn make_device(layout: &Layout, name: &str, major: u32, minor: u32) -> io::Result<()> {
    let path = Path::new("/dev").join(name);
    let mode = Mode::from_raw_mode(0o666);
    let device = rustix::fs::makedev(major, minor);
    match rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, device) {
        // The umask applies to mknod.
        Ok(()) => Ok(rustix::fs::chmod(&path, mode)?),
        Err(rustix::io::Errno::PERM) => bind_device(layout, name, &path),
        Err(error) => Err(error.into()),
    }
}

fn bind_device(layout: &Layout, name: &str, path: &Path) -> io::Result<()> {
    let host = rustix::fs::openat2(
        &layout.old_root,
        Path::new("dev").join(name),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    )?;
    fs::File::create_new(path)?;
    bind_descriptor(&host, path)
}

fn bind_descriptor(file: &OwnedFd, path: &Path) -> io::Result<()> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(file, "", flags)?;
    let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(&tree, "", CWD, path, flags)?)
}

/// The devices that an insecure step gets besides; those that the host does not have are left out.
fn share_further_devices(layout: &Layout) {
    let _ = fs::create_dir("/dev/net");
    let loops = (0..8).map(|number| format!("loop{number}"));
    let names = ["kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control"];
    for name in names.into_iter().map(str::to_owned).chain(loops) {
        let path = Path::new("/dev").join(&name);
        if bind_device(layout, &name, &path).is_err() {
            let _ = fs::remove_file(&path);
        }
    }
}

fn mount_below_dev(spec: &ProcessSpec) -> Result<(), Report> {
    let restricted = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let memory = restricted | MountAttrFlags::MOUNT_ATTR_NODEV;
    let step = |path: &'static str| move || format!("mount `{path}`");

    fs::create_dir("/dev/pts").step(step("/dev/pts"))?;
    let terminals = terminals(restricted).step(step("/dev/pts"))?;
    mounts::put(&terminals, Path::new("/dev/pts"))?;

    fs::create_dir("/dev/shm").step(step("/dev/shm"))?;
    let options = [("mode", "1777".to_owned()), ("size", spec.shm_size.to_string())];
    let shm = mounts::new_mount("tmpfs", &options, memory).step(step("/dev/shm"))?;
    mounts::put(&shm, Path::new("/dev/shm"))?;

    // A kernel without POSIX message queues is no reason to fail.
    if let Ok(queues) = mounts::new_mount("mqueue", &[], memory) {
        fs::create_dir("/dev/mqueue").step(step("/dev/mqueue"))?;
        mounts::put(&queues, Path::new("/dev/mqueue"))?;
    }
    Ok(())
}

/// devpts with group 5 (`tty` everywhere), or without where that group is not mapped.
fn terminals(attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let options = |with_group: bool| {
        let mut options = vec![("mode", "0620".to_owned()), ("ptmxmode", "0666".to_owned())];
        if with_group {
            options.push(("gid", "5".to_owned()));
        }
        options
    };
    mounts::new_mount("devpts", &options(true), attributes)
        .or_else(|_| mounts::new_mount("devpts", &options(false), attributes))
}

/// A pseudo-terminal of the sandbox's own devpts (our end, the program's end), the latter also as
/// `/dev/console`.
pub(super) fn open_terminal(size: TerminalSize, user: &User) -> Result<(OwnedFd, OwnedFd), Report> {
    try_open_terminal(size, user).step(|| "make a terminal".to_owned())
}

fn try_open_terminal(size: TerminalSize, user: &User) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    crate::terminal::set_size(&master, size)?;
    std::os::unix::fs::fchown(&slave, Some(user.uid), None)?;
    fs::File::create_new("/dev/console")?;
    bind_descriptor(&slave, Path::new("/dev/console"))?;
    Ok((master, slave))
}

/// Brings up `lo` in the current network namespace.
pub(super) fn raise_loopback() -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // IFF_UP fits in the flags' 16 bits.
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    crate::sys::check(result.into())
}
