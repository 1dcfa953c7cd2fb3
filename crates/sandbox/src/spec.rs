//! What to run and what it sees.

use std::ffi::OsString;
use std::path::PathBuf;

use distil_rootfs::Mount;

/// The hostname BuildKit gives to `RUN` steps.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// The search path that Docker assumes when the environment has no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Size of `/dev/shm` in bytes unless told otherwise.
pub const DEFAULT_SHM_SIZE: u64 = 64 * 1024 * 1024;

/// Which network a process sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The network of the caller.
    #[default]
    Host,
    /// An empty network namespace with `lo` up.
    None,
}

/// How far a process is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Docker's default capabilities, seccomp profile, masked and read-only paths.
    #[default]
    Sandbox,
    /// `RUN --security=insecure`: all capabilities that the caller has, no seccomp filter,
    /// nothing masked, writable `/sys`.
    Insecure,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        TerminalSize {
            rows: 24,
            columns: 80,
        }
    }
}

/// One resource limit; `resource` is a number of `setrlimit(2)` (`RLIMIT_NOFILE` = 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*` number of the running machine.
    pub resource: u32,
    /// Limit in force; `u64::MAX` is no limit.
    pub soft: u64,
    /// What the process may raise `soft` to; `u64::MAX` is no limit.
    pub hard: u64,
}

impl Rlimit {
    /// The resource number of a Docker `--ulimit` name (`nofile`, `nproc`, ...), if it is one.
    pub fn resource(name: &str) -> Option<u32> {
        let number = match name {
            "as" => libc::RLIMIT_AS,
            "core" => libc::RLIMIT_CORE,
            "cpu" => libc::RLIMIT_CPU,
            "data" => libc::RLIMIT_DATA,
            "fsize" => libc::RLIMIT_FSIZE,
            "locks" => libc::RLIMIT_LOCKS,
            "memlock" => libc::RLIMIT_MEMLOCK,
            "msgqueue" => libc::RLIMIT_MSGQUEUE,
            "nice" => libc::RLIMIT_NICE,
            "nofile" => libc::RLIMIT_NOFILE,
            "nproc" => libc::RLIMIT_NPROC,
            "rss" => libc::RLIMIT_RSS,
            "rtprio" => libc::RLIMIT_RTPRIO,
            "rttime" => libc::RLIMIT_RTTIME,
            "sigpending" => libc::RLIMIT_SIGPENDING,
            "stack" => libc::RLIMIT_STACK,
            _ => return None,
        };
        Some(number)
    }
}

/// Something mounted below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMount {
    /// Where, as an absolute path inside the root; symlinks are followed inside the root. Missing
    /// directories (or, for a file, the file) are created and taken away again afterwards unless
    /// something was put into them.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
}

/// How a file system in memory is made; without programs that change their user, and without devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Limit in bytes.
    pub size: Option<u64>,
    /// Permission bits of its root; else those of the directory that it covers, 1777 when there was none.
    pub mode: Option<u32>,
    /// Owner of its root inside the root.
    pub uid: u32,
    /// Group of its root inside the root.
    pub gid: u32,
    /// Whether programs in it may not be executed.
    pub noexec: bool,
}

/// What a [`ProcessMount`] shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A file, directory or socket of the caller's file system.
    Bind {
        /// The caller's path, followed through symlinks.
        path: PathBuf,
        /// Whether writing is refused.
        readonly: bool,
    },
    /// A path inside a tree that is mounted for this process only, such as another stage.
    Tree {
        /// The tree.
        mount: Mount,
        /// Path inside it; symlinks are followed inside the tree.
        subpath: PathBuf,
        /// Whether writing is refused.
        readonly: bool,
    },
    /// Memory.
    Tmpfs(TmpfsOptions),
    /// A file in memory that never reaches a disk: secrets and here-document scripts. Read-only,
    /// nosuid and nodev.
    File {
        /// The bytes.
        content: Vec<u8>,
        /// Owner inside the root.
        uid: u32,
        /// Group inside the root.
        gid: u32,
        /// Permission bits.
        mode: u32,
        /// Whether it may be executed (else the mount is noexec).
        executable: bool,
    },
}

/// One process to run. [`ProcessSpec::new`] gives BuildKit's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The root filesystem.
    pub root: Mount,
    /// Program and arguments; a program without `/` is looked up in the `PATH` of `env` inside
    /// the root.
    pub args: Vec<OsString>,
    /// `NAME=value` in order. `HOME` is appended when absent: the user's home in the root's
    /// `/etc/passwd`, else `/`.
    pub env: Vec<OsString>,
    /// Work directory inside the root, created with mode 0755 for the user when missing.
    pub cwd: PathBuf,
    /// `name`, `uid`, `name:group`, `uid:gid`, resolved inside the root; empty is uid 0.
    pub user: String,
    /// Further mounts, attached in this order.
    pub mounts: Vec<ProcessMount>,
    /// Name of the machine.
    pub hostname: String,
    /// Content of `/etc/hosts` (see [`crate::network_files`]); none leaves the root's file.
    pub hosts: Option<Vec<u8>>,
    /// Content of `/etc/resolv.conf`; none leaves the root's file.
    pub resolv_conf: Option<Vec<u8>>,
    /// Network.
    pub network: Network,
    /// Confinement.
    pub security: Security,
    /// Gives the process a pseudo-terminal of this size as its standard streams and
    /// `/dev/console`; the other end is [`crate::Process::terminal`].
    pub terminal: Option<TerminalSize>,
    /// Puts a small init before the program, which is then process 2: it hands signals on, also
    /// those that process 1 would ignore, and reaps orphans. For `run`; a `RUN` step has none.
    pub init: bool,
    /// Makes the root read-only once mount points and work directory are there; what is mounted below it stays as
    /// it is. Only for a root that is thrown away afterwards: the mount points stay in it.
    pub read_only: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Resource limits; all others are those of the caller.
    pub rlimits: Vec<Rlimit>,
}

impl ProcessSpec {
    /// Runs `args` in `root` as root in `/`, with BuildKit's host name and an empty environment.
    pub fn new(root: Mount, args: Vec<OsString>) -> ProcessSpec {
        ProcessSpec {
            root,
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: String::new(),
            mounts: Vec::new(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            hosts: None,
            resolv_conf: None,
            network: Network::Host,
            security: Security::Sandbox,
            terminal: None,
            init: false,
            read_only: false,
            shm_size: DEFAULT_SHM_SIZE,
            rlimits: Vec::new(),
        }
    }
}
