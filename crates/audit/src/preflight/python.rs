//! Python: packages for another minor version, and packages that no interpreter looks for.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use distil_rootfs::TreeError;

use super::command::Command;
use super::id;
use super::image::Image;
use crate::{AuditError, printable_path};

/// Where interpreters are besides `PATH`.
const USUAL: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

const MAX_TEXT: usize = 64 << 10;

/// An interpreter `PREFIX/bin/python3.N`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Interpreter {
    prefix: PathBuf,
    minor: u32,
}

/// A directory of packages, by where it stands.
enum Site {
    /// `PREFIX/lib/python3.N/site-packages`.
    Versioned { prefix: PathBuf, minor: u32 },
    /// Of all versions, such as `/usr/lib/python3/dist-packages`, or not where installers put them.
    Other,
}

impl Site {
    fn of(directory: &Path) -> Self {
        let versioned = || {
            let parent = directory.parent()?;
            let minor = parent
                .file_name()?
                .to_str()?
                .strip_prefix("python3.")?
                .parse()
                .ok()?;
            let prefix = parent.parent()?.parent()?.to_owned();
            Some(Self::Versioned { prefix, minor })
        };
        versioned().unwrap_or(Self::Other)
    }
}

impl Image<'_, '_> {
    /// Compares the packages that the build brought with the interpreters of the image.
    pub(super) fn check_python(&mut self, command: &Command) -> Result<(), AuditError> {
        if self.brought.site_directories.is_empty() && self.brought.package_directories.is_empty() {
            return Ok(());
        }
        let interpreters = self.interpreters()?;
        if interpreters.is_empty() {
            return Ok(());
        }
        let minors: BTreeSet<u32> = interpreters.iter().map(|interpreter| interpreter.minor).collect();
        let mut outdated = BTreeSet::new();
        for directory in self.brought.site_directories.clone() {
            if let Site::Versioned { minor, .. } = Site::of(&directory)
                && !minors.contains(&minor)
                && !self.stage.entries(&directory)?.is_empty()
            {
                self.report_version(&directory, minor, &minors);
                outdated.insert(directory);
            }
        }
        self.check_extensions(&minors, &outdated);
        if started_interpreter(command).is_some() {
            let paths = self.module_paths(&interpreters, command)?;
            self.check_paths(&minors, &outdated, &paths, command)?;
        }
        Ok(())
    }

