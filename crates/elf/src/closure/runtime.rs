//! Interpreters and the directories of modules that they are not without.

use std::path::{Path, PathBuf};

use super::collect::{Collector, Need};
use super::program::Loaded;
use super::{ClosureError, Reason};

/// What nobody imports of Python's own library; names directly in its directory.
const PYTHON_WITHOUT: &[&str] = &[
    "test",
    "idlelib",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "config-*",
];

/// What a program does not need of a Java home.
const JAVA_WITHOUT: &[&str] = &["demo", "include", "jmods", "man", "sample", "src.zip"];

const PERL: &[&str] = &[
    "/etc/perl",
    "/usr/lib/*/perl-base",
    "/usr/lib/*/perl/5.*",
    "/usr/lib/*/perl5",
    "/usr/share/perl/5.*",
    "/usr/share/perl5",
    "/usr/lib/perl5",
    "/usr/lib64/perl5",
    "/usr/local/lib/perl5",
    "/usr/local/lib/*/perl",
    "/usr/local/share/perl",
    "/usr/local/share/perl5",
];

const RUBY: &[&str] = &[
    "/usr/lib/ruby",
    "/usr/lib/*/ruby",
    "/usr/share/ruby",
    "/usr/local/lib/ruby",
    "/var/lib/gems",
];

/// Debian's Node.js reads these instead of having them built in.
const NODE: &[&str] = &["/usr/share/nodejs", "/usr/share/node_modules"];

impl Collector<'_, '_> {
    /// Brings the module directories of every interpreter that is loaded, as a program or as a library.
    pub(super) fn bring_runtime(&mut self, loaded: &Loaded) -> Result<(), ClosureError> {
        for (path, _) in &loaded.objects {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if let Some(version) = python_version(&name) {
                self.bring_python(path, &version)?;
            } else if name.starts_with("libperl.so") || is_versioned(&name, "perl") {
                self.bring_modules("Perl modules", PERL)?;
            } else if name.starts_with("libruby") || is_versioned(&name, "ruby") {
                self.bring_modules("Ruby modules", RUBY)?;
            } else if path.starts_with("/usr/bin") && (name == "node" || name == "nodejs")
                || name.starts_with("libnode.so")
            {
                self.bring_modules("modules of Node.js", NODE)?;
            } else if name == "java" {
                self.bring_java(path)?;
            }
        }
        Ok(())
    }

    fn bring_modules(&mut self, what: &'static str, patterns: &[&str]) -> Result<(), ClosureError> {
        if self.rules.insert(what.to_owned()) {
            for pattern in patterns {
                self.bring_matches(pattern, &Reason::Data { what })?;
            }
        }
        Ok(())
    }

    /// `python3.N` looks below the prefix that it is installed in; Debian's also in `/usr/lib/python3`.
    fn bring_python(&mut self, path: &Path, version: &str) -> Result<(), ClosureError> {
        let Some(prefix) = prefix(path) else { return Ok(()) };
        let what = "Python modules";
        let reason = Reason::Data { what };
        let own = prefix.join(format!("lib/python{version}"));
        if !self.rules.insert(format!("python {}", own.display())) {
            return Ok(());
        }
        for lib in ["lib", "lib64"] {
            let own = prefix.join(format!("{lib}/python{version}"));
            self.bring_whole(&own, &reason, PYTHON_WITHOUT)?;
        }
        if prefix == Path::new("/usr") {
            for packages in [
                "/usr/lib/python3/dist-packages".to_owned(),
                format!("/usr/local/lib/python{version}/dist-packages"),
                format!("/etc/python{version}"),
            ] {
                self.bring_whole(Path::new(&packages), &reason, &[])?;
            }
        }
        Ok(())
    }

    /// The packages of a virtual environment, when `interpreter` is the link in one.
    pub(super) fn bring_virtual_environment(&mut self, interpreter: &Path) -> Result<(), ClosureError> {
        let Some(home) = interpreter.parent().and_then(Path::parent) else {
            return Ok(());
        };
        let what = "packages of a virtual environment";
        let reason = Reason::Data { what };
        if self.bring(&home.join("pyvenv.cfg"), &reason)?.is_some() {
            for lib in ["lib", "lib64"] {
                self.bring_whole(&home.join(lib), &reason, &[])?;
            }
        }
        Ok(())
    }

    /// A Java home is the directory that `bin/java` is in; links in it lead to `/etc`.
    fn bring_java(&mut self, path: &Path) -> Result<(), ClosureError> {
        let Some(home) = path.parent().and_then(Path::parent) else {
            return Ok(());
        };
        let is_home = self.stage.node(&home.join("lib/jvm.cfg"))?.is_some()
            || !self.stage.matches(&home.join("lib/*/jvm.cfg"))?.is_empty();
        if !is_home || !self.rules.insert(format!("java {}", home.display())) {
            return Ok(());
        }
        let what = "Java runtime";
        self.bring_tree(home, &Reason::Data { what }, JAVA_WITHOUT, Need::Along)
    }
}

/// `3.12` of `python3.12` and `libpython3.12.so.1.0`.
fn python_version(name: &str) -> Option<String> {
    let rest = name
        .strip_prefix("lib")
        .unwrap_or(name)
        .strip_prefix("python3.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (minor, rest) = rest.split_at(digits);
    let is_whole = rest.is_empty() || rest.starts_with(".so");
    (is_whole && digits > 0).then(|| format!("3.{minor}"))
}

/// `perl` and `perl5.36.0`, not `perldoc`.
fn is_versioned(name: &str, program: &str) -> bool {
    let rest = name.strip_prefix(program);
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// `/usr` of `/usr/bin/x`, `/usr/lib/x` and `/usr/lib/TRIPLET/x`.
fn prefix(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .find(|directory| {
            let name = directory.file_name().unwrap_or_default();
            name == "bin" || name == "lib" || name == "lib64"
        })
        .and_then(Path::parent)
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_by_name() {
        assert_eq!(python_version("python3.12").as_deref(), Some("3.12"));
        assert_eq!(python_version("libpython3.11.so.1.0").as_deref(), Some("3.11"));
        assert_eq!(python_version("python3.12-config"), None);
        assert_eq!(python_version("python3"), None);
        assert!(is_versioned("perl", "perl") && is_versioned("perl5.36.0", "perl"));
        assert!(!is_versioned("perldoc", "perl"));
    }

    #[test]
    fn prefixes() {
        for (path, expected) in [
            ("/usr/bin/python3.11", "/usr"),
            ("/usr/local/lib/libpython3.12.so.1.0", "/usr/local"),
            ("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", "/usr"),
        ] {
            assert_eq!(prefix(Path::new(path)), Some(PathBuf::from(expected)));
        }
        assert_eq!(prefix(Path::new("/python3.11")), None);
    }
}
