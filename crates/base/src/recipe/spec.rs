//! A recipe composed for one image: what selecting packages and assembling read.

use std::fmt;
use std::sync::Arc;

use distil_oci::Digest;
use serde::Serialize;

use crate::release::DebianRelease;

/// What distinguishes images of one family, release and architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct Variant {
    /// Leaves out what runs nowhere.
    pub slim: bool,
    /// With a shell in `/busybox`.
    pub debug: bool,
    /// Runs as uid 65532.
    pub nonroot: bool,
}

impl Variant {
    /// The tag: `latest`, `nonroot`, `debug`, `debug-nonroot`, and the same with
    /// `slim` in front (`slim`, `slim-nonroot` and so on).
    #[must_use]
    pub fn tag(self) -> String {
        let parts = [
            (self.slim, "slim"),
            (self.debug, "debug"),
            (self.nonroot, "nonroot"),
        ];
        let named: Vec<&str> = parts
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| *name)
            .collect();
        if named.is_empty() {
            "latest".to_owned()
        } else {
            named.join("-")
        }
    }

    /// The variant of a tag that [`Variant::tag`] gives.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Variant> {
        Variant::all().find(|variant| variant.tag() == tag)
    }

    /// All eight, those of distroless first.
    pub fn all() -> impl Iterator<Item = Variant> {
        [false, true].into_iter().flat_map(|slim| {
            [false, true].into_iter().flat_map(move |debug| {
                [false, true]
                    .into_iter()
                    .map(move |nonroot| Variant { slim, debug, nonroot })
            })
        })
    }
}

/// Which packages an image gets of those that its recipe names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// They and all that they need, as `apt-get --no-install-recommends` chooses.
    Closure,
    /// They alone; the dependencies left out are recorded.
    Listed,
}

/// How packages are spread over layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One layer with everything.
    Merged,
    /// A layer for each package in the order of the names, then one with the rest.
    PerPackage,
}

/// Content computed from packages that are neither unpacked whole nor run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Derived {
    /// From `ca-certificates`: the bundle `/etc/ssl/certs/ca-certificates.crt`, the
    /// package's copyright file and its `status.d` entry.
    CaBundle {
        /// Also the same certificates as `/etc/ssl/certs/java/cacerts`.
        java_keystore: bool,
    },
    /// From `libc-bin`: `/usr/lib/locale/C.utf8`, copyright and `status.d` entry.
    /// Nothing when `libc-bin` is among the packages.
    CUtf8Locale,
    /// `/etc/ld.so.cache` as the image's own `ldconfig` would write it.
    LdSoCache,
    /// From a package with a static busybox: the program at `DIRECTORY/busybox`, an
    /// absolute link for each applet, copyright and `status.d` entry.
    Busybox {
        /// `busybox-static`.
        package: String,
        /// Absolute: `/busybox`.
        directory: String,
    },
}

impl Derived {
    /// The package it is computed from.
    #[must_use]
    pub fn package(&self) -> Option<&str> {
        match self {
            Derived::CaBundle { .. } => Some("ca-certificates"),
            Derived::CUtf8Locale => Some("libc-bin"),
            Derived::LdSoCache => None,
            Derived::Busybox { package, .. } => Some(package),
        }
    }
}

impl fmt::Display for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Derived::CaBundle { java_keystore: false } => f.write_str("certificates, as one file"),
            Derived::CaBundle { java_keystore: true } => {
                f.write_str("certificates, as one file and as a keystore of Java")
            }
            Derived::CUtf8Locale => f.write_str("locale C.utf8"),
            Derived::LdSoCache => f.write_str("/etc/ld.so.cache"),
            Derived::Busybox { directory, .. } => write!(f, "busybox in {directory}"),
        }
    }
}

/// An archive that does not come from Debian: a tar, compressed or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UpstreamInput {
    /// What it is: `node`.
    pub name: String,
    /// Version, for records alone.
    pub version: String,
    /// Where it is fetched from.
    pub url: String,
    /// Bytes, when known; a longer answer is refused.
    pub size: Option<u64>,
    /// Of the file as fetched.
    pub sha256: Digest,
    /// What is taken from it; all else is left.
    pub members: Vec<InputMember>,
    /// How registers of packages and of vulnerabilities call it; see [`UpstreamInput::purl`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// Its licence, as an SPDX expression: `MIT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Who publishes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
}

impl UpstreamInput {
    /// Its package URL: the recipe's, else one of type `generic` with the address and the sha256
    /// (<https://github.com/package-url/purl-spec>).
    #[must_use]
    pub fn purl(&self) -> String {
        self.purl.clone().unwrap_or_else(|| {
            format!(
                "pkg:generic/{}@{}?checksum=sha256:{}&download_url={}",
                encoded(&self.name, b""),
                encoded(&self.version, b":"),
                self.sha256.hex(),
                encoded(&self.url, b":/"),
            )
        })
    }
}

/// `text` as a part of a package URL; `plain` stays as it is, too.
fn encoded(text: &str, plain: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A file of an [`UpstreamInput`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct InputMember {
    /// Path in the archive, without a leading `./`.
    pub from: String,
    /// Absolute path in the image.
    pub to: String,
    /// Permission bits.
    pub mode: u32,
}

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UserAccount {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Number of the first group.
    pub gid: u32,
    /// Full name; distroless repeats the login name.
    pub comment: String,
    /// Home directory; it is not made.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GroupAccount {
    /// Name.
    pub name: String,
    /// Number.
    pub gid: u32,
    /// Login names.
    pub members: Vec<String>,
}

/// Contents of `/etc/passwd` and `/etc/group`, in this order; none of a kind, no file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Accounts {
    /// Users.
    pub users: Vec<UserAccount>,
    /// Groups.
    pub groups: Vec<GroupAccount>,
}

/// Numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A file that the recipe writes; it replaces one of a package.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SpecFile {
    /// Absolute path in the image.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
    /// Content.
    pub content: FileContent,
}

