//! Programs of each language in the images of `distil base build`, as uid 65532. Where a compiler or the archive is
//! missing the test says so and passes. With `DISTIL_TEST_ALL=1` the large images are tried too.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell what they skip"
)]

mod audit;
#[path = "../support/ordinary_user.rs"]
mod ordinary_user;
mod scanners;
mod tls;
mod world;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use ordinary_user::OrdinaryUser;
use world::World;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/distroless/programs");

/// Whether large images are made too.
fn all() -> bool {
    let all = std::env::var_os("DISTIL_TEST_ALL").is_some();
    if !all {
        println!("skipped: `DISTIL_TEST_ALL` is not set");
    }
    all
}

/// Runs a compiler; false, and told, where there is none.
fn compile(world: &World, program: &str, args: &[&str]) -> bool {
    let output = Command::new(program)
        .args(args)
        .current_dir(world.path("programs"))
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .output();
    match output {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {error}");
            true
        }
        Err(error) => {
            println!("skipped: `{program}`: {error}");
            false
        }
    }
}

#[test]
fn static_programs() {
    let Some(world) = World::new(PROGRAMS) else { return };
    let programs = [
        (
            compile(&world, "go", &["build", "-o", "go", "static.go"]),
            "go",
            "go is well",
        ),
        (
            compile(&world, "gcc", &["-static", "-o", "static", "static.c"]),
            "static",
            "static c is well",
        ),
    ];
    for image in [
        "static-debian12:nonroot",
        "static-debian13:nonroot",
        "static-debian13:slim-nonroot",
    ] {
        if !world.make(image) {
            return;
        }
        for (_, program, expected) in programs.iter().filter(|(compiled, ..)| *compiled) {
            assert_eq!(world.run(image, &[&format!("/programs/{program}")]), *expected);
        }
    }
    if compile(&world, "gcc", &["-o", "dynamic", "dynamic.c"]) {
        let error = world.run_fails("static-debian12:nonroot", &["/programs/dynamic"]);
        assert!(
            error.contains("its interpreter") && error.contains("is missing"),
            "{error}"
        );
    }
}

#[test]
fn dynamic_programs() {
    let Some(world) = World::new(PROGRAMS) else { return };
    let has_c = compile(&world, "gcc", &["-o", "dynamic", "dynamic.c"]);
    let has_cpp = compile(&world, "g++", &["-fopenmp", "-o", "dynamic-cc", "dynamic.cc"]);
    for (image, cpp) in [
        ("base-nossl-debian12:nonroot", false),
        ("base-debian13:nonroot", false),
        ("cc-debian12:nonroot", true),
        ("cc-debian13:nonroot", true),
    ] {
        if !world.make(image) {
            return;
        }
        if has_c {
            assert_eq!(world.run(image, &["/programs/dynamic"]), "c is well");
        }
        if has_cpp && cpp {
            assert_eq!(world.run(image, &["/programs/dynamic-cc"]), "c++ is well");
        } else if has_cpp {
            let error = world.run_fails(image, &["/programs/dynamic-cc"]);
            assert!(
                error.contains("libgomp.so.1") || error.contains("libstdc++.so.6"),
                "{error}"
            );
        }
    }
}

#[test]
fn python() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    for (image, version) in [
        ("python3-debian12:nonroot", "3.11"),
        ("python3-debian13:nonroot", "3.13"),
        ("python3-debian12:slim-nonroot", "3.11"),
        ("python3-debian13:slim-nonroot", "3.13"),
    ] {
        if !world.make(image) {
            return;
        }
        let found = world.run(image, &["/programs/check.py"]);
        assert!(found.starts_with("python is well"), "{found}");
        a_package_of_pip(&world, image, version);
    }
}

