//! System calls that the standard library and rustix do not offer in the form needed here.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFd;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::pipe::PipeFlags;

/// A pipe (read end, write end), closed on exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Another descriptor of the same file, closed on exec.
pub(crate) fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Waits without limit until one of the descriptors has something.
pub(crate) fn poll(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    loop {
        match rustix::event::poll(fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until one of the descriptors has something, or this time is over.
pub(crate) fn poll_for(fds: &mut [PollFd<'_>], time: std::time::Duration) -> io::Result<()> {
    let limit = rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    match rustix::event::poll(fds, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The most descriptors that travel with one message.
const MAX_DESCRIPTORS: usize = 3;

/// Sends `bytes`, and `descriptors` (at most three) with the first of them.
pub(crate) fn send_with_descriptors(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(Errno::INVAL));
    }
    let mut sent = loop {
        let slices = [io::IoSlice::new(bytes)];
        match rustix::net::sendmsg(stream, &slices, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    while sent < bytes.len() {
        match rustix::net::send(stream, &bytes[sent..], SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => sent += result?,
        }
    }
    Ok(())
}

/// Receives exactly `N` bytes and the descriptors that came with the first of them.
pub(crate) fn receive_with_descriptors<const N: usize>(
    stream: &UnixStream,
) -> io::Result<([u8; N], Vec<OwnedFd>)> {
    let mut bytes = [0; N];
    let mut descriptors = Vec::new();
    let mut received = 0;
    while received < N {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(&mut bytes[received..])];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = match rustix::net::recvmsg(stream, &mut slices, &mut control, flags) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = item {
                descriptors.extend(fds);
            }
        }
        if message.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received += message.bytes;
    }
    Ok((bytes, descriptors))
}

/// Adds `attributes` (`MOUNT_ATTR_*`) to a mount, and to those below it when `recursive`.
pub(crate) fn mount_set_attributes(mount: impl AsFd, attributes: u64, recursive: bool) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a NUL-terminated literal, `request` lives through the call and its size
    // is passed along; the call writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result)
}

/// Turns the -1 convention of libc into an error.
pub(crate) fn check(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What `fork` returned.
pub(crate) enum Forked {
    /// In the new process.
    Child,
    /// In the old one, with the new one's id.
    Parent(rustix::process::Pid),
}

/// Forks.
///
/// # Safety
///
/// The process has one thread, or the child calls nothing but async-signal-safe functions.
pub(crate) unsafe fn fork() -> io::Result<Forked> {
    // SAFETY: as the caller promises.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => match rustix::process::Pid::from_raw(pid) {
            Some(pid) => Ok(Forked::Parent(pid)),
            None => Err(io::Error::from(Errno::CHILD)),
        },
    }
}
