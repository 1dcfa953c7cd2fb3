//! The messages between caller and helper: length-prefixed, little-endian, both ends the same
//! program, so without versions.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use distil_rootfs::Mount;

use crate::error::{SandboxError, StartError, UserError};
use crate::exit::ExitStatus;
use crate::spec::{
    MountSource, Network, ProcessMount, ProcessSpec, Rlimit, Security, TerminalSize, TmpfsOptions,
};
use crate::sys;

/// A message longer than this is a fault, not a message.
const MAX_MESSAGE: usize = 1 << 30;

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed message")
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.0.extend_from_slice(value);
    }
    fn str(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
    fn os(&mut self, value: &OsStr) {
        self.bytes(value.as_bytes());
    }
    fn path(&mut self, value: &Path) {
        self.os(value.as_os_str());
    }
    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
    fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u64(values.len() as u64);
        for value in values {
            write(self, value);
        }
    }
    /// The message with its length in front.
    fn framed(self) -> Vec<u8> {
        let mut message = (self.0.len() as u64).to_le_bytes().to_vec();
        message.extend_from_slice(&self.0);
        message
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let (head, tail) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }
    fn u8(&mut self) -> io::Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }
    fn bool(&mut self) -> io::Result<bool> {
        Ok(self.u8()? != 0)
    }
    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.u64()?).map_err(|_| malformed())?;
        Ok(self.take(length)?.to_vec())
    }
    fn string(&mut self) -> io::Result<String> {
        String::from_utf8(self.bytes()?).map_err(|_| malformed())
    }
    fn os(&mut self) -> io::Result<OsString> {
        Ok(OsString::from_vec(self.bytes()?))
    }
    fn path(&mut self) -> io::Result<PathBuf> {
        Ok(PathBuf::from(self.os()?))
    }
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<Option<T>> {
        match self.bool()? {
            true => read(self).map(Some),
            false => Ok(None),
        }
    }
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let length = self.u64()?;
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(read(self)?);
        }
        Ok(values)
    }
}

