//! How much came over the network while something ran, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const EVERY: Duration = Duration::from_millis(100);
/// Bytes in one interval from which on it counts as downloading: 200 kB a second.
const BUSY: u64 = 20_000;

/// What came in over all interfaces of the machine but loopback.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Downloads {
    pub(super) bytes: u64,
    /// The time in which more than 200 kB a second came in. What the build did at the same time is part of it.
    pub(super) seconds: f64,
}

/// Counts until it is asked.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Downloads>,
}

impl Traffic {
    pub(super) fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let begin = received();
            let mut last = (Instant::now(), begin);
            let mut seconds = 0.0;
            loop {
                let ends = seen.load(Ordering::Relaxed);
                if !ends {
                    std::thread::sleep(EVERY);
                }
                let now = (Instant::now(), received());
                if now.1.saturating_sub(last.1) >= BUSY {
                    seconds += (now.0 - last.0).as_secs_f64();
                }
                last = now;
                if ends {
                    let bytes = last.1.saturating_sub(begin);
                    return Downloads { bytes, seconds };
                }
            }
        });
        Self { stop, thread }
    }

    pub(super) fn end(self) -> Downloads {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// Bytes that every interface but loopback has received; 0 where the kernel does not tell.
fn received() -> u64 {
    std::fs::read_to_string("/proc/net/dev").map_or(0, |table| sum(&table))
}

/// Sums the received bytes of `/proc/net/dev`. Bridges and virtual pairs carry again what came in elsewhere.
fn sum(table: &str) -> u64 {
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| {
            let name = name.trim();
            !["lo", "veth", "br-", "docker", "cni", "podman", "virbr"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .filter_map(|(_, numbers)| numbers.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_bridges_do_not_count() {
        let table = "Inter-| Receive\n face |bytes packets\n    lo: 500 1\n  eth0: 42 7 0\ndocker0: 9 1\n wlan0:58 1\n";
        assert_eq!(sum(table), 100);
        assert_eq!(sum("nonsense\n:\n"), 0);
    }
}
