//! Ctrl-C and its relatives.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use distil_solver::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::CliError;

/// How long a build may take to stop by itself.
const PATIENCE: Duration = Duration::from_millis(700);

/// The signal that stopped the build; 0 as long as none did.
static STOPPED_BY: AtomicI32 = AtomicI32::new(0);

/// A token that the first SIGINT, SIGTERM or SIGHUP sets; the second, or [`PATIENCE`], ends the program at
/// once, which loses nothing but the unfinished steps. Either way the processes of RUN end: their helper sees
/// that the pipe to this process is closed.
pub(crate) fn token() -> Result<CancelToken, CliError> {
    let token = CancelToken::new();
    let cancel = token.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if cancel.is_cancelled() {
                std::process::exit(128 + signal);
            }
            STOPPED_BY.store(signal, Ordering::Relaxed);
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                std::process::exit(128 + signal);
            });
            cancel.cancel();
        }
    });
    Ok(token)
}

/// The exit code of a build that was stopped: 128 and the number of the signal, as of a program that it ended.
pub(crate) fn exit_code() -> u8 {
    u8::try_from(128 + STOPPED_BY.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
}