/// Reads the rest of a message whose length has come.
fn read_body(mut stream: &UnixStream, length: [u8; 8]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| malformed())?;
    if length > MAX_MESSAGE {
        return Err(malformed());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// What the helper is to do.
pub(crate) struct Plan {
    pub(crate) spec: ProcessSpec,
    /// Seccomp program, empty for none.
    pub(crate) filter: Vec<u8>,
    /// Standard streams; empty when the process gets a terminal.
    pub(crate) streams: Vec<OwnedFd>,
}

impl Plan {
    pub(crate) fn encode(spec: &ProcessSpec, filter: &[u8]) -> Vec<u8> {
        let mut out = Writer::default();
        write_root(&mut out, &spec.root);
        out.list(&spec.args, |out, arg| out.os(arg));
        out.list(&spec.env, |out, entry| out.os(entry));
        out.path(&spec.cwd);
        out.str(&spec.user);
        out.list(&spec.mounts, write_mount);
        out.str(&spec.hostname);
        out.optional(spec.hosts.as_deref(), Writer::bytes);
        out.optional(spec.resolv_conf.as_deref(), Writer::bytes);
        out.bool(spec.network == Network::None);
        out.bool(spec.security == Security::Insecure);
        out.optional(spec.terminal, |out, size| {
            out.u32(size.rows.into());
            out.u32(size.columns.into());
        });
        out.bool(spec.init);
        out.bool(spec.read_only);
        out.u64(spec.shm_size);
        out.list(&spec.rlimits, |out, limit| {
            out.u32(limit.resource);
            out.u64(limit.soft);
            out.u64(limit.hard);
        });
        out.bytes(filter);
        out.framed()
    }

    /// Waits for the plan and the descriptors that come with its first bytes.
    pub(crate) fn receive(stream: &UnixStream) -> io::Result<Plan> {
        let (length, streams) = sys::receive_with_descriptors::<8>(stream)?;
        let message = read_body(stream, length)?;
        let mut input = Reader(&message);
        let spec = read_spec(&mut input)?;
        let filter = input.bytes()?;
        Ok(Plan {
            spec,
            filter,
            streams,
        })
    }
}

fn read_spec(input: &mut Reader<'_>) -> io::Result<ProcessSpec> {
    Ok(ProcessSpec {
        root: read_root(input)?,
        args: input.list(Reader::os)?,
        env: input.list(Reader::os)?,
        cwd: input.path()?,
        user: input.string()?,
        mounts: input.list(read_mount)?,
        hostname: input.string()?,
        hosts: input.optional(Reader::bytes)?,
        resolv_conf: input.optional(Reader::bytes)?,
        network: match input.bool()? {
            true => Network::None,
            false => Network::Host,
        },
        security: match input.bool()? {
            true => Security::Insecure,
            false => Security::Sandbox,
        },
        terminal: input.optional(|input| {
            Ok(TerminalSize {
                rows: u16::try_from(input.u32()?).map_err(|_| malformed())?,
                columns: u16::try_from(input.u32()?).map_err(|_| malformed())?,
            })
        })?,
        init: input.bool()?,
        read_only: input.bool()?,
        shm_size: input.u64()?,
        rlimits: input.list(|input| {
            Ok(Rlimit {
                resource: input.u32()?,
                soft: input.u64()?,
                hard: input.u64()?,
            })
        })?,
    })
}

fn write_root(out: &mut Writer, root: &Mount) {
    match root {
        Mount::Overlay {
            lower,
            upper,
            work,
            userxattr,
        } => {
            out.u8(0);
            out.list(lower, |out, path| out.path(path));
            out.optional(upper.as_deref(), Writer::path);
            out.optional(work.as_deref(), Writer::path);
            out.bool(*userxattr);
        }
        Mount::Bind { path, readonly } => {
            out.u8(1);
            out.path(path);
            out.bool(*readonly);
        }
    }
}

fn read_root(input: &mut Reader<'_>) -> io::Result<Mount> {
    match input.u8()? {
        0 => Ok(Mount::Overlay {
            lower: input.list(Reader::path)?,
            upper: input.optional(Reader::path)?,
            work: input.optional(Reader::path)?,
            userxattr: input.bool()?,
        }),
        1 => Ok(Mount::Bind {
            path: input.path()?,
            readonly: input.bool()?,
        }),
        _ => Err(malformed()),
    }
}

fn write_mount(out: &mut Writer, mount: &ProcessMount) {
    out.path(&mount.target);
    match &mount.source {
        MountSource::Bind { path, readonly } => {
            out.u8(0);
            out.path(path);
            out.bool(*readonly);
        }
        MountSource::Tree {
            mount,
            subpath,
            readonly,
        } => {
            out.u8(1);
            write_root(out, mount);
            out.path(subpath);
            out.bool(*readonly);
        }
        MountSource::Tmpfs(options) => {
            out.u8(2);
            out.optional(options.size, Writer::u64);
            out.optional(options.mode, Writer::u32);
            out.u32(options.uid);
            out.u32(options.gid);
            out.bool(options.noexec);
        }
        MountSource::File {
            content,
            uid,
            gid,
            mode,
            executable,
        } => {
            out.u8(3);
            out.bytes(content);
            out.u32(*uid);
            out.u32(*gid);
            out.u32(*mode);
            out.bool(*executable);
        }
    }
}

fn read_mount(input: &mut Reader<'_>) -> io::Result<ProcessMount> {
    let target = input.path()?;
    let source = match input.u8()? {
        0 => MountSource::Bind {
            path: input.path()?,
            readonly: input.bool()?,
        },
        1 => MountSource::Tree {
            mount: read_root(input)?,
            subpath: input.path()?,
            readonly: input.bool()?,
        },
        2 => MountSource::Tmpfs(TmpfsOptions {
            size: input.optional(Reader::u64)?,
            mode: input.optional(Reader::u32)?,
            uid: input.u32()?,
            gid: input.u32()?,
            noexec: input.bool()?,
        }),
        3 => MountSource::File {
            content: input.bytes()?,
            uid: input.u32()?,
            gid: input.u32()?,
            mode: input.u32()?,
            executable: input.bool()?,
        },
        _ => return Err(malformed()),
    };
    Ok(ProcessMount { target, source })
}

/// What the helper tells the caller.
#[derive(Debug)]
pub(crate) enum Report {
    /// The other end of the process's terminal comes with this message.
    Terminal,
    /// The program has ended, and with it all that it started.
    Ended(ExitStatus),
    /// A step of setting up failed, with the system's error number.
    Setup { step: String, errno: i32 },
    /// The user is unknown.
    User(UserError),
    /// The program could not be started.
    Start(StartError),
    /// Never sent: the helper is gone.
    Lost,
}

impl Report {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Report::Terminal => out.u8(0),
            Report::Ended(ExitStatus::Code(code)) => {
                out.u8(1);
                out.u8(*code);
            }
            Report::Ended(ExitStatus::Signal(signal)) => {
                out.u8(2);
                out.u32(signal.unsigned_abs());
            }
            Report::Setup { step, errno } => {
                out.u8(3);
                out.str(step);
                out.u32(errno.unsigned_abs());
            }
            Report::User(error) => {
                out.u8(4);
                write_user_error(&mut out, error);
            }
            Report::Start(error) => {
                out.u8(5);
                write_start_error(&mut out, error);
            }
            Report::Lost => out.u8(6),
        }
        out.framed()
    }

    /// Reads a report that came without a descriptor.
    pub(crate) fn decode(message: &[u8]) -> io::Result<Report> {
        let mut input = Reader(message);
        Ok(match input.u8()? {
            0 => Report::Terminal,
            1 => Report::Ended(ExitStatus::Code(input.u8()?)),
            2 => Report::Ended(ExitStatus::Signal(read_errno(&mut input)?)),
            3 => Report::Setup {
                step: input.string()?,
                errno: read_errno(&mut input)?,
            },
            4 => Report::User(read_user_error(&mut input)?),
            5 => Report::Start(read_start_error(&mut input)?),
            6 => Report::Lost,
            _ => return Err(malformed()),
        })
    }

    /// Waits for the next report and the descriptor that may come with it.
    pub(crate) fn receive(stream: &UnixStream) -> io::Result<(Report, Option<OwnedFd>)> {
        let (length, mut descriptors) = sys::receive_with_descriptors::<8>(stream)?;
        let message = read_body(stream, length)?;
        Ok((Report::decode(&message)?, descriptors.pop()))
    }

    pub(crate) fn into_outcome(self) -> Result<ExitStatus, SandboxError> {
        match self {
            Report::Ended(status) => Ok(status),
            Report::Setup { step, errno } => Err(SandboxError::Setup {
                step,
                source: io::Error::from_raw_os_error(errno),
            }),
            Report::User(error) => Err(error.into()),
            Report::Start(error) => Err(error.into()),
            Report::Lost => Err(SandboxError::HelperLost),
            Report::Terminal => Err(SandboxError::Protocol),
        }
    }
}