/// `pip install --prefix` in one place, COPY to `/usr/local` in the image.
fn a_package_of_pip(world: &World, image: &str, version: &str) {
    let wheel = "import zipfile\n\
        z = zipfile.ZipFile('hello-1-py3-none-any.whl', 'w')\n\
        z.writestr('hello/__init__.py', 'WORD = \"hello from pip\"')\n\
        z.writestr('hello-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: hello\\nVersion: 1\\n')\n\
        z.writestr('hello-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        z.writestr('hello-1.dist-info/RECORD', '')\n\
        z.close()\n";
    let folder = world.path("programs");
    let install = format!(
        "python3 -c \"$0\" && rm -rf ../context && mkdir ../context && \
         python3 -m pip install -q --no-index --no-deps --prefix ../context/install hello-1-py3-none-any.whl 2>&1 && \
         mv ../context/install/lib/python3.* ../context/lib && mkdir -p ../context/install/lib/python{version} && \
         mv ../context/lib/* ../context/install/lib/python{version}/"
    );
    let output = Command::new("sh")
        .args(["-c", &install, wheel])
        .current_dir(folder)
        .output()
        .unwrap();
    if !output.status.success() {
        println!("skipped: pip: {}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let dockerfile = format!(
        "FROM distil/{image}\nCOPY install /usr/local\nCMD [\"-c\", \"import hello; print(hello.WORD)\"]\n"
    );
    fs::write(world.path("context/Dockerfile"), dockerfile).unwrap();
    world.distil(&["build", "-q", "-t", "hello", "context"]);
    assert_eq!(world.distil(&["run", "--rm", "hello"]).trim(), "hello from pip");
}

#[test]
fn java() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    let has_compiler = compile(
        &world,
        "javac",
        &["--release", "17", "-d", "classes", "Check.java"],
    ) && compile(
        &world,
        "jar",
        &[
            "--create",
            "--file",
            "check.jar",
            "--main-class",
            "Check",
            "-C",
            "classes",
            ".",
        ],
    );
    for (image, version) in [
        ("java17-debian12:nonroot", "17"),
        ("java21-debian13:nonroot", "21"),
        ("java25-debian13:nonroot", "25"),
        ("java17-debian12:slim-nonroot", "17"),
        ("java21-debian13:slim-nonroot", "21"),
    ] {
        if !world.make(image) {
            return;
        }
        if has_compiler {
            let found = world.run(image, &["/programs/check.jar"]);
            assert!(found.starts_with("java is well"), "{image}: {found}");
        }
        let reference = format!("distil/{image}");
        let shown = world.distil(&[
            "run",
            "--rm",
            "--entrypoint",
            "java",
            &reference,
            "-Xshare:auto",
            "--version",
        ]);
        assert!(shown.contains(&format!("openjdk {version}.")), "{shown}");
        let no_compiler = world.command(&[
            "run",
            "--rm",
            "--entrypoint",
            "javac",
            &reference,
            "-Xshare:auto",
            "--version",
        ]);
        assert!(!no_compiler.status.success());
    }
    assert!(world.make("java17-debian12:debug-nonroot"));
    let compiler = [
        "run",
        "--rm",
        "--entrypoint",
        "/busybox/sh",
        "distil/java17-debian12:debug-nonroot",
        "-c",
    ];
    let shown = world.distil(
        &[
            &compiler[..],
            &["/usr/lib/jvm/java-17-openjdk-*/bin/javac --version"],
        ]
        .concat(),
    );
    assert!(shown.starts_with("javac 17."), "{shown}");
}

#[test]
fn node() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    for image in [
        "nodejs18-debian12:nonroot",
        "nodejs20-debian13:nonroot",
        "nodejs20-debian13:slim-nonroot",
    ] {
        if !world.make(image) {
            return;
        }
        let found = world.run(image, &["/programs/check.js"]);
        assert!(found.contains("node is well"), "{image}: {found}");
    }
}

