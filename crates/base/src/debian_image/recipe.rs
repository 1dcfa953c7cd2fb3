//! What an image is made of, before any archive is asked.

use crate::debian_image::name::DebianImage;

/// A file that the recipe itself writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipeFile {
    /// Absolute path in the image.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: &'static str,
}

/// What to install and how, for any release and architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianRecipe {
    /// Canonical name of the image.
    pub name: String,
    /// Codename of the release.
    pub codename: &'static str,
    /// Take all packages of `Essential: yes` and of `Priority: required`.
    pub required: bool,
    /// Packages by name, and what they need.
    pub packages: Vec<&'static str>,
    /// dpkg's `path-exclude` patterns.
    pub excludes: Vec<&'static str>,
    /// dpkg's `path-include` patterns, which win over excludes.
    pub includes: Vec<&'static str>,
    /// Files written before the packages are configured.
    pub files: Vec<RecipeFile>,
    /// Whether apt inside gets sources that name the archive.
    pub apt_sources: bool,
}

/// Documentation and translations that no program needs to run; the patterns of
/// Docker's `-slim` images.
const SLIM_EXCLUDES: [&str; 7] = [
    "/usr/share/doc/*",
    "/usr/share/groff/*",
    "/usr/share/info/*",
    "/usr/share/linda/*",
    "/usr/share/lintian/overrides/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// Licences stay, and what programs read by name.
const SLIM_INCLUDES: [&str; 9] = [
    "/usr/share/doc/*/copyright",
    "/usr/share/doc/kde/HTML/C/*",
    "/usr/share/gnome/help/*/C/*",
    "/usr/share/locale/all_languages",
    "/usr/share/locale/currency/*",
    "/usr/share/locale/l10n/*",
    "/usr/share/locale/languages",
    "/usr/share/locale/locale.alias",
    "/usr/share/omf/*/*-C.emf",
];

const POLICY_RC_D: &str = "#!/bin/sh
# No service is started while an image is built: invoke-rc.d reads 101 as \"forbidden\".
exit 101
";

const APT_CLEAN: &str = "// Every step of a build becomes a layer, so apt keeps no downloaded packages
// and no binary caches behind.
DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true\"; };
APT::Update::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true\"; };
Dir::Cache::pkgcache \"\";
Dir::Cache::srcpkgcache \"\";
";

const APT_GZIP: &str = "// Lists stay compressed, since many builds leave them in a layer.
Acquire::GzipIndexes \"true\";
";

const APT_LANGUAGES: &str = "// Translated package descriptions are not downloaded.
Acquire::Languages \"none\";
";

const APT_AUTOREMOVE: &str =
    "// A package that is only suggested by another does not survive `apt-get autoremove`.
Apt::AutoRemove::SuggestsImportant \"false\";
";

const DPKG_SPEED: &str =
    "# A build step that fails is run again from its start, so dpkg need not wait for the disk.
force-unsafe-io
";

/// The files that Docker's Debian images add, under the names that they have
/// there, so that Dockerfiles which change or remove them work the same.
const DOCKER_FILES: [RecipeFile; 6] = [
    RecipeFile {
        path: "/usr/sbin/policy-rc.d",
        mode: 0o755,
        content: POLICY_RC_D,
    },
    RecipeFile {
        path: "/etc/apt/apt.conf.d/docker-clean",
        mode: 0o644,
        content: APT_CLEAN,
    },
    RecipeFile {
        path: "/etc/apt/apt.conf.d/docker-gzip-indexes",
        mode: 0o644,
        content: APT_GZIP,
    },
    RecipeFile {
        path: "/etc/apt/apt.conf.d/docker-no-languages",
        mode: 0o644,
        content: APT_LANGUAGES,
    },
    RecipeFile {
        path: "/etc/apt/apt.conf.d/docker-autoremove-suggests",
        mode: 0o644,
        content: APT_AUTOREMOVE,
    },
    RecipeFile {
        path: "/etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
        mode: 0o644,
        content: DPKG_SPEED,
    },
];

impl DebianRecipe {
    /// The recipe of an image: the package set of debootstrap's `minbase`, which
    /// Docker's images have, with `usr-is-merged` in place of the converter.
    #[must_use]
    pub fn debian(image: &DebianImage) -> DebianRecipe {
        let (excludes, includes) = if image.slim {
            (SLIM_EXCLUDES.to_vec(), SLIM_INCLUDES.to_vec())
        } else {
            (Vec::new(), Vec::new())
        };
        let mut packages = vec!["apt"];
        if image.release == crate::DebianRelease::Bookworm {
            packages.push("usr-is-merged");
        }
        DebianRecipe {
            name: image.name(),
            codename: image.release.codename(),
            required: true,
            packages,
            excludes,
            includes,
            files: DOCKER_FILES.to_vec(),
            apt_sources: true,
        }
    }

    /// The file for `/etc/dpkg/dpkg.cfg.d/docker` that keeps later installations
    /// to the same excludes; empty without excludes.
    #[must_use]
    pub(crate) fn dpkg_filters(&self) -> String {
        if self.excludes.is_empty() {
            return String::new();
        }
        let mut text = "# The slim variant: these paths are not unpacked.\n".to_owned();
        for (option, patterns) in [("exclude", &self.excludes), ("include", &self.includes)] {
            for pattern in patterns {
                text.push_str(&format!("path-{option} {pattern}\n"));
            }
        }
        text
    }
}
