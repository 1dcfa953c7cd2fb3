//! The programs, each with the base that it needs.

/// A program.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Path and text.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Lines for a shell that make the rest.
    pub(crate) commands: &'static [&'static str],
    /// What `base for` is asked about; empty for the folder.
    pub(crate) path: &'static str,
    /// Stages before the one that the answer makes.
    pub(crate) stages: &'static str,
    pub(crate) base: &'static str,
    /// It is tried without `DISTIL_TEST_ALL` too.
    pub(crate) always: bool,
}

const C: &str = "#include <stdio.h>\nint main(void) { puts(\"all is well\"); return 0; }\n";
const MATH: &str = "#include <math.h>\n#include <pthread.h>\n#include <stdio.h>\n\
    static void *work(void *x) { return x; }\n\
    int main(int n, char **v) { pthread_t t; pthread_create(&t, 0, work, v); pthread_join(t, 0);\n\
    printf(cos(n) < 2 ? \"all is well\\n\" : \"\"); return 0; }\n";
const NEW_GLIBC: &str = "#include <stdio.h>\n#include <stddef.h>\nextern size_t strlcpy(char *, const char *, size_t);\n\
    int main(void) { char text[16]; strlcpy(text, \"all is well\", 16); puts(text); return 0; }\n";
const OPENSSL: &str = "#include <stdio.h>\nextern const char *OpenSSL_version(int);\n\
    int main(void) { puts(OpenSSL_version(0)); puts(\"all is well\"); return 0; }\n";
const ZLIB: &str = "#include <stdio.h>\nextern const char *zlibVersion(void);\n\
    int main(void) { puts(zlibVersion()); puts(\"all is well\"); return 0; }\n";
const OURS: &str = "#include <stdio.h>\nextern int ours(void);\n\
    int main(void) { if (ours()) puts(\"all is well\"); return 0; }\n";
const CPP: &str = "#include <iostream>\n#include <stdexcept>\n\
    int main() { try { throw std::runtime_error(\"all is well\"); }\n\
    catch (const std::exception &e) { std::cout << e.what() << std::endl; } }\n";
const OPENMP: &str = "#include <cstdio>\nint main() { int sum = 0;\n#pragma omp parallel for reduction(+:sum)\n\
    for (int i = 0; i < 10; i++) sum += i;\nif (sum == 45) std::puts(\"all is well\"); }\n";
const GO: &str = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"all is well\") }\n";
const CGO: &str = "package main\n\n// #include <stdlib.h>\nimport \"C\"\nimport \"fmt\"\n\n\
    func main() { C.free(C.malloc(1)); fmt.Println(\"all is well\") }\n";
const RUST: &str = "fn main() { println!(\"all is well\"); }\n";
const JAVA: &str =
    "public class Main { public static void main(String[] a) { System.out.println(\"all is well\"); } }\n";
/// The syntax is of Python 3.12.
const PYTHON_12: &str = "type Text = str\nwell: Text = 'all is well'\nprint(well)\n";
/// The method came with Node.js 20.
const NODE_20: &str = "console.log(['is well', 'all'].toSorted().join(' '))\n";

const APP: &str = "FROM scratch AS build\nCOPY app /app";
const FOLDER: &str = "FROM scratch AS build\nCOPY . /app";
const JAR: &str = "FROM scratch AS build\nCOPY app.jar /app.jar";

/// One file that is compiled to `app`, which is asked about.
const fn program(
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    commands: &'static [&'static str],
    base: &'static str,
) -> Case {
    Case {
        name,
        files,
        commands,
        path: "app",
        stages: "",
        base,
        always: false,
    }
}

/// A project folder that is asked about.
const fn project(
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    commands: &'static [&'static str],
    stages: &'static str,
    base: &'static str,
) -> Case {
    Case {
        path: "",
        stages,
        ..program(name, files, commands, base)
    }
}

const fn always(case: Case) -> Case {
    Case { always: true, ..case }
}

