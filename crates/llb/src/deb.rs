//! Names of Debian packages as a source: `deb:bookworm/libpq5,tzdata`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Attribute of the operation: `pull` looks the packages up again (`--pull`), without it what they were
/// resolved to before is good enough.
pub const DEB_RESOLVE_MODE: &str = "deb.resolvemode";

const PREFIX: &str = "deb:";
/// Begin of the operation's identifier.
pub(crate) const SCHEME: &str = "deb://";

/// Packages of a Debian suite as the files of a source: these, and what they depend on.
///
/// Users write `deb:SUITE/PACKAGE,...`; the operation's identifier is `deb://SUITE/PACKAGE,...`. The
/// packages are sorted and each is there once, so that their order is no other source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DebSource {
    suite: String,
    packages: Vec<String>,
}

/// Why a text names no packages.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DebSourceError {
    /// It does not begin with `deb:SUITE/`.
    #[error("`{0}` is not `deb:SUITE/PACKAGE,...`, such as `deb:bookworm/libpq5,tzdata`")]
    Form(String),
    /// The part before the slash is no name of a suite.
    #[error("`{suite}` in `{text}` is no name of a suite, write it like `deb:bookworm/libpq5`")]
    Suite {
        /// The whole text.
        text: String,
        /// The part that is wrong.
        suite: String,
    },
    /// Nothing between two commas, or behind the slash.
    #[error("`{0}` has an empty package name, write it like `deb:bookworm/libpq5,tzdata`")]
    Empty(String),
    /// A version was asked for.
    #[error(
        "`{package}` in `{text}`: versions cannot be chosen, a suite has one of each package: write `{name}`"
    )]
    Version {
        /// The whole text.
        text: String,
        /// The part that is wrong.
        package: String,
        /// The part without a version.
        name: String,
    },
    /// An architecture was asked for.
    #[error(
        "`{package}` in `{text}`: packages are of the stage's platform: write `{name}`, and choose the platform with `FROM --platform` or `--platform`"
    )]
    Architecture {
        /// The whole text.
        text: String,
        /// The part that is wrong.
        package: String,
        /// The part without an architecture.
        name: String,
    },
    /// A name that no package can have.
    #[error(
        "`{package}` in `{text}` is no name of a package: two or more lower-case letters, digits, `+`, `-` and `.`"
    )]
    Package {
        /// The whole text.
        text: String,
        /// The part that is wrong.
        package: String,
    },
}

impl DebSource {
    /// Whether `text` is meant to name packages. `deb:bookworm` is an image called `deb`, and
    /// `deb:5000/x` one at the registry `deb:5000`: these stay images.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(suite, _)| suite.is_empty() || !suite.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Reads the identifier of an operation, `deb://SUITE/PACKAGE,...`.
    ///
    /// # Errors
    /// When it is not one.
    pub fn from_identifier(text: &str) -> Result<Self, DebSourceError> {
        match text.strip_prefix(SCHEME) {
            Some(rest) => Self::read(text, rest),
            None => Err(DebSourceError::Form(text.to_owned())),
        }
    }

    /// The identifier of the operation.
    #[must_use]
    pub fn identifier(&self) -> String {
        format!("{SCHEME}{}/{}", self.suite, self.packages.join(","))
    }

    /// Name of the suite; whether there is one is for the engine to know.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The packages that were named, sorted.
    #[must_use]
    pub fn packages(&self) -> &[String] {
        &self.packages
    }

    fn read(text: &str, rest: &str) -> Result<Self, DebSourceError> {
        let (suite, names) = rest
            .split_once('/')
            .ok_or_else(|| DebSourceError::Form(text.to_owned()))?;
        if !is_suite(suite) {
            return Err(DebSourceError::Suite {
                text: text.to_owned(),
                suite: suite.to_owned(),
            });
        }
        let mut packages = names
            .split(',')
            .map(|name| package(text, name))
            .collect::<Result<Vec<_>, _>>()?;
        packages.sort();
        packages.dedup();
        Ok(Self {
            suite: suite.to_owned(),
            packages,
        })
    }
}

impl FromStr for DebSource {
    type Err = DebSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(PREFIX) {
            Some(rest) => Self::read(text, rest),
            None => Err(DebSourceError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for DebSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.suite, self.packages.join(","))
    }
}

fn is_suite(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A name by Debian Policy 5.6.1.
fn package(text: &str, name: &str) -> Result<String, DebSourceError> {
    let text = || text.to_owned();
    let bare = |end: &str| name.split(end).next().unwrap_or_default().to_owned();
    let is_name = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    match name {
        "" => Err(DebSourceError::Empty(text())),
        _ if is_name => Ok(name.to_owned()),
        _ if name.contains('=') => Err(DebSourceError::Version {
            text: text(),
            package: name.to_owned(),
            name: bare("="),
        }),
        _ if name.contains(':') => Err(DebSourceError::Architecture {
            text: text(),
            package: name.to_owned(),
            name: bare(":"),
        }),
        _ => Err(DebSourceError::Package {
            text: text(),
            package: name.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_in_one_order() {
        let source: DebSource = "deb:bookworm/tzdata,libpq5,libstdc++6,tzdata".parse().unwrap();
        assert_eq!(source.suite(), "bookworm");
        assert_eq!(source.packages(), ["libpq5", "libstdc++6", "tzdata"]);
        assert_eq!(source.identifier(), "deb://bookworm/libpq5,libstdc++6,tzdata");
        assert_eq!(DebSource::from_identifier(&source.identifier()).unwrap(), source);
        assert_eq!(source.to_string().parse(), Ok(source));
    }

    #[test]
    fn images_stay_images() {
        for (text, meant) in [
            ("deb:bookworm/libpq5", true),
            ("deb:bookworm/", true),
            ("deb:/x", true),
            ("deb:UPPER/x", true),
            ("deb:bookworm", false),
            ("deb:5000/x", false),
            ("deb", false),
            ("debian:bookworm", false),
            ("registry.example/deb:bookworm", false),
        ] {
            assert_eq!(DebSource::is_meant(text), meant, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("debian", "is not `deb:SUITE/PACKAGE,...`"),
            ("deb:bookworm", "is not `deb:SUITE/PACKAGE,...`"),
            ("deb:/libpq5", "no name of a suite"),
            ("deb:Bookworm/libpq5", "`Bookworm` in"),
            ("deb:bookworm/", "empty package name"),
            ("deb:bookworm/a,,b", "no name of a package"),
            ("deb:bookworm/aa,,bb", "empty package name"),
            ("deb:bookworm/libpq5=15.*", "write `libpq5`"),
            (
                "deb:bookworm/libpq5:i386",
                "write `libpq5`, and choose the platform",
            ),
            ("deb:bookworm/libPQ5", "`libPQ5` in"),
            ("deb:bookworm/main/libpq5", "`main/libpq5` in"),
            ("deb:bookworm/+x", "`+x` in"),
        ] {
            let error = text.parse::<DebSource>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "deb:[a-z0-9/,+.=:-]{0,30}") {
            if let Ok(source) = text.parse::<DebSource>() {
                proptest::prop_assert_eq!(source.to_string().parse::<DebSource>(), Ok(source.clone()));
                proptest::prop_assert_eq!(DebSource::from_identifier(&source.identifier()), Ok(source));
            }
        }
    }
}
