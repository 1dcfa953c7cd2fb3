//! What a `RUN` step sees and leaves behind.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use distil_sandbox::exit::{self, ExitStatus};
use distil_sandbox::{MountSource, Network, ProcessMount, Rlimit, StartError, TmpfsOptions, network_files};

use crate::Case;
use crate::fixture::{Root, run};

pub(crate) const CASES: &[Case] = &[
    ("environment", environment),
    ("users", users),
    ("exit_codes", exit_codes),
    ("cannot_start", cannot_start),
    ("files_and_stubs", files_and_stubs),
    ("empty_root", empty_root),
    ("stubs_keep_times", stubs_keep_times),
    ("mounts", mounts),
    ("work_directory", work_directory),
    ("network_none", network_none),
    ("captures_both_streams", captures_both_streams),
    ("init", init),
    ("doctor", doctor),
];

fn environment() {
    let root = Root::new();
    let mut spec = root.shell("hostname; pwd; umask; echo pid $$; tty; cat | wc -c");
    spec.env = ["PATH=/bin", "A=1", "B=2", "A=3"].map(OsString::from).into();
    let output = run(&spec).output_with_failure_of_tty();
    let mut plain = root.spec(&["env"]);
    plain.env.clone_from(&spec.env);
    assert_eq!(run(&plain).output(), "PATH=/bin\nA=3\nB=2\nHOME=/root\n");
    assert!(
        output.contains("buildkitsandbox\n/\n0022\npid 1\nnot a tty\n0\n"),
        "{output}"
    );
}

impl crate::fixture::Outcome {
    fn output_with_failure_of_tty(self) -> String {
        assert!(self.result.is_ok(), "{self:?}");
        self.stdout
    }
}

fn users() {
    let root = Root::new();
    for (user, expected) in [
        ("", "0 0 0 /root"),
        ("app", "100 101 101 10 /home/app"),
        ("100", "100 101 101 10 /home/app"),
        ("app:wheel", "100 10 10 /home/app"),
        ("1234", "1234 0 0 /"),
        ("1234:55", "1234 55 55 /"),
    ] {
        let mut spec = root.shell("echo $(id -u) $(id -g) $(id -G) $HOME; echo to-stderr > /dev/stderr");
        spec.user = user.to_owned();
        let outcome = run(&spec);
        assert_eq!(outcome.stderr, "to-stderr\n", "{user}");
        assert_eq!(outcome.output(), format!("{expected}\n"), "{user}");
    }
    let mut spec = root.shell("true");
    spec.user = "nobody-here".to_owned();
    let error = run(&spec).result.unwrap_err().to_string();
    assert!(error.contains("`nobody-here`"), "{error}");
}

fn exit_codes() {
    let root = Root::new();
    let status = |script: &str| run(&root.shell(script)).result.unwrap();
    assert_eq!(status("exit 0"), ExitStatus::Code(0));
    assert_eq!(status("exit 42"), ExitStatus::Code(42));
    assert_eq!(status("nosuchcommand"), ExitStatus::Code(127));
    assert_eq!(
        status("kill -9 1; exit 3"),
        ExitStatus::Code(3),
        "process 1 is safe inside"
    );
    let process = distil_sandbox::Sandbox::spawn(&root.shell("sleep 100"), Default::default());
    let mut process = process.unwrap();
    process.kill();
    assert_eq!(process.wait().unwrap(), ExitStatus::Signal(9));
}

