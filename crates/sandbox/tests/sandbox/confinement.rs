//! Capabilities, seccomp, masked and read-only paths.

use std::os::unix::fs::PermissionsExt;

use distil_sandbox::Security;

use crate::Case;
use crate::fixture::{Root, run};

pub(crate) const CASES: &[Case] = &[
    ("status", status),
    ("refused_system_calls", refused_system_calls),
    ("paths", paths),
    ("devices", devices),
    ("insecure", insecure),
];

fn status() {
    let root = Root::new();
    let mut spec = root.shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    let expected = |effective: &str| {
        format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{effective}\nCapEff:\t{effective}\n\
             CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n"
        )
    };
    assert_eq!(run(&spec).output(), expected("00000000a80425fb"));
    spec.user = "app".to_owned();
    assert_eq!(run(&spec).output(), expected("0000000000000000"));
}

fn refused_system_calls() {
    let root = Root::new();
    root.add_probe();
    let output = run(&root.spec(&["/probe", "program", "syscalls"])).output();
    assert_eq!(
        output,
        "keyctl -1 1\nunshare -1 1\nmount -1 1\nbpf -1 1\nclone3 -1 38\nnewuser -1 1\n"
    );
}

fn paths() {
    let root = Root::new();
    let output = run(&root.shell(
        "wc -c < /proc/kcore; wc -c < /proc/keys; ls /proc/scsi /sys/firmware 2>/dev/null | grep -vc :; \
         touch /proc/sys/x /sys/x /proc/bus/x 2>&1 | grep -c Read-only; \
         grep -c ' / ' /proc/mounts; grep -c old_root /proc/mounts; ls -d /proc/[0-9]* | wc -l",
    ))
    .result;
    assert!(output.is_ok());
    let script = "for p in /proc/kcore /proc/keys /proc/timer_list; do test ! -e $p || wc -c < $p; done | grep -vc '^0$'";
    assert_eq!(run(&root.shell(script)).stdout, "0\n");
    let script =
        "for p in /proc/sys /proc/irq /proc/fs /sys; do grep -c \" $p .*[ ,]ro[, ]\" /proc/mounts; done";
    assert_eq!(run(&root.shell(script)).stdout, "1\n1\n1\n1\n");
    let script = "for d in /proc/acpi /proc/scsi /sys/firmware; do test ! -d $d || ls $d; done | wc -l";
    assert_eq!(run(&root.shell(script)).stdout, "0\n");
    // Nothing of the host is left in the mount table but the root and what belongs below it.
    let script = "grep -cvE ' (/|/(dev|proc|sys)(/[^ ]*)?) ' /proc/mounts";
    assert_eq!(run(&root.shell(script)).stdout, "0\n");
}

fn devices() {
    let root = Root::new();
    let script = "cd /dev; ls | tr '\\n' ' '; echo; echo x > null; head -c 3 zero | od -An -tx1; \
        head -c 4 urandom | wc -c; stat -c '%a' shm null; df -k shm | grep -c 65536; readlink fd; readlink ptmx";
    let root_spec = {
        let mut spec = root.shell(script);
        std::os::unix::fs::symlink("busybox", root.path("lower/bin/tr")).unwrap();
        spec.env = vec!["PATH=/bin".into()];
        spec
    };
    let output = run(&root_spec).output();
    let output = output.replacen("core ", "", 1);
    let list = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n";
    let rest = " 00 00 00\n4\n1777\n666\n1\n/proc/self/fd\npts/ptmx\n";
    assert_eq!(output, format!("{list}{rest}"));
}

fn insecure() {
    let root = Root::new();
    let mut spec = root.shell("grep -E '^Seccomp:' /proc/self/status; mkdir /m && mount -t tmpfs t /m && echo mounted; umount /m; rm -r /m");
    spec.security = Security::Insecure;
    let outcome = run(&spec);
    assert_eq!(outcome.output(), "Seccomp:\t0\nmounted\n");
    let probe = root.path("lower/bin/busybox");
    assert_eq!(
        std::fs::metadata(probe).unwrap().permissions().mode() & 0o111,
        0o111
    );
}
