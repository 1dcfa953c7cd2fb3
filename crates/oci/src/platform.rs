//! Platforms: what an image runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::null_is_default;

/// An operating system, an architecture and its variant, in Go's names (`linux`, `amd64`, `v7`).
///
/// Parsing normalises (`x86_64` becomes `amd64`, `arm64/v8` becomes `arm64`); a value that was read from JSON
/// or made by hand is as it was written until [`Platform::normalized`].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture.
    #[serde(default)]
    pub architecture: String,
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system (Windows only); empty when not given.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features that the image needs of the operating system.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the CPU; empty when not given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Empty, too many parts, or letters that no part may have.
    #[error(
        "`{0}` is not a platform, expected `os/architecture` or `os/architecture/variant` like `linux/arm64`"
    )]
    Malformed(String),
    /// One word that is neither an operating system nor an architecture.
    #[error("`{0}` is neither a known operating system nor a known architecture")]
    Unknown(String),
}

// The names that Go knows (`go/build/syslist.go`), as containerd's lists have them.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// The platform of the machine that runs this program.
    #[must_use]
    pub fn host() -> Self {
        let little = cfg!(target_endian = "little");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            "powerpc" => "ppc",
            "mips64" if little => "mips64le",
            "mips" if little => "mipsle",
            "wasm32" => "wasm",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, "").normalized()
    }

    /// A platform of these parts, not normalised; `variant` may be empty.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            ..Self::default()
        }
    }

    /// The one spelling that equal platforms share.
    ///
    /// Source: the `Normalize` function of containerd/platforms.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "" => std::env::consts::OS.to_owned(),
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalized_architecture(&self.architecture, &self.variant);
        let mut os_features = self.os_features.clone();
        os_features.sort();
        os_features.dedup();
        Self {
            os,
            architecture,
            variant,
            os_version: self.os_version.clone(),
            os_features,
        }
    }

    /// Whether both are the same after normalising. The version of the operating system is not looked at, and
    /// `other` may need only features that `self` has.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let (own, other) = (self.normalized(), other.normalized());
        own.os == other.os
            && own.architecture == other.architecture
            && own.variant == other.variant
            && other
                .os_features
                .iter()
                .all(|feature| own.os_features.contains(feature))
    }

    /// How well an image of platform `candidate` fits a machine of platform `self`: 0 is best, `None` not at all.
    ///
    /// Older variants fit newer machines, 386 fits amd64 and 32-bit arm fits arm64, each behind the exact one.
    /// Source: the `Only` function of containerd/platforms, which BuildKit uses for FROM.
    #[must_use]
    pub fn preference(&self, candidate: &Self) -> Option<usize> {
        self.compatible()
            .iter()
            .position(|platform| platform.matches(candidate))
    }

    /// What a machine of this platform runs, best first.
    fn compatible(&self) -> Vec<Self> {
        let own = self.normalized();
        let with = |architecture: &str, variant: String| Self {
            architecture: architecture.to_owned(),
            variant,
            ..own.clone()
        };
        let level = own
            .variant
            .strip_prefix('v')
            .and_then(|level| level.parse::<u32>().ok());
        let mut list = vec![own.clone()];
        match (own.architecture.as_str(), level) {
            ("amd64", level) => {
                // No amd64 level above 4 exists; the bound keeps a hostile `v4000000000` from costing memory.
                list.extend(
                    (1..level.unwrap_or(1).min(64))
                        .rev()
                        .map(|level| with("amd64", format!("v{level}"))),
                );
                list.push(with("386", String::new()));
            }
            ("arm", Some(level)) => list.extend(older_arm(level).map(|variant| with("arm", variant))),
            ("arm64", _) => {
                list.extend(
                    older_arm64(&own.variant)
                        .into_iter()
                        .map(|variant| with("arm64", variant)),
                );
                list.push(with("arm", "v8".to_owned()));
                list.extend(older_arm(8).map(|variant| with("arm", variant)));
            }
            _ => {}
        }
        list
    }
}

/// The arm variants below a level; none is older than v5.
fn older_arm(level: u32) -> impl Iterator<Item = String> {
    (5..level.min(64)).rev().map(|level| format!("v{level}"))
}

