//! dpkg's database, as if dpkg itself had unpacked the packages.
//!
//! ```text
//! var/lib/dpkg/status             a paragraph for each package
//! var/lib/dpkg/info/PKG.list      and the control files beside it
//! var/lib/dpkg/triggers/File      paths that packages wait for
//! var/lib/dpkg/triggers/NAME      packages that wait for a named trigger
//! ```
//! Every package is `install ok unpacked`: `dpkg --configure -a` runs the
//! scripts in the right order and does the rest.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use distil_rootfs::RootDir;

use crate::unpack::{UnpackError, UnpackedPackage};

/// Files that dpkg expects to exist, empty.
const EMPTY_FILES: [&str; 5] = ["available", "diversions", "lock", "lock-frontend", "statoverride"];
const DIRECTORIES: [&str; 5] = ["alternatives", "info", "parts", "triggers", "updates"];
/// Control files that are programs.
const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// Writes the database for `packages` into the tree at `target`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_database(packages: &[UnpackedPackage], target: &Path) -> Result<(), UnpackError> {
    let root = RootDir::open(target)?;
    let database = Database { root };
    for name in DIRECTORIES {
        database.directory(&format!("/var/lib/dpkg/{name}"))?;
    }
    for name in EMPTY_FILES {
        database.write(name, 0o644, b"")?;
    }
    database.write("info/format", 0o644, b"1\n")?;
    let mut status = Vec::new();
    for package in packages {
        status.extend_from_slice(paragraph(package).as_bytes());
        database.write_info(package)?;
    }
    database.write("status", 0o644, &status)?;
    database.write_triggers(packages)
}

impl UnpackedPackage {
    /// The name that dpkg's files have: `name`, or `name:arch` where several
    /// architectures may be installed together.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        if self.control.field("Multi-Arch") == "same" {
            format!("{}:{}", self.name, self.control.field("Architecture"))
        } else {
            self.name.clone()
        }
    }
}

fn paragraph(package: &UnpackedPackage) -> String {
    let control = package.control.text("control");
    let mut text = String::with_capacity(control.len() + 256);
    for line in control.lines().filter(|line| !line.trim().is_empty()) {
        text.push_str(line);
        text.push('\n');
        if line.len() > 8 && line[..8].eq_ignore_ascii_case("package:") {
            text.push_str("Status: install ok unpacked\n");
        }
    }
    if !package.conffiles.is_empty() {
        text.push_str("Conffiles:\n");
        for path in package.control.conffiles() {
            if let Some(md5) = package.conffiles.get(&path) {
                text.push_str(&format!(" {path} {md5}\n"));
            }
        }
    }
    text.push('\n');
    text
}

struct Database {
    root: RootDir,
}

impl Database {
    fn failed(path: &str, source: io::Error) -> UnpackError {
        UnpackError::Io {
            package: "dpkg".to_owned(),
            path: path.to_owned(),
            source,
        }
    }

    fn directory(&self, path: &str) -> Result<(), UnpackError> {
        let mut made = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let parent = if made.is_empty() {
                "/".to_owned()
            } else {
                made.clone()
            };
            let parent = self.root.open_path(Path::new(&parent))?;
            made = format!("{made}/{part}");
            match rustix::fs::mkdirat(&parent, part, rustix::fs::Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Database::failed(&made, error.into())),
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, mode: u32, content: &[u8]) -> Result<(), UnpackError> {
        let path = format!("/var/lib/dpkg/{name}");
        let mut file = self.root.create_file(Path::new(&path), mode)?;
        file.write_all(content)
            .map_err(|error| Database::failed(&path, error))?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))
            .map_err(|error| Database::failed(&path, error.into()))
    }

    fn write_info(&self, package: &UnpackedPackage) -> Result<(), UnpackError> {
        let name = package.qualified_name();
        let mut list = package.list.join(&b'\n');
        list.push(b'\n');
        self.write(&format!("info/{name}.list"), 0o644, &list)?;
        for (file, content) in &package.control.files {
            if file != "control" {
                let mode = if SCRIPTS.contains(&file.as_str()) {
                    0o755
                } else {
                    0o644
                };
                self.write(&format!("info/{name}.{file}"), mode, content)?;
            }
        }
        Ok(())
    }

    fn write_triggers(&self, packages: &[UnpackedPackage]) -> Result<(), UnpackError> {
        let mut paths = String::new();
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        for package in packages {
            let name = package.qualified_name();
            for line in package.control.text("triggers").lines() {
                let mut words = line.split_ascii_whitespace();
                let suffix = match words.next() {
                    Some("interest" | "interest-await") => "",
                    Some("interest-noawait") => "/noawait",
                    _ => continue,
                };
                let Some(trigger) = words.next() else { continue };
                if trigger.starts_with('/') {
                    paths.push_str(&format!("{trigger} {name}{suffix}\n"));
                } else if !trigger.contains('/') && !trigger.starts_with('.') {
                    named
                        .entry(trigger.to_owned())
                        .or_default()
                        .push_str(&format!("{name}{suffix}\n"));
                }
            }
        }
        self.write("triggers/File", 0o644, paths.as_bytes())?;
        self.write("triggers/Unincorp", 0o644, b"")?;
        self.write("triggers/Lock", 0o600, b"")?;
        for (trigger, waiting) in &named {
            self.write(&format!("triggers/{trigger}"), 0o644, waiting.as_bytes())?;
        }
        Ok(())
    }
}
