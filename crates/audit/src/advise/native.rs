//! Go, Rust, C and C++: projects that become a program.

use std::path::Path;

use super::{AdviseError, Found, Library, Need, malformed, read_text};

/// Folders that hold no sources of the project.
const PASSED_OVER: [&str; 5] = [".git", "node_modules", "target", "testdata", "_obj"];
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 12;

/// Go modules that are written in C or C++ in part, and whether C++ is in it.
const CGO_MODULES: &[(&str, bool)] = &[
    ("github.com/mattn/go-sqlite3", false),
    ("github.com/confluentinc/confluent-kafka-go", false),
    ("github.com/marcboeker/go-duckdb", true),
    ("github.com/tecbot/gorocksdb", true),
    ("github.com/linxGnu/grocksdb", true),
];

/// What the linker's `-l` names, where a base has it.
const LINKED: &[(&str, &str)] = &[
    ("crypto", "libcrypto.so.3"),
    ("m", "libm.so.6"),
    ("ssl", "libssl.so.3"),
    ("stdc++", "libstdc++.so.6"),
    ("z", "libz.so.1"),
    ("gomp", "libgomp.so.1"),
];

fn found(need: Need, why: Vec<String>, note: &str) -> Found {
    Found {
        need,
        copy: "--from=build /app /app".to_owned(),
        start: "ENTRYPOINT [\"/app\"]".to_owned(),
        why,
        notes: vec![note.to_owned()],
    }
}

/// Looks for a Go project.
pub(super) fn go(folder: &Path) -> Result<Option<Found>, AdviseError> {
    match read_text(&folder.join("go.mod"))? {
        Some(text) => Ok(Some(go_project(folder, "go.mod", &text))),
        None => Ok(None),
    }
}

/// Looks for a Go program without a module.
pub(super) fn go_without_module(folder: &Path) -> Result<Option<Found>, AdviseError> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names.iter().filter(|name| is_go(name)) {
        let text = read_text(&folder.join(name))?.unwrap_or_default();
        if text.lines().any(|line| line.trim_end() == "package main") {
            return Ok(Some(go_project(folder, name, "")));
        }
    }
    Ok(None)
}

fn is_go(name: &str) -> bool {
    name.ends_with(".go") && !name.ends_with("_test.go")
}

/// What the Go project in `folder` needs; the file `told_by` says that it is one, `text` is its `go.mod`.
fn go_project(folder: &Path, told_by: &str, text: &str) -> Found {
    let mut libraries = vec![Library::named("libc.so.6")];
    let mut uses = None;
    for (module, has_cpp) in CGO_MODULES {
        if text.lines().any(|line| {
            line.split_whitespace()
                .any(|word| word == *module || word.starts_with(&format!("{module}/")))
        }) {
            uses = Some(format!(
                "`go.mod` names `{module}`, which is compiled with a C compiler"
            ));
            if *has_cpp {
                libraries.push(Library::named("libstdc++.so.6"));
            }
        }
    }
    let mut has_cpp = false;
    walk(folder, &mut |path, name| {
        has_cpp |= is_cpp(name);
        if is_go(name)
            && let Ok(Some(text)) = read_text(path)
            && (text.contains("import \"C\"") || text.contains("\t\"C\"\n"))
        {
            uses.get_or_insert_with(|| format!("`{name}` imports `C`"));
            libraries.extend(linked(&text));
        }
    });
    let Some(uses) = uses else {
        let why = vec![format!(
            "`{told_by}`: a Go project without C is one static program"
        )];
        let note = "build it with `CGO_ENABLED=0 go build -o /app`, in a stage called `build`";
        return found(Need::Nothing, why, note);
    };
    if has_cpp {
        libraries.push(Library::named("libstdc++.so.6"));
    }
    libraries.sort();
    libraries.dedup();
    let note = "build it on the same Debian release or an older one, with `go build -o /app`";
    found(Need::Libraries(libraries), vec![uses], note)
}

