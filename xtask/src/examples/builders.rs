//! distil and buildah, each with a store of its own that goes with the run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Failure;
use super::process;
use super::traffic::{Downloads, Traffic};

/// No build of an example takes longer, on the slowest machine that is thought of.
const BUILD: Duration = Duration::from_secs(45 * 60);
const QUICK: Duration = Duration::from_secs(120);

/// What a build took.
pub(super) struct Build {
    pub(super) seconds: f64,
    pub(super) downloads: Downloads,
    pub(super) log: String,
}

/// What is built.
pub(super) struct Order<'a> {
    pub(super) context: &'a Path,
    pub(super) dockerfile: &'a str,
    pub(super) target: Option<&'a str>,
    pub(super) tag: &'a str,
}

/// The distil under test and its store.
pub(super) struct Distil {
    program: PathBuf,
    root: PathBuf,
}

impl Distil {
    pub(super) fn new(program: PathBuf, root: PathBuf) -> Self {
        Self { program, root }
    }

    /// `distil` with the store of this run, and with bases from packages: whoever measures gets the same.
    pub(super) fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("DISTIL_ROOT", &self.root)
            .env("DISTIL_BASES", "packages");
        command
    }

    pub(super) fn output<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, Failure> {
        Ok(process::succeed(self.command(args), QUICK)?.output)
    }

    /// Has the bases of a Dockerfile in the store, so that their making is no part of a build's time, and tells their
    /// names.
    pub(super) fn bases(&self, order: &Order<'_>) -> Result<Vec<String>, Failure> {
        let mut command = self.command(["dump-llb"]);
        arguments(&mut command, order);
        let graph = process::succeed(command, BUILD)?.output;
        Ok(graph
            .split("\"docker-image://")
            .skip(1)
            .filter_map(|rest| rest.split_once('@'))
            .map(|(name, _)| name.to_owned())
            .collect())
    }

    pub(super) fn build(&self, order: &Order<'_>) -> Result<Build, Failure> {
        let mut command = self.command(["build", "--progress", "plain", "--host-ca", "-t", order.tag]);
        arguments(&mut command, order);
        timed(command, BUILD)
    }

    /// Forgets every build and every cache mount; images and bases stay.
    pub(super) fn forget(&self) -> Result<(), Failure> {
        self.output(["prune", "--all", "--force"]).map(drop)
    }

    /// What `--host-ca` lends a step in Debian: the folder's copy in `dest`, and the variables. What is for Maven is for
    /// every Java here: a Dockerfile's own `MAVEN_OPTS` would replace it in an image.
    pub(super) fn lent(&self, dest: &Path) -> Result<Vec<String>, Failure> {
        let dockerfile = dest.join("Dockerfile");
        std::fs::create_dir_all(dest)
            .and_then(|()| std::fs::write(&dockerfile, LENT))
            .map_err(|error| Failure::file(&dockerfile, &error))?;
        let mut command = self.command(["build", "--progress", "quiet", "--host-ca", "-o"]);
        command.arg(dest.join("out")).arg(dest);
        process::succeed(command, BUILD)?;
        let variables = dest.join("out/variables");
        let text = std::fs::read_to_string(&variables).map_err(|error| Failure::file(&variables, &error))?;
        Ok(text
            .lines()
            .filter(|line| line.contains("/dev/distil"))
            .map(|line| line.replacen("MAVEN_OPTS=", "JAVA_TOOL_OPTIONS=", 1))
            .collect())
    }
}

