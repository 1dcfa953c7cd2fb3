//! Debian packages whose files were copied without their record, as the build that made the image noted them.

use std::collections::BTreeSet;

use super::{Ecosystem, OwnedFile, Package, SourcePackage, purl};
use crate::origin::{CopiedPackage, Origins};
use crate::{AuditError, ImageView, OsRelease};

/// Adds the packages that no record of the image names and that still have a file in it.
pub(super) fn add(
    view: &ImageView,
    system: Option<&OsRelease>,
    found: &mut Vec<(Package, Vec<OwnedFile>)>,
) -> Result<(), AuditError> {
    let Some(origins) = Origins::read(view.store(), &view.id())? else {
        return Ok(());
    };
    let known: BTreeSet<[String; 3]> = found.iter().map(|(package, _)| key(package)).collect();
    let mut added: Vec<(Package, Vec<OwnedFile>)> = Vec::new();
    let mut real = view.real_paths();
    for (layer, copied, paths) in origins.packages() {
        let present = |path: &std::path::PathBuf| {
            let entry = view.get(path);
            entry.is_some_and(|entry| entry.layer == layer && !entry.node.kind.is_dir())
        };
        let files = paths.iter().filter_map(|path| real.of(path)).filter(present);
        let files: Vec<OwnedFile> = files.map(|path| OwnedFile { path, md5: None }).collect();
        let Some(first) = files.first() else {
            continue;
        };
        let system = copied.system.as_ref().or(system);
        let package = package(copied, &first.path, system);
        if known.contains(&key(&package)) {
            continue;
        }
        match added.iter_mut().find(|(other, _)| key(other) == key(&package)) {
            Some((_, all)) => all.extend(files),
            None => added.push((package, files)),
        }
    }
    found.extend(added);
    Ok(())
}

fn key(package: &Package) -> [String; 3] {
    let Package {
        name,
        version,
        architecture,
        ..
    } = package;
    [name.clone(), version.clone(), architecture.clone()]
}

fn package(copied: &CopiedPackage, first: &std::path::Path, system: Option<&OsRelease>) -> Package {
    let mut package = Package {
        ecosystem: Ecosystem::Deb,
        name: copied.name.clone(),
        version: copied.version.clone(),
        architecture: copied.architecture.clone(),
        source: SourcePackage {
            name: copied.source.clone(),
            version: copied.source_version.clone(),
        },
        maintainer: copied.maintainer.clone(),
        installed_size: None,
        purl: String::new(),
        licence: copied.licence.clone(),
        go_sum: None,
        record: first.to_owned(),
        member: None,
    };
    package.purl = purl::of_deb(&package, system);
    package
}