/// The libraries that cgo's comments name: `#cgo LDFLAGS: -lssl`.
fn linked(text: &str) -> Vec<Library> {
    let lines = text
        .lines()
        .filter(|line| line.contains("#cgo") && line.contains("LDFLAGS"));
    let words = lines
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.strip_prefix("-l"));
    let known = words.map(|name| {
        let base = LINKED.iter().find(|(known, _)| *known == name);
        base.map_or_else(|| format!("lib{name}.so"), |(_, soname)| (*soname).to_owned())
    });
    known.map(|name| Library::named(&name)).collect()
}

/// Looks for a Rust project.
pub(super) fn rust(folder: &Path) -> Result<Option<Found>, AdviseError> {
    let path = folder.join("Cargo.toml");
    let Some(text) = read_text(&path)? else {
        return Ok(None);
    };
    let manifest: toml::Value = toml::from_str(&text).map_err(|error| malformed(&path, &error.message()))?;
    for name in [".cargo/config.toml", ".cargo/config"] {
        let config = read_text(&folder.join(name))?.unwrap_or_default();
        if config.contains("-linux-musl") || config.contains("+crt-static") {
            let why = vec![format!("`{name}` asks for a static program")];
            return Ok(Some(found(
                Need::Nothing,
                why,
                "`build` is the stage that makes the program `/app`",
            )));
        }
    }
    let mut libraries = vec![Library::named("libc.so.6"), Library::named("libgcc_s.so.1")];
    let mut why = vec!["`Cargo.toml`: Rust's programs load the C library and `libgcc_s.so.1`".to_owned()];
    for section in ["dependencies", "build-dependencies"] {
        let names = manifest.get(section).and_then(toml::Value::as_table);
        for name in names.into_iter().flat_map(toml::Table::keys) {
            if ["openssl", "openssl-sys", "native-tls"].contains(&name.as_str()) {
                why.push(format!("it depends on `{name}`, which loads OpenSSL"));
                libraries.extend(["libcrypto.so.3", "libssl.so.3"].map(Library::named));
            }
        }
    }
    libraries.sort();
    libraries.dedup();
    let note = "build it on the same Debian release or an older one; for the target `x86_64-unknown-linux-musl` it is \
                static, and `static` is enough";
    Ok(Some(found(Need::Libraries(libraries), why, note)))
}

/// Looks for a project in C or C++.
pub(super) fn c(folder: &Path) -> Result<Option<Found>, AdviseError> {
    let marks = [
        "CMakeLists.txt",
        "Makefile",
        "makefile",
        "meson.build",
        "configure.ac",
        "configure",
    ];
    let Some(mark) = marks.iter().find(|name| folder.join(name).is_file()) else {
        return Ok(None);
    };
    let (mut has_c, mut cpp) = (false, None);
    walk(folder, &mut |_, name| {
        has_c |= name.ends_with(".c");
        if is_cpp(name) {
            cpp.get_or_insert_with(|| name.to_owned());
        }
    });
    let mut libraries = vec![Library::named("libc.so.6")];
    let why = match (cpp, has_c) {
        (Some(name), _) => {
            libraries.push(Library::named("libstdc++.so.6"));
            libraries.push(Library::named("libgcc_s.so.1"));
            format!("`{mark}` and `{name}`: a program in C++")
        }
        (None, true) => format!("`{mark}`: a program in C"),
        (None, false) => return Ok(None),
    };
    let note = "what it is linked with cannot be seen here: name the program that was built to be sure";
    Ok(Some(found(Need::Libraries(libraries), vec![why], note)))
}

fn is_cpp(name: &str) -> bool {
    [".cc", ".cpp", ".cxx", ".C"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Calls `look` with path and name of each file of a project, links not followed.
fn walk(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut left = MAX_FILES;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < MAX_DEPTH && !PASSED_OVER.contains(&name.as_str()) {
                folders.push((path, depth + 1));
            } else if kind.is_file() {
                left -= 1;
                if left == 0 {
                    return;
                }
                look(&path, &name);
            }
        }
    }
}