#[test]
fn the_shell_of_debug() {
    let Some(world) = World::new(PROGRAMS) else { return };
    for release in ["12", "13"] {
        let image = format!("static-debian{release}:debug-nonroot");
        if !world.make(&image) {
            return;
        }
        let script = "id -u; wget --help 2>&1 | head -1; pwd";
        let found = world.run(&image, &["-c", script]);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines[0], "65532");
        assert!(lines[1].starts_with("BusyBox v1.3"), "{found}");
        assert_eq!(lines[2], "/home/nonroot");
    }
}

/// A file over HTTP, for as many requests as come.
fn serve(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &content].concat());
        }
    });
    format!("http://{address}/archive")
}

/// A recipe of one's own, with a program that no package has.
#[test]
fn a_program_from_elsewhere() {
    let Some(world) = World::new(PROGRAMS) else { return };
    if !compile(&world, "gcc", &["-static", "-o", "static", "static.c"]) {
        return;
    }
    for (compression, program) in [("-z", "gzip"), ("-J", "xz"), ("-j", "bzip2"), ("-v", "tar")] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("{compression} is skipped: `{program}` is not installed");
            continue;
        }
        let folder = world.path("programs");
        let mut tar = Command::new("tar");
        tar.args(["-c", compression, "-f", "archive", "static", "static.c"])
            .current_dir(folder);
        assert!(tar.output().unwrap().status.success());
        let archive = fs::read(world.path("programs/archive")).unwrap();
        let sha256 = distil_oci::Digest::sha256(&archive).hex();
        let recipe = format!(
            "name: my/own\nextends: static\nrelease: trixie\ninputs:\n  - name: own\n    version: 1\n    url: {}\n    \
             sha256: {sha256}\n    members:\n      - {{from: static, to: /bin/own, mode: 0755}}\nentrypoint: [/bin/own]\n",
            serve(archive)
        );
        fs::write(world.path("own.yaml"), &recipe).unwrap();
        let output = world.command(&["base", "build", "-t", "own", "own.yaml"]);
        let error = String::from_utf8_lossy(&output.stderr);
        if error.contains("cannot be reached") {
            println!("skipped: no Debian archive can be used");
            return;
        }
        assert!(output.status.success(), "{compression}: {error}");
        assert_eq!(world.distil(&["run", "--rm", "own"]).trim(), "static c is well");
        // Other bytes than the recipe says, and a member that is not there: refused, and nothing is made.
        let wrong = [
            (recipe.replace(&sha256, &"0".repeat(64)), "sha256"),
            (
                recipe.replace("from: static", "from: other"),
                "has no file `other`",
            ),
        ];
        for (recipe, expected) in wrong {
            fs::write(world.path("own.yaml"), recipe).unwrap();
            let output = world.command(&["base", "build", "-t", "wrong", "own.yaml"]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && error.contains(expected), "{error}");
            assert!(!world.distil(&["images", "-a"]).contains("wrong"));
        }
    }
}

/// The same image for root, for an ordinary user, and for another architecture than the machine's.
#[test]
fn one_image_for_everybody() {
    let Some(world) = World::new(PROGRAMS) else { return };
    let image = "base-debian13:nonroot";
    if !world.make(image) {
        return;
    }
    world.distil(&[
        "base",
        "build",
        "-q",
        "--platform",
        "linux/arm64",
        "-t",
        "foreign",
        image,
    ]);
    let facts = world.distil(&[
        "inspect",
        "--format",
        "{{.Architecture}} {{.Config.User}}",
        "foreign",
    ]);
    assert_eq!(facts.trim(), "arm64 65532");
    if let Some(user) = OrdinaryUser::new() {
        let other = World::of(PROGRAMS, &user.name, &world);
        assert!(other.make(image));
        assert_eq!(other.id(image), world.id(image));
        if compile(&other, "gcc", &["-o", "dynamic", "dynamic.c"]) {
            assert_eq!(other.run(image, &["/programs/dynamic"]), "c is well");
        }
    }
}
