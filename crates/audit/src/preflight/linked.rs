//! What is told of libraries that are missing or too old.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_elf::{ElfFile, Kind};

use super::id;
use super::image::Image;
use super::libraries::{Depth, Lack, Linked, family, numbers};
use super::packages::{Release, package_of};
use super::program::text;
use crate::{AuditError, Finding, printable_path};

/// Copied files that are looked into; an image with more brings whole systems.
const MAX_COPIED: usize = 4000;

/// Libraries that come from the machine's drivers once the container runs.
const OF_DRIVERS: [&str; 4] = ["libcuda.so", "libnvidia-", "libnvcuvid.so", "libvdpau_nvidia.so"];

/// Releases of Debian and the versions that their libraries have, oldest first.
const VERSIONS: &[(&str, &str, Release)] = &[
    ("GLIBC", "2.36", Release::Bookworm),
    ("GLIBC", "2.41", Release::Trixie),
    ("GLIBCXX", "3.4.30", Release::Bookworm),
    ("GLIBCXX", "3.4.33", Release::Trixie),
    ("CXXABI", "1.3.13", Release::Bookworm),
    ("CXXABI", "1.3.15", Release::Trixie),
];

impl Image<'_, '_> {
    /// Tells what an ELF file lacks that has to start.
    pub(super) fn check_linked(&mut self, real: &Path, depth: Depth) -> Result<(), AuditError> {
        let Some(linked) = self.linkage.link(real, depth)? else {
            return Ok(());
        };
        for finding in self.lacks(real, &linked, &BTreeSet::new()) {
            self.report(finding);
        }
        Ok(())
    }

