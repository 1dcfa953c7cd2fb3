//! Runs one process in namespaces with limits; knows no graph and no images.
//!
//! [`Sandbox::spawn`] starts the program of a [`ProcessSpec`] as process 1 of its own pid, mount,
//! ipc, uts and cgroup namespaces (and network namespace for [`Network::None`]) with Docker's
//! default capabilities and seccomp profile. Nothing of it outlives the caller: the root
//! filesystem is mounted inside the namespace only, and a helper process ends the namespace as
//! soon as its connection to the caller closes, however the caller died.
//!
//! ```text
//! caller (any number of threads)
//!   |  unix socket: plan, descriptors, signals, exit status; closing it ends everything
//!   +-- helper: this program executed again, one thread; private mount namespace, root attached
//!         +-- the program: process 1 of the pid namespace, exec'd
//! ```
//!
//! A program that uses this crate calls [`init_entry`] first thing in `main`, before it makes
//! threads, and [`userns::enter`] when [`userns::needed`] says so.

pub mod binfmt;
mod capability;
pub mod doctor;
mod error;
pub mod exit;
mod helper;
pub mod network_files;
mod process;
mod seccomp;
mod spec;
mod startup;
mod sys;
pub mod terminal;
pub mod userns;
mod wire;

pub use error::{SandboxError, StartError, UserError};
pub use helper::init_entry;
pub use process::{Captured, Input, Output, Process, Sandbox, Signaller, Stdio};
pub use spec::{
    DEFAULT_HOSTNAME, DEFAULT_PATH, DEFAULT_SHM_SIZE, MountSource, Network, ProcessMount, ProcessSpec,
    Rlimit, Security, TerminalSize, TmpfsOptions,
};
pub use startup::{
    forget_empty_variables, keep_freed_memory, raise_descriptor_limit, use_static_name_lookup,
};