fn read_errno(input: &mut Reader<'_>) -> io::Result<i32> {
    i32::try_from(input.u32()?).map_err(|_| malformed())
}

fn write_user_error(out: &mut Writer, error: &UserError) {
    match error {
        UserError::UnknownUser(name) => {
            out.u8(0);
            out.str(name);
        }
        UserError::UnknownGroup(name) => {
            out.u8(1);
            out.str(name);
        }
        UserError::OutOfRange(id) => {
            out.u8(2);
            out.str(id);
        }
        UserError::Unreadable { path, reason } => {
            out.u8(3);
            out.path(path);
            out.str(reason);
        }
    }
}

fn read_user_error(input: &mut Reader<'_>) -> io::Result<UserError> {
    Ok(match input.u8()? {
        0 => UserError::UnknownUser(input.string()?),
        1 => UserError::UnknownGroup(input.string()?),
        2 => UserError::OutOfRange(input.string()?),
        3 => UserError::Unreadable {
            path: input.path()?,
            reason: input.string()?,
        },
        _ => return Err(malformed()),
    })
}

fn write_start_error(out: &mut Writer, error: &StartError) {
    let (kind, program, detail) = match error {
        StartError::NoCommand => (0, "", ""),
        StartError::NotFound { program, detail } => (1, program.as_str(), detail.as_str()),
        StartError::PermissionDenied { program, detail } => (2, program.as_str(), detail.as_str()),
        StartError::MissingInterpreter { program, interpreter } => {
            (3, program.as_str(), interpreter.as_str())
        }
        StartError::Format { program, detail } => (4, program.as_str(), detail.as_str()),
        StartError::Refused { program, detail } => (5, program.as_str(), detail.as_str()),
    };
    out.u8(kind);
    out.str(program);
    out.str(detail);
}

fn read_start_error(input: &mut Reader<'_>) -> io::Result<StartError> {
    let kind = input.u8()?;
    let program = input.string()?;
    let detail = input.string()?;
    Ok(match kind {
        0 => StartError::NoCommand,
        1 => StartError::NotFound { program, detail },
        2 => StartError::PermissionDenied { program, detail },
        3 => StartError::MissingInterpreter {
            program,
            interpreter: detail,
        },
        4 => StartError::Format { program, detail },
        5 => StartError::Refused { program, detail },
        _ => return Err(malformed()),
    })
}

#[cfg(test)]
mod tests;
