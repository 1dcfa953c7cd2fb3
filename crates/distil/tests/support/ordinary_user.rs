//! An ordinary user with subordinate ids, for tests that root runs.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A user of this test alone: tests run side by side, and each removes its own.
pub(crate) struct OrdinaryUser {
    pub(crate) name: String,
    /// Made for this test and removed after it.
    made: bool,
}

impl OrdinaryUser {
    /// The one that `DISTIL_TEST_USER` names, or a new one; none where nobody can be made, which is told.
    pub(crate) fn new() -> Option<Self> {
        let found = Self::named().or_else(Self::make);
        if found.is_none() {
            println!("skipped as an ordinary user: needs root, newuidmap and useradd");
        }
        found
    }

    fn named() -> Option<Self> {
        let name = std::env::var("DISTIL_TEST_USER").ok()?;
        Some(Self { name, made: false })
    }

    fn make() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/newuidmap").exists() {
            return None;
        }
        let succeeds = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("distil{}x{number}", std::process::id());
        let user =
            succeeds("useradd", &["-M", "-d", "/nonexistent", &name]).then_some(Self { name, made: true })?;
        let ranges = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
        let add = [
            "--add-subuids",
            "1000000-1065535",
            "--add-subgids",
            "1000000-1065535",
            &user.name,
        ];
        (ranges.contains(&user.name) || succeeds("usermod", &add)).then_some(user)
    }
}

impl Drop for OrdinaryUser {
    fn drop(&mut self) {
        if self.made {
            // Upkeep that a build has left behind may still run. A user that stays is only untidy.
            let _ = Command::new("userdel").args(["--force", &self.name]).output();
        }
    }
}