    /// Tells what the files lack that the build copied in. They may never be used, so these are warnings; a
    /// library that lies anywhere among what was brought counts as there, for programs that load it themselves.
    pub(super) fn check_copied(&mut self) -> Result<(), AuditError> {
        let named = |path: &PathBuf| path.file_name().map(OsStr::to_owned);
        let names: BTreeSet<OsString> = self
            .brought
            .binaries
            .iter()
            .filter_map(|file| named(&file.path))
            .collect();
        let copied = self.brought.binaries.iter().filter(|file| file.is_copied);
        let copied: Vec<PathBuf> = copied.map(|file| file.path.clone()).take(MAX_COPIED).collect();
        let mut homes = BTreeMap::new();
        let mut found: BTreeMap<(&'static str, String), (Finding, usize)> = BTreeMap::new();
        for path in copied {
            let Ok(Some(elf)) = self.stage.elf(&path) else {
                continue;
            };
            if elf.kind == Kind::Relocatable || self.is_of_runtime(&path, &elf, &mut homes)? {
                continue;
            }
            if !self.is_runnable(elf.abi) {
                // Packages bring libraries for several machines; a program is meant to be run.
                if elf.interpreter.is_some() || elf.is_static_program() {
                    let finding = self.foreign(&path, elf.abi);
                    self.report_warning(finding);
                }
                continue;
            }
            let Some(linked) = self.linkage.link(&path, Depth::Own)? else {
                continue;
            };
            for finding in self.lacks(&path, &linked, &names) {
                let key = (finding.id, key_of(&finding).to_owned());
                found.entry(key).or_insert((finding, 0)).1 += 1;
            }
        }
        for (mut finding, count) in found.into_values() {
            if self
                .findings
                .iter()
                .any(|known| known.id == finding.id && known.path == finding.path)
            {
                continue;
            }
            match count - 1 {
                0 => {}
                1 => finding.message.push_str(" (and another file does)"),
                others => finding.message = format!("{} (and {others} other files do)", finding.message),
            }
            self.report_warning(finding);
        }
        Ok(())
    }

    /// Whether a file belongs to a language runtime, whose parts are optional and load each other: a Java home,
    /// modules of Python's own library.
    fn is_of_runtime(
        &self,
        path: &Path,
        elf: &ElfFile,
        homes: &mut BTreeMap<PathBuf, bool>,
    ) -> Result<bool, AuditError> {
        if elf.interpreter.is_some() {
            return Ok(false);
        }
        for directory in path.ancestors().skip(1) {
            if directory
                .file_name()
                .is_some_and(|name| name == "lib-dynload" || name == "gconv")
            {
                return Ok(true);
            }
            let known = homes.get(directory).copied();
            let is_home = match known {
                Some(known) => known,
                None => {
                    let is_home = self.stage.node(&directory.join("lib/jvm.cfg"))?.is_some();
                    homes.insert(directory.to_owned(), is_home);
                    is_home
                }
            };
            if is_home {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lacks(&self, file: &Path, linked: &Linked, elsewhere: &BTreeSet<OsString>) -> Vec<Finding> {
        let mut findings = Vec::new();
        // One finding for all versions of a library, that of the newest.
        let mut versions: BTreeMap<(&Path, &str), (Vec<u32>, &Lack)> = BTreeMap::new();
        for lack in &linked.lacks {
            match lack {
                Lack::Loader { loader, needed_by } => findings.push(self.no_loader(loader, needed_by)),
                Lack::Library { name, needed_by } => {
                    let of_driver = OF_DRIVERS
                        .iter()
                        .any(|known| name.as_bytes().starts_with(known.as_bytes()));
                    if !of_driver && !elsewhere.contains(name) {
                        findings.push(self.no_library(name, needed_by, file));
                    }
                }
                Lack::Version { version, library, .. } => {
                    let family = family(version).unwrap_or(version);
                    let number = numbers(version, family).unwrap_or_default();
                    let entry = versions
                        .entry((library, family))
                        .or_insert((number.clone(), lack));
                    if entry.0 < number {
                        *entry = (number, lack);
                    }
                }
            }
        }
        findings.extend(versions.values().filter_map(|(_, lack)| self.too_old(lack)));
        findings
    }

    fn no_loader(&self, loader: &Path, program: &Path) -> Finding {
        let (program_text, loader_text) = (printable_path(program), printable_path(loader));
        let message = format!("`{program_text}` needs the loader `{loader_text}`, which is not in the image");
        let is_musl = loader
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"ld-musl-"));
        let fix = if is_musl {
            "it was built on Alpine: build it on Debian, link it statically, or copy it with `COPY --closure`"
        } else {
            "link it statically (for Go `CGO_ENABLED=0`), use a base with a C library such as `base-nossl`, or copy it \
             with `COPY --closure`"
        };
        self.about_file(id::MISSING_LOADER, program, message).fix(fix)
    }

    fn no_library(&self, name: &OsStr, needed_by: &Path, file: &Path) -> Finding {
        let shown = text(name);
        let package = package_of(&shown, self.release);
        let mut message = format!(
            "`{shown}`, which `{}` needs, is not in the image",
            printable_path(needed_by)
        );
        if let Some(package) = package {
            message.push_str(&format!(" (Debian's package `{package}` has it)"));
        }
        let program = printable_path(file);
        let suite = match self.release {
            Some(Release::Bookworm) => "bookworm",
            _ => "trixie",
        };
        let fix = match (package, base_with(&shown, self.release)) {
            (_, Some(base)) => format!("use the base `{base}`, or copy with `COPY --closure`"),
            (Some(package), None) => format!(
                "copy `{program}` with `COPY --closure` from a stage that has it, or add \
                 `COPY --from=deb:{suite}/{package} / /`"
            ),
            (None, None) => {
                format!("copy `{program}` with `COPY --closure` from a stage that has the library")
            }
        };
        self.about_file(id::MISSING_LIBRARY, needed_by, message).fix(fix)
    }

    fn too_old(&self, lack: &Lack) -> Option<Finding> {
        let Lack::Version {
            version,
            library,
            needed_by,
            newest,
        } = lack
        else {
            return None;
        };
        let (program, library) = (printable_path(needed_by), printable_path(library));
        let has = newest
            .as_ref()
            .map_or_else(String::new, |newest| format!(", which goes up to `{newest}`"));
        let message =
            format!("`{program}` needs `{version}` of `{library}`{has}: it was built on a newer system");
        let build = match self.release {
            Some(Release::Bookworm) => "build it on Debian 12",
            Some(Release::Trixie) => "build it on Debian 13",
            None => "build it on the release that the image is of",
        };
        let fix = match release_with(version) {
            Some(Release::Trixie) if self.release != Some(Release::Trixie) => {
                format!("{build}, or use a base of Debian 13")
            }
            _ => format!("{build}, or link it statically"),
        };
        Some(self.about_file(id::OLD_LIBRARY, needed_by, message).fix(fix))
    }
}

/// What is the same in findings of several files: the library or loader.
fn key_of(finding: &Finding) -> &str {
    match finding.id {
        id::MISSING_LIBRARY => finding.message.split('`').nth(1).unwrap_or_default(),
        id::OLD_LIBRARY | id::MISSING_LOADER => finding.message.split('`').nth(3).unwrap_or_default(),
        _ => "",
    }
}

/// The oldest release whose library has a version.
pub(super) fn release_with(version: &str) -> Option<Release> {
    let family = family(version)?;
    let number = numbers(version, family)?;
    let has = |(known, newest, _): &&(&str, &str, Release)| {
        let newest: Option<Vec<u32>> = newest.split('.').map(|part| part.parse().ok()).collect();
        *known == family && newest.is_some_and(|newest| number <= newest)
    };
    VERSIONS.iter().find(has).map(|(_, _, release)| *release)
}

/// The smallest distroless base with a library.
fn base_with(soname: &str, release: Option<Release>) -> Option<&'static str> {
    Some(match (soname, release) {
        ("libssl.so.3" | "libcrypto.so.3", _) => "base",
        ("libz.so.1" | "libzstd.so.1", Some(Release::Trixie)) => "base",
        ("libstdc++.so.6" | "libgcc_s.so.1" | "libgomp.so.1", _) => "cc",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_by_version() {
        assert_eq!(release_with("GLIBC_2.2.5"), Some(Release::Bookworm));
        assert_eq!(release_with("GLIBC_2.38"), Some(Release::Trixie));
        assert_eq!(release_with("GLIBC_2.43"), None);
        assert_eq!(release_with("GLIBCXX_3.4.32"), Some(Release::Trixie));
        assert_eq!(release_with("OPENSSL_3.0.0"), None);
    }
}