    fn interpreters(&self) -> Result<Vec<Interpreter>, TreeError> {
        let mut directories = self.search_path();
        directories.extend(USUAL.map(PathBuf::from));
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for directory in directories {
            let Some(trail) = self.trail(&directory)? else {
                continue;
            };
            if !seen.insert(trail.real.clone()) {
                continue;
            }
            for entry in self.stage.entries(&trail.real)? {
                let Some(minor) = minor_of(&entry.name) else {
                    continue;
                };
                // A virtual environment has links to the interpreter that it was made with.
                let Some(real) = self.file(&trail.real.join(&entry.name))? else {
                    continue;
                };
                if let Some(prefix) = real.parent().and_then(Path::parent) {
                    let prefix = prefix.to_owned();
                    found.insert(Interpreter { prefix, minor });
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    fn report_version(&mut self, directory: &Path, minor: u32, minors: &BTreeSet<u32>) {
        let has = versions(minors);
        let message = format!(
            "the packages in `{}` are for Python 3.{minor}, the image has Python {has}",
            printable_path(directory)
        );
        let fix = format!("install them with Python {has}, or use a base with Python 3.{minor}");
        let finding = self.about_file(id::PYTHON_VERSION, directory, message).fix(fix);
        self.report(finding);
    }

    /// Compiled modules say in their names which version they are for: one finding for each directory of packages.
    fn check_extensions(&mut self, minors: &BTreeSet<u32>, outdated: &BTreeSet<PathBuf>) {
        let mut modules: BTreeMap<PathBuf, BTreeMap<String, Vec<(u32, PathBuf)>>> = BTreeMap::new();
        for file in &self.brought.binaries {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let Some((module, minor)) = extension(&name) else {
                continue;
            };
            let Some(site) = file.path.ancestors().find(|path| is_site(path)) else {
                continue;
            };
            if !outdated.contains(site) {
                let parent = file.path.parent().unwrap_or(site);
                let key = parent.join(module).to_string_lossy().into_owned();
                let known = modules
                    .entry(site.to_owned())
                    .or_default()
                    .entry(key)
                    .or_default();
                known.push((minor, file.path.clone()));
            }
        }
        for builds in modules.into_values() {
            let useless = builds
                .into_values()
                .find(|builds| builds.iter().all(|(minor, _)| !minors.contains(minor)));
            let Some((minor, path)) = useless.and_then(|builds| builds.into_iter().next()) else {
                continue;
            };
            let has = versions(minors);
            let message = format!(
                "the module `{}` is compiled for Python 3.{minor}, the image has Python {has}",
                printable_path(&path)
            );
            let fix = format!("install its package with Python {has}, or use a base with Python 3.{minor}");
            let finding = self.about_file(id::PYTHON_VERSION, &path, message).fix(fix);
            self.report(finding);
        }
    }

    /// Packages must lie where the interpreter that the image starts looks for them.
    fn check_paths(
        &mut self,
        minors: &BTreeSet<u32>,
        outdated: &BTreeSet<PathBuf>,
        paths: &BTreeSet<PathBuf>,
        command: &Command,
    ) -> Result<(), AuditError> {
        let mut candidates: BTreeSet<PathBuf> = self.brought.site_directories.iter().cloned().collect();
        candidates.extend(self.brought.package_directories.iter().cloned());
        for directory in candidates {
            let is_nested = directory
                .ancestors()
                .skip(1)
                .any(|above| is_site(above) || paths.contains(above) && above != Path::new("/"));
            if is_nested || paths.contains(&directory) || outdated.contains(&directory) {
                continue;
            }
            if self.stage.entries(&directory)?.is_empty()
                || self.is_of_used_environment(&directory, command)?
            {
                continue;
            }
            self.report_path(&directory, minors)?;
        }
        Ok(())
    }

    fn report_path(&mut self, directory: &Path, minors: &BTreeSet<u32>) -> Result<(), AuditError> {
        let shown = printable_path(directory);
        let message = format!("the packages in `{shown}` are not on Python's `sys.path`");
        let environment = match Site::of(directory) {
            Site::Versioned { prefix, .. } => Some(prefix),
            Site::Other => None,
        };
        let fix = match environment {
            Some(prefix) if self.file(&prefix.join("pyvenv.cfg"))?.is_some() => format!(
                "start `{}`, or write `ENV PYTHONPATH={shown}`",
                printable_path(&prefix.join("bin/python"))
            ),
            Some(_) => {
                let minor = minors.last().copied().unwrap_or_default();
                format!(
                    "copy what is in it to `/usr/local/lib/python3.{minor}/site-packages`, or write \
                     `ENV PYTHONPATH={shown}`"
                )
            }
            None => format!("write `ENV PYTHONPATH={shown}`"),
        };
        let finding = self.about_file(id::PYTHON_PATH, directory, message).fix(fix);
        self.report_warning(finding);
        Ok(())
    }

    /// Whether packages belong to a virtual environment that the command is started from.
    fn is_of_used_environment(&self, directory: &Path, command: &Command) -> Result<bool, TreeError> {
        let Site::Versioned { prefix, .. } = Site::of(directory) else {
            return Ok(false);
        };
        if self.file(&prefix.join("pyvenv.cfg"))?.is_none() {
            return Ok(false);
        }
        let bin = prefix.join("bin");
        let mut opened = command.programs.iter().map(|(path, _)| path);
        Ok(opened.any(|path| path.parent() == Some(&bin)))
    }

    /// The directories that interpreters of the image look into, real paths.
    fn module_paths(
        &self,
        interpreters: &[Interpreter],
        command: &Command,
    ) -> Result<BTreeSet<PathBuf>, AuditError> {
        let mut paths = Vec::new();
        let is_debian = self.is_dir(Path::new("/usr/lib/python3/dist-packages"))?;
        for Interpreter { prefix, minor } in interpreters {
            paths.extend(site_directories(prefix, *minor, is_debian));
            paths.extend(
                self.home()
                    .map(|home| home.join(format!(".local/lib/python3.{minor}/site-packages"))),
            );
        }
        let mut real = BTreeSet::new();
        for path in paths {
            self.add_site(&path, &mut real)?;
        }
        let listed = self.variable("PYTHONPATH").unwrap_or_default().split(':');
        let mut plain: Vec<PathBuf> = listed
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect();
        plain.push(self.working_directory());
        // A script's own directory comes first.
        let scripts = command.words.iter().filter(|word| !word.starts_with('-'));
        for script in scripts {
            let script = self.working_directory().join(script);
            plain.extend(script.parent().map(Path::to_owned));
            plain.push(script);
        }
        for path in plain {
            let path = self.working_directory().join(path);
            real.extend(self.trail(&path)?.map(|trail| trail.real));
        }
        Ok(real)
    }

    /// A directory with what its `.pth` files add.
    fn add_site(&self, path: &Path, real: &mut BTreeSet<PathBuf>) -> Result<(), AuditError> {
        let Some(trail) = self.trail(path)? else {
            return Ok(());
        };
        if !real.insert(trail.real.clone()) {
            return Ok(());
        }
        for entry in self.stage.entries(&trail.real)? {
            if Path::new(&entry.name).extension() != Some(OsStr::new("pth")) {
                continue;
            }
            let text = self
                .text(&trail.real.join(&entry.name), MAX_TEXT)?
                .unwrap_or_default();
            for added in named_in_pth(&text) {
                let path = trail.real.join(added);
                real.extend(self.trail(&path)?.map(|trail| trail.real));
            }
        }
        Ok(())
    }

    fn home(&self) -> Option<PathBuf> {
        let named = self.variable("HOME").map(PathBuf::from);
        named.or_else(|| self.identity.as_ref().map(|who| who.home.clone()))
    }
}

/// The interpreter that the command starts.
fn started_interpreter(command: &Command) -> Option<&PathBuf> {
    let mut programs = command.programs.iter().map(|(_, real)| real);
    programs.find(|real| real.file_name().and_then(minor_of).is_some())
}

/// 11 of `python3.11`.
fn minor_of(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("python3.")?.parse().ok()
}

fn is_site(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name == "site-packages" || name == "dist-packages")
}

/// Name and minor version of a compiled module: `x` and 12 of `x.cpython-312-x86_64-linux-gnu.so`.
fn extension(name: &str) -> Option<(&str, u32)> {
    let (module, rest) = name.split_once(".cpython-3")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((module, rest[..digits].parse().ok()?))
}

/// Where an interpreter looks by itself (`site`, and Debian's change of it).
fn site_directories(prefix: &Path, minor: u32, is_debian: bool) -> Vec<PathBuf> {
    let own = |prefix: &Path, lib: &str, name: &str| prefix.join(format!("{lib}/python3.{minor}/{name}"));
    if prefix == Path::new("/usr") {
        let local = Path::new("/usr/local");
        let mut paths = vec![
            own(local, "lib", "dist-packages"),
            own(prefix, "lib", "dist-packages"),
        ];
        paths.push(PathBuf::from("/usr/lib/python3/dist-packages"));
        if !is_debian {
            for prefix in [prefix, local] {
                paths.extend(["lib", "lib64"].map(|lib| own(prefix, lib, "site-packages")));
            }
        }
        return paths;
    }
    ["lib", "lib64"]
        .map(|lib| own(prefix, lib, "site-packages"))
        .to_vec()
}

/// Paths in a `.pth` file: whole lines, and quoted ones in lines that are code.
fn named_in_pth(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line.starts_with("import ") || line.starts_with("import\t") {
            let quoted = line.split(['"', '\'']).skip(1).step_by(2);
            found.extend(quoted.filter(|path| path.starts_with('/')).map(str::to_owned));
        } else if !line.is_empty() {
            found.push(line.to_owned());
        }
    }
    found
}

fn versions(minors: &BTreeSet<u32>) -> String {
    let versions: Vec<String> = minors.iter().map(|minor| format!("3.{minor}")).collect();
    versions.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_their_versions() {
        assert_eq!(extension("x.cpython-312-x86_64-linux-gnu.so"), Some(("x", 12)));
        assert_eq!(extension("x.cpython-39-aarch64-linux-gnu.so"), Some(("x", 9)));
        assert_eq!(extension("x.abi3.so"), None);
        assert_eq!(minor_of(OsStr::new("python3.11")), Some(11));
        assert_eq!(minor_of(OsStr::new("python3.11-config")), None);
    }

    #[test]
    fn paths_in_pth_files() {
        let text = "# x\n/opt/lib\n./more\nimport site; site.addsitedir(\"/usr/local/x\")\n";
        assert_eq!(named_in_pth(text), ["/opt/lib", "./more", "/usr/local/x"]);
    }
}
