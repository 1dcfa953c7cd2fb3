//! Programs that are run to an end or until they are stopped, their output kept for the case that they fail.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Failure;

const POLL: Duration = Duration::from_millis(2);
/// Bytes of output that are looked at.
const OUTPUT: u64 = 64 << 20;
/// What a program gets to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How many signals came that ask this process to end.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Whether Ctrl-C, SIGTERM or SIGHUP came; everything that waits looks at it.
pub(super) fn interrupted() -> bool {
    SIGNALS.load(Ordering::Relaxed) > 0
}

/// From now on a signal ends what runs and cleans up in place of ending this process; a second one has what runs killed.
pub(super) fn catch_signals() -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
    std::thread::spawn(move || {
        for _ in &mut signals {
            SIGNALS.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// A program in a process group of its own, so that a Ctrl-C reaches it in the order that this process wants. It is
/// ended when it is dropped.
pub(super) struct Running {
    child: Child,
    what: String,
    output: File,
    ended: bool,
}

/// How a program ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// Both streams, in the order in which they were written.
    pub(super) output: String,
    pub(super) seconds: f64,
}

impl Running {
    /// Starts `command` with `input` on its standard input.
    pub(super) fn start(mut command: Command, input: &str) -> Result<Self, Failure> {
        let what = describe(&command);
        let fail = |error: std::io::Error| Failure::new(format!("cannot run `{what}`: {error}"));
        let output = tempfile::tempfile().map_err(fail)?;
        let mut stdin = tempfile::tempfile().map_err(fail)?;
        stdin
            .write_all(input.as_bytes())
            .and_then(|()| stdin.rewind())
            .map_err(fail)?;
        command
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(output.try_clone().map_err(fail)?))
            .stderr(Stdio::from(output.try_clone().map_err(fail)?))
            .process_group(0);
        let child = command.spawn().map_err(fail)?;
        Ok(Self {
            child,
            what,
            output,
            ended: false,
        })
    }

    /// The exit status if it has ended.
    pub(super) fn has_ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let status = self
            .child
            .try_wait()
            .map_err(|error| Failure::new(format!("cannot wait for `{}`: {error}", self.what)))?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Waits for the end, at most `limit`.
    ///
    /// # Errors
    /// A signal to this process, or a program that takes longer: it is ended then.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.has_ended()? {
                return Ok(status);
            }
            if interrupted() {
                self.stop();
                return Err(Failure::interrupted());
            }
            if begin.elapsed() > limit {
                self.stop();
                let failure = Failure::new(format!(
                    "`{}` had not ended after {} s",
                    self.what,
                    limit.as_secs()
                ));
                return Err(Failure {
                    limit: Some(limit),
                    ..failure.with_output(&self.read_output())
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends it with SIGTERM, after a while with SIGKILL, and tells how long that took.
    pub(super) fn stop(&mut self) -> Duration {
        let begin = Instant::now();
        self.signal(Signal::TERM);
        while matches!(self.has_ended(), Ok(None)) {
            if begin.elapsed() > GRACE || SIGNALS.load(Ordering::Relaxed) > 1 {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(POLL);
        }
        begin.elapsed()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && !self.ended
        {
            // It fails only where the group has just ended.
            let _ = kill_process_group(group, signal);
        }
    }

    /// What it has written so far.
    pub(super) fn read_output(&self) -> String {
        // At positions of its own: the program writes at the file's.
        let mut bytes = vec![0; self.output.metadata().map_or(0, |file| file.len()).min(OUTPUT) as usize];
        let read = self.output.read_at(&mut bytes, 0).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.stop();
        }
    }
}

/// Runs a program to its end, which may be a failure.
pub(super) fn run(command: Command, input: &str, limit: Duration) -> Result<Ended, Failure> {
    let begin = Instant::now();
    let mut running = Running::start(command, input)?;
    let status = running.wait(limit)?;
    Ok(Ended {
        status,
        seconds: begin.elapsed().as_secs_f64(),
        output: running.read_output(),
    })
}

/// Runs a program that must succeed.
pub(super) fn succeed(command: Command, limit: Duration) -> Result<Ended, Failure> {
    let what = describe(&command);
    let ended = run(command, "", limit)?;
    if ended.status.success() {
        return Ok(ended);
    }
    Err(Failure::new(format!("`{what}`: {}", ended.status)).with_output(&ended.output))
}

fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_ever_is_ended_and_told() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo it waits; sleep 100"]);
        let begin = Instant::now();
        let Err(failure) = run(command, "", Duration::from_secs(1)) else {
            panic!("it ended by itself");
        };
        assert_eq!(failure.reason(), "it had not ended after 1 s");
        assert!(begin.elapsed() < Duration::from_secs(30));
        let failed = succeed(Command::new("false"), Duration::from_secs(30)).err();
        assert!(failed.is_some_and(|failure| failure.reason().contains("false")));
        let mut colourful = Command::new("sh");
        colourful.args(["-c", r"printf '\033[1;31mno such \033[0mfile\n'; exit 1"]);
        let failed = succeed(colourful, Duration::from_secs(30)).err();
        assert!(failed.is_some_and(|failure| failure.reason() == "no such file"));
    }
}
