//! `COPY --closure` through the program: with a stage of files that a compiler made, and with Debian packages where an
//! archive can be reached. What is missing on this machine is told, and the test passes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

#[path = "support/ordinary_user.rs"]
mod ordinary_user;
#[path = "support/program.rs"]
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ordinary_user::OrdinaryUser;
use program::copy_distil;

/// A store and a context, perhaps of another user.
struct World {
    directory: tempfile::TempDir,
    user: Option<OrdinaryUser>,
}

impl World {
    fn new(user: Option<OrdinaryUser>) -> World {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        copy_distil(&directory.path().join("distil"));
        World { directory, user }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives the context to the user, and `more`; never the store, in which a build may still sync and files have
    /// owners of their own.
    fn own(&self, more: &str) {
        if let Some(user) = &self.user {
            let folder = Command::new("chown")
                .arg(&user.name)
                .arg(self.directory.path())
                .status();
            let below = Command::new("chown")
                .args(["-R", &user.name])
                .args([self.path("context"), self.path(more)])
                .status();
            assert!(folder.unwrap().success() && below.unwrap().success());
        }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let program = self.path("distil").display().to_string();
        let mut words: Vec<&str> = match &self.user {
            Some(user) => vec!["runuser", "-u", &user.name, "--", &program],
            None => vec![&program],
        };
        words.extend(arguments);
        Command::new(words[0])
            .args(&words[1..])
            .current_dir(self.directory.path())
            .env("DISTIL_ROOT", self.path("store"))
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .output()
            .unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let shown = shown(&output);
        assert!(output.status.success(), "{arguments:?}: {shown}");
        shown
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let shown = shown(&output);
        assert!(!output.status.success(), "{arguments:?}: {shown}");
        shown
    }

    fn dockerfile(&self, text: &str) {
        fs::write(self.path("context/Dockerfile"), text).unwrap();
        self.own("context");
    }

    fn build(&self, text: &str) -> String {
        self.dockerfile(text);
        self.ok(&["build", "--progress=plain", "-t", "made", "context"])
    }

    /// What the image holds, as a folder.
    fn files(&self, text: &str) -> Vec<String> {
        self.dockerfile(text);
        let out = self.path("out");
        let _ = fs::remove_dir_all(&out);
        self.ok(&["build", "-q", "-o", "type=local,dest=out", "context"]);
        let mut found = Vec::new();
        list(&out, &out, &mut found);
        found.sort();
        found
    }
}

impl World {
    /// Takes over what another store downloaded.
    fn share_downloads(&self, other: &World) {
        let (from, to) = (other.path("store/downloads"), self.path("store/downloads"));
        if from.exists() {
            self.own("context");
            self.ok(&["images"]);
            let status = Command::new("cp").arg("-a").args([from, to]).status();
            assert!(status.unwrap().success());
            self.own("store/downloads");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Files of subordinate ids can be deleted by the program only.
        self.command(&["reset", "--force"]);
    }
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn list(root: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            list(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

/// Root, and an ordinary user where there is one.
fn worlds() -> Vec<World> {
    let mut worlds = vec![World::new(None)];
    worlds.extend(OrdinaryUser::new().map(|user| World::new(Some(user))));
    worlds
}

/// Puts a stage below `context/stage`: the C library of this machine, a program that needs a library of its own, and
/// that library where only `ld.so.conf` finds it. False where it cannot be made.
fn stage(world: &World) -> bool {
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    let library = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    if !loader.exists() || !library.exists() {
        println!("skipped: this machine has no C library of Debian's for x86-64");
        return false;
    }
    let stage = world.path("context/stage");
    for name in [
        "usr/bin",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib64",
        "opt/own",
        "etc",
    ] {
        fs::create_dir_all(stage.join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), stage.join(name)).unwrap();
    }
    fs::copy(loader, stage.join("usr/lib64/ld-linux-x86-64.so.2")).unwrap();
    fs::copy(library, stage.join("usr/lib/x86_64-linux-gnu/libc.so.6")).unwrap();
    fs::write(stage.join("etc/ld.so.conf"), "/opt/own\n").unwrap();
    fs::write(stage.join("etc/unrelated"), "1").unwrap();
    fs::write(world.path("own.c"), "int own(void) { return 42; }").unwrap();
    fs::write(
        world.path("tool.c"),
        "#include <stdio.h>\nint own(void); int main(void) { return printf(\"own %d\\n\", own()) < 0; }",
    )
    .unwrap();
    let compile = |arguments: &[&str]| {
        let output = Command::new("gcc")
            .current_dir(world.directory.path())
            .args(arguments)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let own = "context/stage/opt/own/libown.so.1";
    let made = compile(&["-shared", "-fPIC", "-Wl,-soname,libown.so.1", "-o", own, "own.c"])
        && compile(&["-o", "context/stage/usr/bin/tool", "tool.c", own]);
    if !made {
        println!("skipped: there is no gcc");
    }
    made
}

const COPIED: &str =
    "FROM scratch AS build\nCOPY stage /\nFROM scratch\nCOPY --closure --from=build /bin/tool /\n";

#[test]
fn a_program_runs_in_an_empty_image() {
    for world in worlds() {
        if !stage(&world) {
            return;
        }
        let progress = world.build(&format!("{COPIED}CMD [\"/bin/tool\"]\n"));
        assert!(progress.contains("libraries: /opt/own/libown.so.1"), "{progress}");
        assert_eq!(world.ok(&["run", "made"]), "own 42\n");
        let expected = [
            "bin",
            "lib64",
            "opt/own/libown.so.1",
            "usr/bin/tool",
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "usr/lib/x86_64-linux-gnu/libown.so.1",
            "usr/lib64/ld-linux-x86-64.so.2",
        ];
        let mut found = world.files(COPIED);
        // The link on which libraries are found is there when the loader's directories name it.
        found.retain(|path| path != "lib");
        assert_eq!(found, expected);
        changes_elsewhere_hit_the_cache(&world);
        mistakes_are_named(&world);
    }
}

fn changes_elsewhere_hit_the_cache(world: &World) {
    let is_cached = |progress: &str| {
        let step = progress
            .lines()
            .find(|line| line.contains("COPY --closure"))
            .unwrap();
        let number = step.split(' ').next().unwrap();
        progress.lines().any(|line| line == format!("{number} CACHED"))
    };
    fs::write(world.path("context/stage/etc/unrelated"), "2").unwrap();
    assert!(is_cached(&world.build(COPIED)));
    fs::write(world.path("context/stage/etc/unrelated"), "3").unwrap();
    let library = world.path("context/stage/opt/own/libown.so.1");
    let mut bytes = fs::read(&library).unwrap();
    bytes.push(0);
    fs::write(&library, bytes).unwrap();
    let changed = world.build(COPIED);
    assert!(!is_cached(&changed), "{changed}");
}

fn mistakes_are_named(world: &World) {
    let build = ["build", "-t", "made", "context"];
    fs::remove_file(world.path("context/stage/opt/own/libown.so.1")).unwrap();
    world.dockerfile(COPIED);
    let error = world.fails(&build);
    assert!(
        error.contains("`libown.so.1`, which `/usr/bin/tool` needs, is not there"),
        "{error}"
    );
    assert!(error.contains("Dockerfile:4"), "{error}");
    for (instruction, says) in [
        (
            "COPY --closure stage/usr/bin/tool /",
            "`--closure` needs `--from`",
        ),
        (
            "COPY --closure --link --from=build /bin/tool /",
            "`--closure` and `--link` exclude each other",
        ),
        (
            "COPY --closure --parents --from=build /bin/tool /",
            "leave `--parents` out",
        ),
        ("ADD --closure stage /", "ADD has no flag `--closure`"),
        (
            "COPY --closure --from=build /bin/none /",
            "`/bin/none` does not exist",
        ),
        (
            "COPY --closure --from=build /bin/n* /",
            "no file matches `/bin/n*`",
        ),
    ] {
        world.dockerfile(&format!(
            "FROM scratch AS build\nCOPY stage /\nFROM scratch\n{instruction}\n"
        ));
        let error = world.fails(&build);
        assert!(error.contains(says), "{instruction}: {error}");
        assert!(error.contains("Dockerfile:4"), "{instruction}: {error}");
    }
}

#[test]
fn owner_mode_and_what_stays_behind() {
    let world = World::new(None);
    if !stage(&world) {
        return;
    }
    let from = "FROM scratch AS build\nCOPY stage /\nFROM scratch\n";
    let text = format!(
        "{from}COPY --closure --from=build --chmod=0500 --exclude=opt /bin/to* /usr/bin/tool /root\n"
    );
    let found = world.files(&text);
    assert!(found.contains(&"root/usr/bin/tool".to_owned()), "{found:?}");
    assert!(!found.iter().any(|path| path.contains("libown")), "{found:?}");
    let mode = |path: &str| {
        fs::metadata(world.path("out").join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("root/usr/bin/tool"), 0o500);
    assert_ne!(mode("root/usr/lib/x86_64-linux-gnu/libc.so.6"), 0o500);
}

/// Said where no archive of packages can be used.
const UNREACHABLE: [&str; 2] = ["cannot be reached", "cannot be downloaded"];

const CURL: &str = "FROM deb:bookworm/curl,ca-certificates AS build
FROM scratch
COPY --closure --from=build /usr/bin/curl /
ENTRYPOINT [\"/usr/bin/curl\"]
";

#[test]
fn curl_of_debian_packages_runs_in_an_empty_image() {
    let worlds = worlds();
    for world in &worlds {
        if !std::ptr::eq(world, &worlds[0]) {
            world.share_downloads(&worlds[0]);
        }
        world.dockerfile(CURL);
        let output = world.command(&[
            "build",
            "--progress=plain",
            "-t",
            "made",
            "--bases=packages",
            "context",
        ]);
        let progress = shown(&output);
        if !output.status.success() && UNREACHABLE.iter().any(|words| progress.contains(words)) {
            println!("skipped: no Debian archive can be used");
            return;
        }
        assert!(output.status.success(), "{progress}");
        let version = world.ok(&["run", "made", "-sS", "--version"]);
        assert!(version.starts_with("curl "), "{version}");
        let ca = world.fails(&["run", "made", "-sS", "https://127.0.0.1:9/"]);
        assert!(!ca.contains("error setting certificate"), "{ca}");
        let files = world.files(CURL);
        for path in [
            "etc/ssl/certs/ca-certificates.crt",
            "etc/ssl/openssl.cnf",
            "var/lib/dpkg/status.d/libc6",
            "var/lib/dpkg/status.d/libcurl4.md5sums",
        ] {
            assert!(files.contains(&path.to_owned()), "{path}: {files:?}");
        }
        for path in ["usr/bin/openssl", "usr/sbin/update-ca-certificates"] {
            assert!(!files.contains(&path.to_owned()), "{path}");
        }
    }
}

/// Compiles a program for musl and a library of its own into `context/stage`, with the headers and the library of the
/// folder `musl`. False where there is no compiler.
fn compile_for_musl(world: &World) -> bool {
    let lib = "context/stage/usr/lib/x86_64-linux-musl";
    fs::create_dir_all(world.path(lib)).unwrap();
    fs::create_dir_all(world.path("context/stage/usr/bin")).unwrap();
    fs::write(world.path("own.c"), "int own(void) { return 42; }").unwrap();
    let program =
        "#include <stdio.h>\nint own(void);\nint main(void) { return printf(\"own %d\\n\", own()) < 0; }";
    fs::write(world.path("tool.c"), program).unwrap();
    let compile = |arguments: &str| {
        let arguments = arguments.split_whitespace();
        let output = Command::new("gcc")
            .current_dir(world.directory.path())
            .args(arguments)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let start = "musl/usr/lib/x86_64-linux-musl";
    compile(&format!(
        "-shared -fPIC -nostdlib -Wl,-soname,libown.so -o {lib}/libown.so own.c"
    )) && compile(&format!(
        "-fPIE -pie -fno-stack-protector -nostdinc -isystem musl/usr/include/x86_64-linux-musl -nostdlib -o \
             context/stage/usr/bin/tool tool.c {start}/Scrt1.o {start}/crti.o {lib}/libown.so \
             -Lmusl/lib/x86_64-linux-musl -l:libc.so {start}/crtn.o -Wl,-dynamic-linker,/lib/ld-musl-x86_64.so.1"
    ))
}

#[test]
fn a_program_for_musl_runs_in_an_empty_image() {
    let world = World::new(None);
    world.dockerfile("FROM deb:bookworm/musl-dev AS packages\nFROM scratch\nCOPY --from=packages / /\n");
    let output = world.command(&["build", "-o", "type=local,dest=musl", "context"]);
    let progress = shown(&output);
    if !output.status.success() && UNREACHABLE.iter().any(|words| progress.contains(words)) {
        println!("skipped: no Debian archive can be used");
        return;
    }
    assert!(output.status.success(), "{progress}");
    if !world.path("musl/lib/ld-musl-x86_64.so.1").is_symlink() || !compile_for_musl(&world) {
        println!("skipped: there is no gcc for x86-64");
        return;
    }
    let progress = world.build(
        "FROM deb:bookworm/musl AS build\nCOPY stage /\nFROM scratch\nCOPY --closure --from=build /usr/bin/tool /\n\
         CMD [\"/usr/bin/tool\"]\n",
    );
    assert!(progress.contains("/etc/ld-musl-x86_64.path"), "{progress}");
    assert_eq!(world.ok(&["run", "made"]), "own 42\n");
}
