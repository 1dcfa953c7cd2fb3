//! A plan's packages into a directory, ready to be configured.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use distil_debian::{PathFilter, UnpackOptions, write_database};
use distil_rootfs::{RootDir, TreeError};
use thiserror::Error;

use crate::debian_image::plan::Plan;

/// A tree that cannot be written.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// A package cannot be unpacked.
    #[error(transparent)]
    Package(#[from] distil_debian::UnpackError),
    /// The target cannot be used.
    #[error(transparent)]
    Target(#[from] TreeError),
    /// A file of the recipe cannot be written.
    #[error("`{path}` cannot be written")]
    Io {
        /// Path in the image.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Unpacks `debs`, the files of `plan.packages` in their order, into the empty
/// directory `target`, and writes dpkg's database and the recipe's files. Uses
/// `threads` threads. Gives the packages whose `preinst` is to be run, for
/// [`ConfigureStep::new`](crate::debian_image::ConfigureStep::new).
///
/// The process must be able to give files away: root, or root of a user
/// namespace with subordinate ids.
///
/// # Errors
/// When a package is damaged or a file cannot be written; `target` is then of no use.
pub fn unpack(
    plan: &Plan,
    debs: &[PathBuf],
    target: &Path,
    threads: usize,
    cancel: &AtomicBool,
) -> Result<Vec<String>, UnpackError> {
    let filter = PathFilter::new(&plan.recipe.excludes, &plan.recipe.includes);
    let options = UnpackOptions {
        filter: &filter,
        merged_usr: merged_directories(&plan.architecture),
        threads,
        cancel,
    };
    let root_mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(target, root_mode).map_err(|source| UnpackError::Io {
        path: "/".to_owned(),
        source,
    })?;
    let ordered = owners_first(plan, debs);
    let mut packages = distil_debian::unpack(&ordered, target, &options)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    write_database(&packages, target)?;
    write_recipe_files(plan, &RootDir::open(target)?)?;
    Ok(packages
        .iter()
        .filter(|package| has_effect(&package.control.text("preinst")))
        .map(distil_debian::UnpackedPackage::qualified_name)
        .collect())
}

/// The top directories that a merged tree has as links.
fn merged_directories(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "amd64" => &["bin", "lib", "lib64", "sbin"],
        _ => &["bin", "lib", "sbin"],
    }
}

/// base-files first: it says how the top directories are to be.
fn owners_first(plan: &Plan, debs: &[PathBuf]) -> Vec<PathBuf> {
    let mut named: Vec<(bool, &PathBuf)> = plan
        .packages
        .iter()
        .zip(debs)
        .map(|(package, deb)| (package.name != "base-files", deb))
        .collect();
    named.sort_by_key(|(later, _)| *later);
    named.into_iter().map(|(_, deb)| deb.clone()).collect()
}

/// Whether a maintainer script may do anything when the package was never there
/// before. One that only calls `dpkg-maintscript-helper` does not: all that this
/// does depends on the version installed until now (dpkg-maintscript-helper(1)).
fn has_effect(script: &str) -> bool {
    script.lines().map(str::trim).any(|line| {
        let idle = line.is_empty()
            || line.starts_with('#')
            || line == "set -e"
            || line == "exit 0"
            || (line.starts_with("dpkg-maintscript-helper ")
                && line.ends_with(" -- \"$@\"")
                && !line.contains(['|', ';', '&', '`', '(', '>', '<']));
        !idle
    })
}

/// apt's record that all packages came as dependencies: `apt-mark showmanual` is
/// empty, as in Docker's images, and nobody asked for anything by name yet.
fn extended_states(plan: &Plan) -> String {
    let paragraphs: Vec<String> = plan
        .packages
        .iter()
        .map(|package| {
            format!(
                "Package: {}\nArchitecture: {}\nAuto-Installed: 1\n\n",
                package.name, plan.architecture
            )
        })
        .collect();
    paragraphs.concat()
}

fn write_recipe_files(plan: &Plan, root: &RootDir) -> Result<(), UnpackError> {
    for file in &plan.recipe.files {
        write(root, file.path, file.mode, file.content)?;
    }
    let filters = plan.recipe.dpkg_filters();
    if !filters.is_empty() {
        write(root, "/etc/dpkg/dpkg.cfg.d/docker", 0o644, &filters)?;
    }
    if !plan.apt_sources.is_empty() {
        write(
            root,
            "/etc/apt/sources.list.d/debian.sources",
            0o644,
            &plan.apt_sources,
        )?;
        write(
            root,
            "/var/lib/apt/extended_states",
            0o644,
            &extended_states(plan),
        )?;
    }
    Ok(())
}

fn write(root: &RootDir, path: &str, mode: u32, content: &str) -> Result<(), UnpackError> {
    let failed = |source| UnpackError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = root.create_file(Path::new(path), mode)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    file.set_permissions(permissions).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::has_effect;

    #[test]
    fn helper_calls_have_no_effect_on_a_new_system() {
        for (script, expected) in [
            ("", false),
            (
                "#!/bin/sh\nset -e\n\ndpkg-maintscript-helper rm_conffile /etc/x 1.2\\~ -- \"$@\"\nexit 0\n",
                false,
            ),
            ("#!/bin/sh\nset -e\ntouch /x\n", true),
            (
                "dpkg-maintscript-helper rm_conffile /etc/x 1 -- \"$@\" || touch /x\n",
                true,
            ),
            (
                "dpkg-maintscript-helper rm_conffile /etc/x; touch /x -- \"$@\"\n",
                true,
            ),
        ] {
            assert_eq!(has_effect(script), expected, "{script}");
        }
    }
}
