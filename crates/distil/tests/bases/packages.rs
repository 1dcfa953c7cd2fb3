//! Packages as a source.

use std::fs;
use std::path::Path;

use crate::ordinary_user::OrdinaryUser;
use crate::world::{World, is_without_archive};

/// Data alone, and a program with its libraries, into an empty image.
const DOCKERFILE: &str = "FROM scratch
COPY --from=deb:bookworm/hello,tzdata / /
CMD [\"/usr/bin/hello\"]
";

#[test]
fn packages_run_in_an_empty_image() {
    let first = World::new(None, DOCKERFILE);
    let output = first.command(&[], &["build", "--progress=plain", "-t", "made", "context"]);
    if is_without_archive(&output) {
        return;
    }
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{progress}");
    for line in ["hello 2.10", "(bookworm)", ", for hello"] {
        assert!(progress.contains(line), "`{line}`: {progress}");
    }
    assert!(first.distil(&["run", "made"]).contains("Hello, world!"));
    has_entries_for_scanners(&first);
    stays_until_pull(&first);

    if let Some(user) = OrdinaryUser::new() {
        let other = World::new(Some(user.name.clone()), DOCKERFILE);
        other.share_downloads(&first);
        other.build(&["--iidfile", &other.path("id")]);
        assert_eq!(root_files(&other), root_files(&first));
        assert!(other.distil(&["run", "made"]).contains("Hello, world!"));
    }
    on_top_of_others(&first);
}

/// Names, modes, owners, times and contents of the image, as a tar.
fn root_files(world: &World) -> String {
    world.distil(&["build", "-q", "-o", "type=tar,dest=files.tar", "context"]);
    let bytes = fs::read(world.path("files.tar")).unwrap();
    distil_oci::Digest::sha256(&bytes).to_string()
}

fn has_entries_for_scanners(world: &World) {
    world.distil(&["build", "-q", "-o", "files", "context"]);
    let status = world.directory.path().join("files/var/lib/dpkg/status.d");
    for name in ["hello", "hello.md5sums", "libc6", "tzdata"] {
        assert!(status.join(name).is_file(), "{name}");
    }
    let control = fs::read_to_string(status.join("hello")).unwrap();
    assert!(control.starts_with("Package: hello\n"), "{control}");
}

/// A cached build opens no socket, and another archive that is not there is not asked.
fn stays_until_pull(world: &World) {
    if Path::new("/usr/bin/strace").exists() {
        let trace = world.path("trace");
        let calls = "trace=socket,connect,unshare,setns,mount";
        let strace = ["strace", "-f", "-o", &trace, "-e", calls];
        let output = world.command(&strace, &["build", "-t", "made", "context"]);
        assert!(output.status.success());
        let calls = fs::read_to_string(&trace).unwrap();
        let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
        assert!(calls.is_empty(), "{calls:?}");
    } else {
        println!("skipped: `strace` is not installed");
    }
    // Looked up again the packages are the same, and so is everything made of them.
    let again = world.build(&["--pull"]);
    assert_eq!(again.matches("CACHED").count(), 2, "{again}");
    let nowhere = ["--mirror", "http://127.0.0.1:9/debian"];
    world.build(&[&nowhere[..], &["--no-cache"]].concat());
    let pull = [&["build", "--pull"], &nowhere[..], &["context"]].concat();
    let output = world.command(&[], &pull);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        error.contains("cannot be reached") && error.contains(">>>"),
        "{error}"
    );
}

/// Onto an image whose `/lib` is a link, or a directory; as a context of a portable Dockerfile, as a mount and as a
/// base.
fn on_top_of_others(world: &World) {
    world.write(
        "Dockerfile.onto",
        "FROM debian:bookworm-slim
COPY --from=libs / /
RUN --mount=from=libs,target=/packages test -L /lib && hello && /packages/usr/bin/hello && test -e /usr/share/zoneinfo/Europe/Berlin
",
    );
    world.write("Dockerfile.base", "FROM libs\nRUN [\"/usr/bin/hello\"]\n");
    world.write(
        "Dockerfile.directories",
        "FROM scratch\nCOPY Dockerfile /lib/x\nCOPY Dockerfile /lib64/x\nCOPY --from=deb:trixie/hello / /\nRUN [\"/usr/bin/hello\"]\n",
    );
    for name in ["onto", "base", "directories"] {
        let file = world.path(&format!("context/Dockerfile.{name}"));
        let context = "libs=deb:bookworm/tzdata,hello";
        world.distil(&[
            "build",
            "--bases=packages",
            "-f",
            &file,
            "--build-context",
            context,
            "context",
        ]);
    }
}

#[test]
fn what_cannot_be_had_is_told_at_its_line() {
    let world = World::new(None, "FROM scratch\n");
    let fails = |line: &str, parts: &[&str]| {
        world.write("Dockerfile", &format!("FROM scratch\n{line}\n"));
        let output = world.command(&[], &["build", "context"]);
        if is_without_archive(&output) {
            return;
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{line}");
        let place = format!(">>> {line}");
        for part in parts.iter().copied().chain([place.as_str()]) {
            assert!(error.contains(part), "{line}: `{part}` is missing in\n{error}");
        }
    };
    fails(
        "COPY --from=deb:bullseye/hello / /",
        &["the suite `bullseye`", "bookworm and trixie"],
    );
    fails("COPY --from=deb:stable/hello / /", &["write `deb:trixie/hello`"]);
    fails(
        "COPY --from=deb:bookworm/hello=2.10 / /",
        &["versions cannot be chosen"],
    );
    fails(
        "COPY --from=deb:bookworm/helllo / /",
        &["package `helllo`", "did you mean `hello`?"],
    );
    fails(
        "COPY --from=deb:bookworm/systemd-sysv,sysvinit-core / /",
        &["cannot be chosen", "systemd-sysv", "sysvinit-core"],
    );
    let output = world.command(&[], &["dump-llb", "--platform=linux/arm64", "context"]);
    assert!(output.status.success());
    let graph = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["deb://bookworm/", "distil.source.deb", "arm64"] {
        assert!(graph.contains(part), "{graph}");
    }
}