pub(crate) const CASES: &[Case] = &[
    always(program(
        "static-c",
        &[("x.c", C)],
        &["gcc -static -o app x.c"],
        "static-debian12",
    )),
    program(
        "static-pie-c",
        &[("x.c", C)],
        &["gcc -static-pie -o app x.c"],
        "static-debian12",
    ),
    program(
        "static-go",
        &[("x.go", GO)],
        &["CGO_ENABLED=0 go build -o app x.go"],
        "static-debian12",
    ),
    project(
        "go-project",
        &[("go.mod", "module x\n\ngo 1.21\n"), ("x.go", GO)],
        &["CGO_ENABLED=0 go build -o app ."],
        APP,
        "static-debian12",
    ),
    always(program(
        "dynamic-c",
        &[("x.c", C)],
        &["gcc -o app x.c"],
        "base-nossl-debian12",
    )),
    program(
        "math-c",
        &[("x.c", MATH)],
        &["gcc -o app x.c -lm -pthread"],
        "base-nossl-debian12",
    ),
    project(
        "c-project",
        &[("Makefile", "app: x.c\n"), ("x.c", C)],
        &["gcc -o app x.c"],
        APP,
        "base-nossl-debian12",
    ),
    program(
        "cgo",
        &[("x.go", CGO)],
        &["CGO_ENABLED=1 go build -o app x.go"],
        "base-nossl-debian12",
    ),
    project(
        "cgo-project",
        &[("go.mod", "module x\n\ngo 1.21\n"), ("x.go", CGO)],
        &["CGO_ENABLED=1 go build -o app ."],
        APP,
        "base-nossl-debian12",
    ),
    always(program(
        "new-glibc",
        &[
            ("x.c", NEW_GLIBC),
            ("stub.c", "void strlcpy(void) {}\n"),
            ("map", "GLIBC_2.38 { strlcpy; };\n"),
        ],
        &[
            // A library with the symbol that the C library of Debian 13 has, which is then named in its place.
            "gcc -shared -nostdlib -fno-builtin -Wl,-soname,libX.so.6 -Wl,--version-script=map -o stub.so stub.c",
            "gcc -fno-builtin -o app x.c ./stub.so && sed -i 's/libX[.]so[.]6/libc.so.6/g' app",
        ],
        "base-nossl-debian13",
    )),
    always(program(
        "openssl",
        &[("x.c", OPENSSL)],
        &["gcc -o app x.c -l:libcrypto.so.3"],
        "base-debian12",
    )),
    always(program(
        "cpp",
        &[("x.cc", CPP)],
        &["g++ -o app x.cc"],
        "cc-debian12",
    )),
    program(
        "openmp",
        &[("x.cc", OPENMP)],
        &["g++ -fopenmp -o app x.cc"],
        "cc-debian12",
    ),
    program("rust", &[("x.rs", RUST)], &["rustc -o app x.rs"], "cc-debian12"),
    project(
        "rust-project",
        &[("Cargo.toml", "[package]\nname = \"x\"\n"), ("src/main.rs", RUST)],
        &["rustc -o app src/main.rs"],
        APP,
        "cc-debian12",
    ),
    program(
        "zlib",
        &[("x.c", ZLIB)],
        &["gcc -o app x.c -l:libz.so.1"],
        "base-debian13",
    ),
    Case {
        stages: "FROM gcr.io/distroless/base-nossl-debian12 AS build\nCOPY app /app\nCOPY libours.so.1 /lib/libours.so.1",
        ..program(
            "own-library",
            &[("x.c", OURS), ("ours.c", "int ours(void) { return 1; }\n")],
            &[
                "gcc -shared -Wl,-soname,libours.so.1 -o libours.so.1 ours.c",
                "gcc -o app x.c ./libours.so.1",
            ],
            "static-debian12",
        )
    },
    project(
        "python-project",
        &[("requirements.txt", ""), ("main.py", "print('all is well')\n")],
        &[],
        FOLDER,
        "python3-debian12",
    ),
    Case {
        path: "tool.py",
        ..program(
            "python-script",
            &[("tool.py", "import ssl\nprint('all is well')\n")],
            &[],
            "python3-debian12",
        )
    },
    project(
        "new-python",
        &[
            (
                "pyproject.toml",
                "[project]\nname = \"x\"\nrequires-python = \">=3.12\"\n",
            ),
            ("main.py", PYTHON_12),
        ],
        &[],
        FOLDER,
        "python3-debian13",
    ),
    project(
        "node-project",
        &[
            ("package.json", "{\"main\": \"x.js\"}"),
            ("x.js", "console.log('all is well')\n"),
        ],
        &[],
        FOLDER,
        "nodejs18-debian12",
    ),
    project(
        "new-node",
        &[
            (
                "package.json",
                "{\"main\": \"x.js\", \"engines\": {\"node\": \">=20\"}}",
            ),
            ("x.js", NODE_20),
        ],
        &[],
        FOLDER,
        "nodejs20-debian13",
    ),
    Case {
        path: "app.jar",
        ..program(
            "java-17",
            &[("Main.java", JAVA)],
            &["javac --release 17 Main.java", "jar cfe app.jar Main Main.class"],
            "java17-debian12",
        )
    },
    project(
        "java-21",
        &[
            ("pom.xml", "<maven.compiler.release>21</maven.compiler.release>"),
            ("Main.java", JAVA),
        ],
        &[
            "for d in /usr/bin /usr/lib/jvm/*/bin; do $d/javac --release 21 Main.java 2>/dev/null && break; done",
            "jar cfe app.jar Main Main.class",
        ],
        JAR,
        "java21-debian13",
    ),
    project(
        "java-25",
        &[
            (
                "build.gradle",
                "java.sourceCompatibility = JavaVersion.VERSION_25",
            ),
            ("Main.java", JAVA),
        ],
        &[
            "for d in /usr/bin /usr/lib/jvm/*/bin; do $d/javac --release 25 Main.java 2>/dev/null && break; done",
            "jar cfe app.jar Main Main.class",
        ],
        JAR,
        "java25-debian13",
    ),
];