impl Drop for Distil {
    fn drop(&mut self) {
        // The store has files of subordinate ids, which only distil itself can remove for an ordinary user.
        let mut command = self.command(["reset", "--force"]);
        let _ = command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

const LENT: &str = "FROM debian:bookworm AS step\nRUN mkdir -p /lent && cp -a /dev/distil /lent/ && env >/lent/variables\nFROM scratch\nCOPY --from=step /lent /\n";

fn arguments(command: &mut Command, order: &Order<'_>) {
    if let Some(target) = order.target {
        command.args(["--target", target]);
    }
    command
        .arg("-f")
        .arg(order.context.join(order.dockerfile))
        .arg(order.context);
}

fn timed(command: Command, limit: Duration) -> Result<Build, Failure> {
    let traffic = Traffic::watch();
    let ended = process::succeed(command, limit);
    let downloads = traffic.end();
    ended.map(|ended| Build {
        seconds: ended.seconds,
        downloads,
        log: ended.output,
    })
}

/// Debian's buildah with runc, in a folder of its own.
pub(super) struct Buildah {
    folder: PathBuf,
    /// Variables that name authorities, and the folder with them.
    lent: Option<(PathBuf, Vec<String>)>,
    brought: RefCell<BTreeSet<String>>,
}

impl Buildah {
    /// Whether it can be used: installed, with runc, as root.
    pub(super) fn is_there() -> bool {
        let found = |name: &str| {
            std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
        };
        rustix::process::getuid().is_root() && found("buildah") && found("runc")
    }

    pub(super) fn version() -> Option<String> {
        let output = Command::new("buildah").arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace()
            .nth(2)
            .map(|version| format!("buildah {version}"))
    }

    /// With the authorities that distil lends its steps, for these builds need them as well.
    pub(super) fn new(folder: PathBuf, distil: &Distil) -> Result<Self, Failure> {
        let lent = folder.join("lent");
        let variables = distil.lent(&lent)?;
        Ok(Self {
            folder,
            lent: (!variables.is_empty()).then(|| (lent.join("out/distil"), variables)),
            brought: RefCell::default(),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.folder.join("storage"))
            .arg("--runroot")
            .arg(self.folder.join("run"))
            .args(["--storage-driver", "overlay"])
            .args(args)
            // Its cache mounts lie there.
            .env("TMPDIR", self.folder.join("tmp"));
        command
    }

    /// Gives it an image of distil's store under the same name, once.
    pub(super) fn bring(&self, distil: &Distil, image: &str) -> Result<(), Failure> {
        if !self.brought.borrow_mut().insert(image.to_owned()) {
            return Ok(());
        }
        let archive = self.folder.join("image.tar");
        std::fs::create_dir_all(self.folder.join("tmp"))
            .map_err(|error| Failure::file(&self.folder, &error))?;
        let mut save = distil.command(["save", "--format", "docker-archive", "-o"]);
        save.arg(&archive).arg(image);
        process::succeed(save, QUICK)?;
        let pulled = process::succeed(
            self.command(&["pull", "-q", &format!("docker-archive:{}", archive.display())]),
            QUICK,
        )?;
        let _ = std::fs::remove_file(&archive);
        let id = pulled.output.lines().last().unwrap_or_default().trim().to_owned();
        let Some((_, variables)) = &self.lent else {
            return process::succeed(self.command(&["tag", &id, image]), QUICK).map(drop);
        };
        // No flag of `buildah build` gives RUN a variable without writing it to the image: the base has them.
        let container = process::succeed(self.command(&["from", "--pull-never", &id]), QUICK)?;
        let container = container.output.trim().to_owned();
        let mut config = self.command(&["config"]);
        for variable in variables {
            config.args(["--env", variable]);
        }
        config.arg(&container);
        process::succeed(config, QUICK)?;
        process::succeed(self.command(&["commit", "-q", "--rm", &container, image]), QUICK).map(drop)
    }

    /// With what earlier builds left, or, `cold`, without; ended when it takes longer than `limit`. Some of its
    /// versions wait for ever where two stages lock the same cache mount.
    pub(super) fn build(&self, order: &Order<'_>, cold: bool, limit: Duration) -> Result<Build, Failure> {
        let mut command = self.command(&[
            "build",
            "--runtime",
            "runc",
            "--layers",
            "--pull-never",
            "-t",
            order.tag,
        ]);
        if cold {
            command.arg("--no-cache");
        }
        if let Some((folder, _)) = &self.lent {
            command
                .arg("-v")
                .arg(format!("{}:/dev/distil:ro", folder.display()));
        }
        arguments(&mut command, order);
        timed(command, limit)
    }

    /// Forgets what cache mounts hold.
    pub(super) fn forget(&self) -> Result<(), Failure> {
        let caches = self.folder.join("tmp");
        let _ = std::fs::remove_dir_all(&caches);
        std::fs::create_dir_all(&caches).map_err(|error| Failure::file(&caches, &error))
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "-a"]).output();
        let _ = self.command(&["rmi", "-a", "-f"]).output();
        // Its storage stays mounted otherwise, and then cannot be removed.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.folder.join("storage/overlay"))
            .output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
