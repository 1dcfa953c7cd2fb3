//! The images of the example, built once, and one test at a time.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::stack::Part;

pub(crate) const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/three-tier");

/// Its tests take turns: they start many programs and measure how long these take to end.
static TURN: Mutex<()> = Mutex::new(());
static BUILT: OnceLock<bool> = OnceLock::new();

pub(crate) struct Images {
    _turn: MutexGuard<'static, ()>,
}

impl Images {
    /// `None`, and told, where they are not wanted or cannot be built.
    pub(crate) fn get() -> Option<Images> {
        if std::env::var_os("DISTIL_TEST_ALL").is_none() {
            println!("skipped: `DISTIL_TEST_ALL` is not set");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let images = Images {
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        };
        BUILT.get_or_init(|| images.build()).then_some(images)
    }

    /// `distil` with a store that stays for the next run: it has the downloads and the build cache.
    #[expect(clippy::unused_self, reason = "only who has the turn may use the store")]
    pub(crate) fn distil(&self) -> Command {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("three-tier");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_distil"));
        command.env("DISTIL_ROOT", folder.join("store"));
        command
            .env("HOME", folder.join("home"))
            .env_remove("XDG_CONFIG_HOME");
        command
    }

    fn build(&self) -> bool {
        for part in Part::ALL {
            let output = self
                .distil()
                .args(["build", "--bases", "packages", "--host-ca", "--progress", "plain"])
                .args([
                    "--audit",
                    "distroless",
                    "--preflight",
                    "error",
                    "--target",
                    part.target(),
                ])
                .args(["-t", part.image(), "-f"])
                .arg(format!("{EXAMPLE}/Dockerfile.distroless"))
                .arg(EXAMPLE)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() && told.contains("cannot be reached") {
                println!("skipped: no Debian archive can be used");
                return false;
            }
            assert!(output.status.success(), "{}: {told}", part.target());
        }
        true
    }
}