/// What is in a [`SpecFile`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum FileContent {
    /// The recipe has it.
    Text(String),
    /// A file beside the recipe has it.
    Source {
        /// The file, as the recipe names it.
        #[serde(skip)]
        source: String,
        /// Of its bytes.
        sha256: Digest,
        /// Its bytes, when it was read with the recipe.
        #[serde(skip)]
        bytes: Arc<Vec<u8>>,
    },
}

impl FileContent {
    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> Arc<Vec<u8>> {
        match self {
            FileContent::Text(text) => Arc::new(text.as_bytes().to_vec()),
            FileContent::Source { bytes, .. } => Arc::clone(bytes),
        }
    }
}

/// A directory that the recipe makes, or whose mode and owner it sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SpecDirectory {
    /// Absolute path in the image.
    pub path: String,
    /// Permission bits with set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
}

/// A symbolic link that the recipe makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SpecSymlink {
    /// Absolute path in the image.
    pub path: String,
    /// What stands in it.
    pub target: String,
}

/// Paths of packages that are not unpacked. Patterns are dpkg's `path-exclude`
/// (`/usr/share/man/*`; `*` also matches `/`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Exclude {
    /// The named set, `doc`, or the pattern itself.
    pub name: String,
    /// Left out.
    pub patterns: Vec<String>,
    /// Kept although a pattern of this set leaves it out.
    pub except: Vec<String>,
}

/// Something that an image does not have although one may look for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Note {
    /// Packages, paths or a property.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// A suite beside Debian's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ExtraSource {
    /// Root of the archive, without a slash at the end.
    pub url: String,
    /// Suite.
    pub suite: String,
    /// Components.
    pub components: Vec<String>,
    /// Public keys that may sign it, armoured or binary, as hexadecimal digest of
    /// the file; the bytes are in [`ExtraSource::keyring`].
    pub keyring_digest: Digest,
    /// The keyring file.
    #[serde(skip)]
    pub keyring: Vec<u8>,
}

/// The image config's fields that a recipe decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct RunSettings {
    /// `Env`, in order.
    pub environment: Vec<(String, String)>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `User`; empty for none.
    pub user: String,
    /// `WorkingDir`; empty for none.
    pub workdir: String,
    /// `Labels`, sorted.
    pub labels: Vec<(String, String)>,
    /// Annotations of the manifest, sorted. `${version:PACKAGE}` in a value stands
    /// for the upstream version of that package: see
    /// [`Selection::expand`](crate::selection::Selection::expand); so it does in
    /// `environment` and `labels`.
    pub annotations: Vec<(String, String)>,
}

/// A recipe with all that it extends, for one variant and one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ImageSpec {
    /// Canonical name: `java17-debian12:debug`, or the `name` of a user's recipe.
    pub name: String,
    /// The recipe files, the one that was asked for first.
    pub recipes: Vec<String>,
    /// Release of Debian.
    pub release: DebianRelease,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Variant.
    pub variant: Variant,
    /// Whether Debian's suites of the release are read.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub debian_suites: bool,
    /// Suites beside those of the release, or in their place.
    pub sources: Vec<ExtraSource>,
    /// Packages to unpack, sorted, each once.
    pub packages: Vec<String>,
    /// What else of packages is taken.
    pub resolve: Resolve,
    /// What is computed from packages.
    pub derived: Vec<Derived>,
    /// Archives from elsewhere.
    pub inputs: Vec<UpstreamInput>,
    /// Users and groups.
    pub accounts: Accounts,
    /// Files, sorted by path.
    pub files: Vec<SpecFile>,
    /// Directories, sorted by path.
    pub directories: Vec<SpecDirectory>,
    /// Symbolic links, sorted by path.
    pub symlinks: Vec<SpecSymlink>,
    /// What packages ship and the image does not get.
    pub excludes: Vec<Exclude>,
    /// The image config.
    pub run: RunSettings,
    /// What was left out on purpose, and differences from the image of that name
    /// that others publish.
    pub notes: Vec<Note>,
    /// Where its runtime is not that of the published image of this name: what it
    /// is instead. For the output of a build.
    pub differs: Option<String>,
    /// Whether paths below `/bin`, `/lib`, `/lib64` and `/sbin` are moved to `/usr`.
    pub merged_usr: bool,
    /// Layers.
    pub layout: Layout,
}

impl ImageSpec {
    /// sha256 of all that the spec says, the names of its files left out: equal
    /// digests, equal specs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut spec = self.clone();
        spec.recipes = Vec::new();
        // Only maps with keys that are not texts fail to serialize; there are none.
        let json = serde_json::to_vec(&spec).unwrap_or_default();
        Digest::sha256(&json)
    }

    /// All packages that are needed to make it: those to unpack, then those that
    /// something is computed from. Sorted, each once.
    #[must_use]
    pub fn needed_packages(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.packages.iter().map(String::as_str).collect();
        names.extend(self.derived.iter().filter_map(Derived::package));
        names.sort_unstable();
        names.dedup();
        names
    }
}
