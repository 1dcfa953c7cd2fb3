//! One file: a program, a jar, a class, a script.

use std::fs::File;
use std::path::Path;

use distil_elf::{ElfFile, Kind};

use super::{AdviseError, Found, Library, Need, Versions, malformed};
use crate::preflight::compiled_for;

/// Looks into a file.
pub(super) fn examine(path: &Path) -> Result<Found, AdviseError> {
    let failed = |source| AdviseError::Read {
        path: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let file = File::open(path).map_err(failed)?;
    match ElfFile::read(&file) {
        Ok(Some(elf)) => return program(path, &name, &elf),
        Ok(None) => {}
        Err(error) => return Err(malformed(path, &error)),
    }
    if let Some(version) = compiled_for(&file) {
        let start = match name.ends_with(".class") {
            true => format!("CMD [\"-cp\", \"/\", \"{}\"]", name.trim_end_matches(".class")),
            false => format!("CMD [\"/{name}\"]"),
        };
        let start = match name.ends_with(".class") {
            // The base's own ENTRYPOINT has `-jar`.
            true => start.replacen("CMD [", "ENTRYPOINT [\"/usr/bin/java\", ", 1),
            false => start,
        };
        return Ok(Found {
            need: Need::Java(version),
            copy: format!("{name} /{name}"),
            start,
            why: vec![format!("`{name}` is compiled for Java {version}")],
            notes: Vec::new(),
        });
    }
    script(path, &name, &file)
}

fn program(path: &Path, name: &str, elf: &ElfFile) -> Result<Found, AdviseError> {
    let mut found = Found {
        need: Need::Nothing,
        copy: format!("{name} /{name}"),
        start: format!("ENTRYPOINT [\"/{name}\"]"),
        why: Vec::new(),
        notes: Vec::new(),
    };
    if elf.is_static_program() {
        found.why.push(format!(
            "`{name}` is linked statically: it needs no loader and no library"
        ));
        return Ok(found);
    }
    let Some(interpreter) = &elf.interpreter else {
        let reason = match elf.kind {
            Kind::Shared => "it is a shared library",
            _ => "it is an ELF file, but no program",
        };
        return Err(unknown(path, reason));
    };
    let loader = interpreter.to_string_lossy().into_owned();
    let mut libraries: Vec<Library> = elf
        .needed()
        .iter()
        .map(|name| Library::named(&name.to_string_lossy()))
        .collect();
    libraries.sort();
    libraries.dedup();
    let dynamic = elf.dynamic.as_ref();
    for need in dynamic.iter().flat_map(|dynamic| &dynamic.versions_needed) {
        let name = need.library.to_string_lossy();
        if let Some(library) = libraries.iter_mut().find(|library| library.name == name) {
            library.versions.extend(need.versions.iter().cloned());
        }
    }
    // The loader itself is no library of the directories that are searched.
    libraries.retain(|library| !library.name.starts_with("ld-linux"));
    let names: Vec<&str> = libraries.iter().map(|library| library.name.as_str()).collect();
    found.why.push(format!(
        "`{name}` is started by `{loader}` and loads {}",
        list(&names)
    ));
    if let Some(newest) = newest_glibc(&libraries) {
        found.why.push(format!("it needs `{newest}`"));
    }
    if dynamic.is_some_and(|dynamic| !dynamic.rpath.is_empty() || !dynamic.runpath.is_empty()) {
        found
            .notes
            .push("it has a run path: libraries that lie there have to be copied too".to_owned());
    }
    if elf.imports("dlopen") {
        found
            .notes
            .push("it may load more libraries while it runs (`dlopen`)".to_owned());
    }
    found.need = Need::Libraries(libraries);
    Ok(found)
}

fn newest_glibc(libraries: &[Library]) -> Option<&str> {
    let versions = libraries.iter().flat_map(|library| &library.versions);
    let numbered = versions.filter_map(|version| {
        let number = version.strip_prefix("GLIBC_2.")?;
        Some((
            number
                .parse::<f64>()
                .ok()
                .map(|number| (number * 1000.0) as u64)?,
            version.as_str(),
        ))
    });
    numbered.max().map(|(_, version)| version)
}

fn script(path: &Path, name: &str, file: &File) -> Result<Found, AdviseError> {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 256];
    let length = file.read_at(&mut start, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&start[..length]).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let interpreter = first.strip_prefix("#!").map(str::trim);
    let program = interpreter.map(|line| {
        let mut words = line
            .split_whitespace()
            .map(|word| word.rsplit('/').next().unwrap_or(word));
        let program = words.next().unwrap_or_default();
        let mut next = || {
            words
                .find(|word| !word.starts_with('-') && !word.contains('='))
                .unwrap_or_default()
        };
        if program == "env" { next() } else { program }
    });
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    let found = |need, what: &str| {
        Ok(Found {
            need,
            copy: format!("{name} /app/{name}"),
            start: format!("CMD [\"/app/{name}\"]"),
            why: vec![format!("`{name}` is a {what} script")],
            notes: Vec::new(),
        })
    };
    match (program.unwrap_or_default(), ending) {
        (program, _) if program.starts_with("python") => {
            let minor = program
                .strip_prefix("python3.")
                .and_then(|minor| minor.parse().ok());
            found(
                Need::Python(minor.map_or_else(Versions::any, Versions::only)),
                "Python",
            )
        }
        ("node" | "nodejs", _) | ("", "js" | "mjs" | "cjs") => found(Need::Node(Versions::any()), "Node.js"),
        ("", "py" | "pyz") => found(Need::Python(Versions::any()), "Python"),
        ("", _) => Err(unknown(
            path,
            "it is neither an ELF program nor a script or jar that is known",
        )),
        (shell, _) => Err(AdviseError::NoBase {
            path: path.to_owned(),
            reason: format!("it is a script for `{shell}`, which no distroless base has"),
            way_out: "start the program that it starts, or use `debian:12-slim`".to_owned(),
        }),
    }
}

fn unknown(path: &Path, reason: &str) -> AdviseError {
    AdviseError::Unknown {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "no library".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
