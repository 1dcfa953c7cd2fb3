//! A small root, a user, and running things in the one as the other.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use distil_rootfs::Mount;
use distil_sandbox::exit::ExitStatus;
use distil_sandbox::{Captured, ProcessSpec, Sandbox, SandboxError, Stdio, userns};
use tempfile::TempDir;

const APPLETS: [&str; 32] = [
    "sh", "cat", "echo", "id", "ls", "mkdir", "rm", "touch", "stat", "hostname", "sleep", "grep", "mount",
    "stty", "tty", "env", "pwd", "head", "wc", "setsid", "kill", "true", "false", "df", "ip", "chown",
    "test", "od", "readlink", "ps", "dd", "umount",
];

/// A statically linked busybox of this machine.
pub(crate) fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| {
            let content = fs::read(path).unwrap_or_default();
            // A dynamic program names its loader near its beginning.
            let head = &content[..content.len().min(4096)];
            !head.is_empty() && !head.windows(8).any(|bytes| bytes == b"ld-linux")
        })
}

/// A lower layer with busybox and a new upper one.
pub(crate) struct Root {
    directory: TempDir,
}

impl Root {
    pub(crate) fn new() -> Root {
        let root = Root::empty();
        let lower = root.path("lower");
        for name in ["bin", "etc", "tmp", "home/app"] {
            fs::create_dir_all(lower.join(name)).unwrap();
        }
        fs::copy(busybox().unwrap(), lower.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
        fs::write(
            lower.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n",
        )
        .unwrap();
        fs::write(lower.join("etc/group"), "root:x:0:\napp:x:101:\nwheel:x:10:app\n").unwrap();
        fs::set_permissions(lower.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        root
    }

    /// Nothing in it.
    pub(crate) fn empty() -> Root {
        let directory = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Root { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Copies this test program into the root, as `/probe`.
    pub(crate) fn add_probe(&self) {
        fs::copy("/proc/self/exe", self.path("lower/probe")).unwrap();
    }

    pub(crate) fn mount(&self) -> Mount {
        Mount::Overlay {
            lower: vec![self.path("lower")],
            upper: Some(self.path("upper")),
            work: Some(self.path("work")),
            userxattr: userns::inside(),
        }
    }

    pub(crate) fn spec(&self, arguments: &[&str]) -> ProcessSpec {
        ProcessSpec::new(self.mount(), arguments.iter().map(OsString::from).collect())
    }

    pub(crate) fn shell(&self, script: &str) -> ProcessSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    /// Paths below the upper directory, sorted.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.path("upper"), &mut found);
        let prefix = self.path("upper");
        let mut names: Vec<String> = found
            .iter()
            .map(|path| path.strip_prefix(&prefix).unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // overlayfs leaves it without permissions.
        let _ = fs::set_permissions(self.path("work/work"), PermissionsExt::from_mode(0o700));
    }
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.clone());
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(&path, found);
        }
    }
}

/// What a process did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<ExitStatus, SandboxError>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Asserts success and gives standard output.
    #[track_caller]
    pub(crate) fn output(self) -> String {
        assert!(matches!(self.result, Ok(status) if status.success()), "{self:?}");
        self.stdout
    }
}

pub(crate) fn run(spec: &ProcessSpec) -> Outcome {
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let mut process = Sandbox::spawn(spec, Stdio::captured()).unwrap();
    let result = process.wait_with_output(|stream, bytes| match stream {
        Captured::Stdout => stdout.extend_from_slice(bytes),
        Captured::Stderr => stderr.extend_from_slice(bytes),
    });
    Outcome {
        result,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// An ordinary user with subordinate ids, removed when dropped.
pub(crate) struct TestUser {
    name: String,
    directory: TempDir,
}

impl TestUser {
    pub(crate) fn new() -> Option<TestUser> {
        for tool in ["/usr/sbin/useradd", "/usr/bin/newuidmap", "/usr/bin/setpriv"] {
            Path::new(tool).exists().then_some(())?;
        }
        let name = format!("distiltest{}", std::process::id());
        let user = TestUser {
            directory: tempfile::tempdir().ok()?,
            name,
        };
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            status.is_ok_and(|status| status.success())
        };
        let home = user.directory.path().join("home");
        fs::create_dir(&home).ok()?;
        let home_text = home.display().to_string();
        run("/usr/sbin/useradd", &["-M", "-d", &home_text, &user.name]).then_some(())?;
        if !fs::read_to_string("/etc/subuid").ok()?.contains(&user.name) {
            let range = ["--add-subuids", "900000-965535", "--add-subgids", "900000-965535"];
            run("/usr/sbin/usermod", &[&range[..], &[&user.name]].concat()).then_some(())?;
        }
        fs::set_permissions(user.directory.path(), PermissionsExt::from_mode(0o755)).ok()?;
        run("/bin/chown", &["-R", &user.name, &home_text]).then_some(())?;
        fs::copy("/proc/self/exe", user.directory.path().join("tests")).ok()?;
        Some(user)
    }

    /// This test program as the user, with the role `as-user`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let home = self.directory.path().join("home");
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(["--reuid", &self.name, "--regid", &self.name, "--init-groups"])
            .arg(self.directory.path().join("tests"))
            .arg("as-user")
            .args(arguments)
            .env("TMPDIR", &home)
            .current_dir(&home);
        command
    }

    /// Runs the tests as the user.
    pub(crate) fn run_tests(&self, filter: &[&str]) -> bool {
        std::io::stdout().flush().unwrap();
        self.command(filter).status().is_ok_and(|status| status.success())
    }
}

impl Drop for TestUser {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/userdel").arg(&self.name).status();
    }
}
