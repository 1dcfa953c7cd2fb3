//! Java: class files that are newer than the runtime.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::command::Command;
use super::id;
use super::image::Image;
use super::zip::{Archive, Entry};
use crate::{AuditError, printable_path, printable_text};

/// What `java` calls the first version of class files, 45, is 1.
const FIRST_VERSION: u16 = 44;

const MAX_RELEASE_FILE: usize = 64 << 10;

/// Class files of one archive that are looked into.
const MAX_CLASSES: usize = 2000;

/// Archives in archives, as Spring Boot has them.
const MAX_DEPTH: usize = 2;

/// The Java that a class file, or the newest class in a jar, needs; 1 for a jar without classes. `None` for everything
/// else. Only one class of each directory of a jar is looked into.
#[must_use]
pub fn compiled_for(file: &File) -> Option<u32> {
    let mut start = [0; 8];
    file.read_exact_at(&mut start, 0).ok()?;
    if start.starts_with(b"PK\x03\x04") {
        let mut archive = Archive::of_file(file.try_clone().ok()?);
        archive.entries()?;
        return Some(newest_class(&mut archive, 0).map_or(1, |(version, _)| u32::from(version)));
    }
    class_version(&start).map(u32::from)
}

impl Image<'_, '_> {
    /// Compares the class files that the build brought with the `java` of the image.
    pub(super) fn check_java(&mut self, command: &Command) -> Result<(), AuditError> {
        if self.brought.classes.is_empty() {
            return Ok(());
        }
        let Some(runtime) = self.java_version(command)? else {
            return Ok(());
        };
        for path in self.brought.classes.clone() {
            let newest = if path.extension().is_some_and(|ending| ending == "class") {
                let start = self.stage.read(&path, 8)?.unwrap_or_default();
                class_version(&start).map(|version| (version, String::new()))
            } else {
                let file = self.subject.tree_file(&path)?;
                newest_class(&mut Archive::of_file(file), 0)
            };
            if let Some((version, class)) = newest.filter(|(version, _)| *version > runtime) {
                self.report_class(&path, &class, version, runtime);
            }
        }
        Ok(())
    }

    fn report_class(&mut self, path: &Path, class: &str, version: u16, runtime: u16) {
        let shown = printable_path(path);
        let place = match class {
            "" => format!("`{shown}`"),
            class => format!("`{}` in `{shown}`", printable_text(class)),
        };
        let message = format!("{place} is compiled for Java {version}, the image has Java {runtime}");
        let newer = match version {
            ..=17 => "java17",
            18..=21 => "java21",
            _ => "java25",
        };
        let fix = format!("compile with `--release {runtime}`, or use the base `{newer}`");
        let finding = self.about_file(id::JAVA_VERSION, path, message).fix(fix);
        self.report(finding);
    }

    /// The version of the Java that the image starts, else of the first on `PATH` or in `JAVA_HOME`.
    fn java_version(&self, command: &Command) -> Result<Option<u16>, AuditError> {
        let mut candidates: Vec<PathBuf> = Vec::new();
        candidates.extend(command.program("java").map(|(_, real)| real.clone()));
        if let Some(path) = self.find_program("java")? {
            candidates.extend(self.file(&path)?);
        }
        if let Some(home) = self.variable("JAVA_HOME") {
            candidates.extend(self.file(&Path::new(home).join("bin/java"))?);
        }
        for java in candidates {
            for home in java.ancestors().skip(2).take(2) {
                let text = self.text(&home.join("release"), MAX_RELEASE_FILE)?;
                if let Some(version) = text.as_deref().and_then(release_version) {
                    return Ok(Some(version));
                }
            }
        }
        Ok(None)
    }
}

/// 17 of `JAVA_VERSION="17.0.9"`, 8 of `"1.8.0_392"`.
fn release_version(text: &str) -> Option<u16> {
    let value = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let value = value.trim_matches('"');
    let value = value.strip_prefix("1.").unwrap_or(value);
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    value[..digits].parse().ok()
}

/// The version of Java that reads a class file.
fn class_version(start: &[u8]) -> Option<u16> {
    let major = match start {
        [0xca, 0xfe, 0xba, 0xbe, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => return None,
    };
    // Universal programs of macOS have the same magic and a small number here.
    major.checked_sub(FIRST_VERSION).filter(|version| *version >= 1)
}

/// The newest class of an archive and its name; one class of each directory is looked into. Those for newer
/// runtimes alone (`META-INF/versions`, `module-info`) do not count. A damaged archive has none.
fn newest_class(archive: &mut Archive, depth: usize) -> Option<(u16, String)> {
    let entries = archive.entries().unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut newest: Option<(u16, String)> = None;
    for entry in &entries {
        let name = entry.name.as_str();
        let found = if is_class(name) && seen.len() < MAX_CLASSES {
            let (directory, _) = name.rsplit_once('/').unwrap_or(("", name));
            if !seen.insert(directory.to_owned()) {
                continue;
            }
            let start = archive.start(entry, 8).unwrap_or_default();
            class_version(&start).map(|version| (version, name.to_owned()))
        } else if depth < MAX_DEPTH && name.ends_with(".jar") {
            nested(archive, entry, depth)
        } else {
            None
        };
        if found.as_ref().map(|(version, _)| *version) > newest.as_ref().map(|(version, _)| *version) {
            newest = found;
        }
    }
    newest
}

fn nested(archive: &mut Archive, entry: &Entry, depth: usize) -> Option<(u16, String)> {
    let mut inner = archive.nested(entry)?;
    let (version, class) = newest_class(&mut inner, depth + 1)?;
    Some((version, format!("{}!{class}", entry.name)))
}

fn is_class(name: &str) -> bool {
    name.ends_with(".class") && !name.contains("META-INF/") && !name.ends_with("module-info.class")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(release_version("A=1\nJAVA_VERSION=\"17.0.15\"\n"), Some(17));
        assert_eq!(release_version("JAVA_VERSION=\"1.8.0_392\""), Some(8));
        assert_eq!(release_version("JAVA_VERSION=\"\""), None);
        assert_eq!(class_version(b"\xca\xfe\xba\xbe\0\0\0\x3d"), Some(17));
        assert_eq!(class_version(b"\xca\xfe\xba\xbe\0\0\0\x02"), None);
        assert_eq!(class_version(b"PK"), None);
    }
}
