//! What a build leaves to do for the store, done by a process of its own after the command has ended: carrying
//! files to the disk can take longer than the build.
//!
//! Nothing depends on it. What was not carried to the disk is dropped by the next boot, and the next build
//! starts the upkeep again.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use distil_store::{Store, StoreError};

/// `argv[0]` that turns this program into the one that does the upkeep.
const NAME: &str = "distil-upkeep";

/// Does the upkeep when the process was started for it; gives `None` in every other process.
pub(crate) fn entry() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next()? != NAME {
        return None;
    }
    // Neither a terminal's Ctrl-C nor an unmounted working directory is its business.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let root = arguments.next()?;
    let limit = arguments.next().and_then(|limit| limit.to_str()?.parse().ok());
    // Nobody is there to read an error; the next build tries again.
    let done = Store::keep_up_in(Path::new(&root), limit.unwrap_or(u64::MAX));
    Some(if done.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts the upkeep of `store` when it needs some, and does not wait for it. The store is collected when it
/// takes more than `limit` bytes.
pub(crate) fn start(store: &Store, limit: u64) -> Result<(), StoreError> {
    if !store.needs_upkeep(limit)? {
        return Ok(());
    }
    let started = Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(OsString::from(store.root()))
        .arg(limit.to_string())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        // It is not waited for: it goes on when this process has ended.
        Ok(_) => Ok(()),
        Err(_) => store.keep_up(limit),
    }
}