/// The arm64 variants below `variant`: v9.x runs v9.0 to v9.x and v8.0 to v8.(x+5), at most v8.9.
fn older_arm64(variant: &str) -> Vec<String> {
    let (major, minor) = match variant.split_once('.') {
        Some((major, minor)) => (major, minor.parse::<u32>().unwrap_or(0).min(9)),
        None => (variant, 0),
    };
    let name = |major: &str, minor: u32| {
        if minor == 0 {
            major.to_owned()
        } else {
            format!("{major}.{minor}")
        }
    };
    let mut list: Vec<String> = (0..minor).rev().map(|minor| name(major, minor)).collect();
    if major == "v9" {
        list.extend((0..=(minor + 5).min(9)).rev().map(|minor| name("v8", minor)));
    }
    list
}

fn normalized_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let (first, options) = match parts[0].strip_suffix(')').and_then(|part| part.split_once('(')) {
            Some((first, options)) => (first, options),
            None => (parts[0], ""),
        };
        let options_fit = options.split('+').all(|option| option.is_empty() || word(option));
        if !word(first) || !options_fit || !parts[1..].iter().all(|part| word(part)) {
            return Err(malformed());
        }
        let mut platform = match parts.as_slice() {
            [_] => Self::from_word(first)?,
            [_, architecture] => Self::new(first, architecture, ""),
            [_, architecture, variant] => Self::new(first, architecture, variant),
            _ => return Err(malformed()),
        };
        let mut options = options.split('+');
        platform.os_version = options.next().unwrap_or_default().to_owned();
        platform.os_features = options
            .filter(|feature| !feature.is_empty())
            .map(str::to_owned)
            .collect();
        Ok(platform.normalized())
    }
}

impl Platform {
    /// One word: an operating system with the host's architecture, or the other way round.
    fn from_word(word: &str) -> Result<Self, PlatformError> {
        let host = Self::host();
        let system = Self::new(word, "", "").normalized().os;
        if SYSTEMS.contains(&system.as_str()) {
            return Ok(Self { os: system, ..host });
        }
        let (architecture, variant) = normalized_architecture(word, "");
        if ARCHITECTURES.contains(&architecture.as_str()) {
            return Ok(Self {
                architecture,
                variant,
                ..host
            });
        }
        Err(PlatformError::Unknown(word.to_owned()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.os.is_empty() { "unknown" } else { &self.os })?;
        if !self.os_version.is_empty() || !self.os_features.is_empty() {
            write!(f, "({}", self.os_version)?;
            for feature in &self.os_features {
                write!(f, "+{feature}")?;
            }
            f.write_str(")")?;
        }
        for part in [&self.architecture, &self.variant] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises() {
        let cases = [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AArch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            (
                "windows(10.0.17763+win32k)/amd64",
                "windows(10.0.17763+win32k)/amd64",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn one_word_takes_the_rest_from_the_host() {
        let host = Platform::host();
        assert_eq!(
            "linux".parse::<Platform>().unwrap().architecture,
            host.architecture
        );
        assert_eq!(
            "riscv64".parse::<Platform>().unwrap(),
            Platform::new(&host.os, "riscv64", "")
        );
        assert!(matches!(
            "toaster".parse::<Platform>(),
            Err(PlatformError::Unknown(_))
        ));
    }

    #[test]
    fn refuses_malformed() {
        for text in [
            "",
            "/",
            "linux/",
            "linux/amd64/v1/x",
            "linux/*",
            "li nux/amd64",
            "(1)/amd64",
        ] {
            assert!(
                matches!(text.parse::<Platform>(), Err(PlatformError::Malformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn preference_follows_containerd() {
        let order = |wanted: &str, candidates: &[&str]| -> Vec<Option<usize>> {
            let wanted: Platform = wanted.parse().unwrap();
            candidates
                .iter()
                .map(|candidate| wanted.preference(&candidate.parse().unwrap()))
                .collect()
        };
        assert_eq!(
            order(
                "linux/amd64/v3",
                &[
                    "linux/amd64/v3",
                    "linux/amd64/v2",
                    "linux/amd64",
                    "linux/386",
                    "linux/arm64"
                ]
            ),
            [Some(0), Some(1), Some(2), Some(3), None]
        );
        assert_eq!(
            order(
                "linux/arm64",
                &[
                    "linux/arm64/v8",
                    "linux/arm/v7",
                    "linux/arm/v5",
                    "linux/arm64/v9",
                    "linux/amd64"
                ]
            ),
            [Some(0), Some(2), Some(4), None, None]
        );
        assert_eq!(
            order(
                "linux/arm64/v9",
                &["linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64"]
            ),
            [Some(0), Some(1), Some(6)]
        );
        assert_eq!(
            order("linux/riscv64", &["linux/riscv64", "windows/riscv64"]),
            [Some(0), None]
        );
        assert_eq!(order("linux/amd64/v4294967295", &["linux/s390x"]), [None]);
    }
}