fn cannot_start() {
    let root = Root::new();
    let lower = root.path("lower");
    let write = |name: &str, content: &str, mode: u32| {
        fs::write(lower.join(name), content).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(lower.join(name), mode).unwrap();
    };
    write("bin/script", "#!/usr/bin/perl -w\n", 0o755);
    write("bin/plain", "echo hello\n", 0o755);
    write("bin/locked", "#!/bin/sh\n", 0o644);
    let mut foreign = vec![0_u8; 64];
    foreign[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    foreign[16..20].copy_from_slice(&[2, 0, 22, 0]);
    fs::write(lower.join("bin/foreign"), &foreign).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(lower.join("bin/foreign"), mode).unwrap();
    for (program, code, words) in [
        (
            "nosuch",
            127,
            "`nosuch`: executable file not found in PATH (`/bin`)",
        ),
        ("/bin/nosuch", 127, "no such file"),
        ("script", 127, "interpreter `/usr/bin/perl`"),
        ("plain", 126, "neither a program nor a script"),
        ("locked", 126, "`/bin/locked` is not executable"),
        ("/bin/locked", 126, "mode 0644"),
        ("/etc", 126, "directory"),
        ("foreign", 126, "s390x"),
    ] {
        let mut spec = root.spec(&[program]);
        spec.env = vec!["PATH=/bin".into()];
        let outcome = run(&spec).result;
        assert_eq!(exit::run_code(&outcome), code, "{program}");
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, distil_sandbox::SandboxError::Start(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    let none = run(&root.spec(&[])).result.unwrap_err();
    assert!(matches!(
        none,
        distil_sandbox::SandboxError::Start(StartError::NoCommand)
    ));
}

fn files_and_stubs() {
    let root = Root::new();
    fs::create_dir(root.path("lower/run")).unwrap();
    std::os::unix::fs::symlink("../run/systemd/resolv.conf", root.path("lower/etc/resolv.conf")).unwrap();
    let mut spec = root.shell("cat /etc/hosts /etc/resolv.conf; touch /etc/hosts /etc/x; echo $?");
    spec.hosts = Some(network_files::hosts(
        "buildkitsandbox",
        &[("db".into(), "10.0.0.7".into())],
    ));
    spec.resolv_conf = Some(b"nameserver 192.0.2.1\n".to_vec());
    let outcome = run(&spec);
    assert!(outcome.stderr.contains("Read-only"), "{outcome:?}");
    assert_eq!(
        outcome.output(),
        "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         10.0.0.7\tdb\nnameserver 192.0.2.1\n1\n"
    );
    let changes = root.changes();
    assert!(changes.contains(&"etc/x".to_owned()), "{changes:?}");
    let traces = ["hosts", "resolv", "systemd", "dev", "proc", "sys"];
    let has_trace = |name: &String| traces.iter().any(|trace| name.contains(trace));
    assert!(!changes.iter().any(has_trace), "{changes:?}");
}

fn empty_root() {
    let root = Root::empty();
    root.add_probe();
    let mut spec = root.spec(&["/probe", "program", "syscalls"]);
    spec.hosts = Some(b"127.0.0.1 localhost\n".to_vec());
    spec.resolv_conf = Some(b"\n".to_vec());
    run(&spec).output();
    assert_eq!(root.changes(), Vec::<String>::new());
}

fn stubs_keep_times() {
    let root = Root::new();
    let etc = root.path("lower/etc");
    let status = std::process::Command::new("touch")
        .args(["-d", "2001-02-03 04:05:06.789"])
        .arg(&etc)
        .status();
    assert!(status.unwrap().success());
    let before = fs::metadata(&etc).unwrap();
    let mut spec = root.shell("true");
    spec.hosts = Some(b"x\n".to_vec());
    run(&spec).output();
    let after = fs::metadata(root.path("upper/etc")).unwrap();
    assert_eq!(
        (after.mtime(), after.mtime_nsec()),
        (before.mtime(), before.mtime_nsec())
    );
    // A program's own change of the directory keeps its time.
    let mut spec = root.shell("touch /etc/new");
    spec.hosts = Some(b"x\n".to_vec());
    run(&spec).output();
    assert!(fs::metadata(root.path("upper/etc")).unwrap().mtime() > before.mtime());
    assert_eq!(root.changes(), ["etc", "etc/new"]);
}

fn mount(target: &str, source: MountSource) -> ProcessMount {
    ProcessMount {
        target: PathBuf::from(target),
        source,
    }
}

fn mounts() {
    let root = Root::new();
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "from-host\n").unwrap();
    let other = Root::new();
    fs::write(other.path("lower/etc/stage"), "from-stage\n").unwrap();
    let bind = |readonly| MountSource::Bind {
        path: host.path().to_owned(),
        readonly,
    };
    let mut spec = root.shell(
        "cat /ro/file /one /stage /run/secrets/key; stat -c '%a %u:%g' /run/secrets/key; \
         touch /ro/no 2>&1 | grep -c Read-only; touch /rw/yes; touch /mem/x; df -k /mem | wc -l; \
         stat -c %a /mem /tmp; /dev/pipes/EOF; touch /stage 2>&1 | grep -c Read-only",
    );
    spec.mounts = vec![
        mount("/ro", bind(true)),
        mount("/rw", bind(false)),
        mount(
            "/one",
            MountSource::Bind {
                path: host.path().join("file"),
                readonly: true,
            },
        ),
        mount(
            "/mem",
            MountSource::Tmpfs(TmpfsOptions {
                size: Some(1 << 20),
                ..TmpfsOptions::default()
            }),
        ),
        mount("/tmp", MountSource::Tmpfs(TmpfsOptions::default())),
        mount(
            "/stage",
            MountSource::Tree {
                mount: distil_rootfs::Mount::Bind {
                    path: other.path("lower"),
                    readonly: true,
                },
                subpath: "/etc/stage".into(),
                readonly: true,
            },
        ),
        mount("/run/secrets/key", file("hidden\n", 0o440, false)),
        mount("/dev/pipes/EOF", file("#!/bin/sh\necho script\n", 0o755, true)),
    ];
    assert_eq!(
        run(&spec).output(),
        "from-host\nfrom-host\nfrom-stage\nhidden\n440 5:6\n1\n2\n1777\n1777\nscript\n1\n"
    );
    assert!(host.path().join("yes").exists());
    assert_eq!(root.changes(), Vec::<String>::new());
}

fn file(content: &str, mode: u32, executable: bool) -> MountSource {
    let owner = if executable { (0, 0) } else { (5, 6) };
    MountSource::File {
        content: content.as_bytes().to_vec(),
        uid: owner.0,
        gid: owner.1,
        mode,
        executable,
    }
}

fn work_directory() {
    let root = Root::new();
    let mut spec = root.shell("pwd; stat -c '%a %u:%g' . ..; ulimit -n");
    spec.user = "app".to_owned();
    spec.cwd = "/new/deep".into();
    spec.rlimits = vec![Rlimit {
        resource: Rlimit::resource("nofile").unwrap(),
        soft: 77,
        hard: 99,
    }];
    assert_eq!(run(&spec).output(), "/new/deep\n755 100:101\n755 100:101\n77\n");
    assert_eq!(root.changes(), ["new", "new/deep"]);

    let root = Root::new();
    let mut spec = root.shell("pwd");
    spec.cwd = "/a//b/../c/".into();
    assert_eq!(run(&spec).output(), "/a/c\n");
    assert_eq!(root.changes(), ["a", "a/b", "a/c"]);
}

fn network_none() {
    let root = Root::new();
    let mut spec =
        root.shell("ip -o link | wc -l; ip -o addr show lo | grep -c 127.0.0.1; ls /sys/class/net");
    spec.network = Network::None;
    assert_eq!(run(&spec).output(), "1\n1\nlo\n");
}

fn captures_both_streams() {
    let root = Root::new();
    let spec = root.shell("dd if=/dev/zero bs=1000 count=1000 2>/dev/null; echo e >&2; dd if=/dev/zero bs=1000 count=300 >&2 2>/dev/null");
    let outcome = run(&spec);
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (1_000_000, 300_002));
}

fn init() {
    let root = Root::new();
    let status = |script: &str| {
        let mut spec = root.shell(script);
        spec.init = true;
        run(&spec).result
    };
    assert_eq!(status("test $$ = 2 && exit 7").unwrap(), ExitStatus::Code(7));
    assert_eq!(status("kill -TERM $$; sleep 9").unwrap(), ExitStatus::Code(143));
    let mut missing = root.spec(&["nosuch"]);
    missing.init = true;
    assert_eq!(exit::run_code(&run(&missing).result), 127);
    let mut spec = root.shell("(sleep 0.05 &); echo ready; while :; do sleep 0.02; done");
    spec.init = true;
    let mut process = distil_sandbox::Sandbox::spawn(&spec, Default::default()).unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(&mut process.take_stdout().unwrap(), &mut line).unwrap();
    process.signaller().signal(libc::SIGINT);
    assert_eq!(process.wait().unwrap(), ExitStatus::Code(130));
}

fn doctor() {
    let directory = tempfile::tempdir().unwrap();
    let input = distil_sandbox::doctor::DoctorInput {
        store_root: directory.path().join("not/yet"),
    };
    for check in distil_sandbox::doctor::checks(&input) {
        let name = check.name;
        let essential = ["kernel", "namespaces", "seccomp"].contains(&name);
        assert!(
            !essential || check.state == distil_sandbox::doctor::State::Ok,
            "{check:?}"
        );
        assert!(check.state != distil_sandbox::doctor::State::Missing || check.fix.is_some());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
