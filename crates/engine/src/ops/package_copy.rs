//! Copies of whole packages onto a file system that has its top directories elsewhere.
//!
//! Packages of Debian 12 have files in `/lib` and `/bin`, where most images have links to `/usr/lib` and `/usr/bin`;
//! those of later releases come with such links, where other images have directories. dpkg unpacks through links.
//! A COPY would refuse both, as BuildKit's does; for packages it goes through links of the destination, and leaves
//! out its own where there is a directory.

use std::path::Path;

use distil_rootfs::{CopySpec, FileKind, MergedTree, Tree, TreeError};

/// The copies that one copy of packages becomes, to be made in this order. What cannot be as it is in the source is
/// left out of the first: a directory at its top that is a link at the destination is copied to where that leads, and
/// of a link that is a directory there only the loaders are copied, which programs name by that path.
pub(super) fn through_links(
    destination: &MergedTree,
    source: &dyn Tree,
    spec: CopySpec,
) -> Result<Vec<CopySpec>, TreeError> {
    let is_whole = Path::new(&spec.source) == Path::new("/") && spec.include_patterns.is_empty();
    if !is_whole || !spec.dir_copy_contents {
        return Ok(vec![spec]);
    }
    let target = destination.resolve(Path::new(&spec.destination))?;
    let mut all = vec![spec.clone()];
    for entry in source.root()?.entries()? {
        let place = target.join(&entry.name);
        // A name that is no text is in no pattern, and is nothing that a distribution merges.
        let (Some(name), Some(place)) = (entry.name.to_str(), place.to_str()) else {
            continue;
        };
        let Some(met) = met_at(destination, place)? else {
            continue;
        };
        let parts = match (entry.node.kind, met) {
            (FileKind::Dir, Met::LinkToDirectory) => vec![CopySpec {
                source: format!("/{name}"),
                destination: format!("{place}/"),
                allow_wildcard: false,
                exclude_patterns: below(&spec.exclude_patterns, name),
                ..spec.clone()
            }],
            (FileKind::Symlink, Met::Directory) => loaders(source, name, place, &spec)?,
            _ => continue,
        };
        if let Some(first) = all.first_mut() {
            first.exclude_patterns.push(escaped(name));
        }
        all.extend(parts);
    }
    Ok(all)
}

/// What stands at the destination.
enum Met {
    Directory,
    LinkToDirectory,
}

fn met_at(destination: &MergedTree, place: &str) -> Result<Option<Met>, TreeError> {
    let kind = |path: &Path| -> Result<Option<FileKind>, TreeError> {
        Ok(destination.lookup(path)?.map(|node| node.kind))
    };
    let place = Path::new(place);
    Ok(match kind(place)? {
        Some(FileKind::Dir) => Some(Met::Directory),
        Some(FileKind::Symlink) if kind(&destination.resolve(place)?)? == Some(FileKind::Dir) => {
            Some(Met::LinkToDirectory)
        }
        _ => None,
    })
}

/// Copies of the loaders in a directory of the source, each as a file.
fn loaders(source: &dyn Tree, name: &str, place: &str, spec: &CopySpec) -> Result<Vec<CopySpec>, TreeError> {
    let path = format!("/{name}");
    if source
        .lookup(&source.resolve(Path::new(&path))?)?
        .is_none_or(|node| !node.kind.is_dir())
    {
        return Ok(Vec::new());
    }
    let entries = source.open_dir(Path::new(&path))?.entries()?;
    let names = entries.iter().filter_map(|entry| entry.name.to_str());
    let is_loader = |name: &&str| name.starts_with("ld") && name.contains(".so.");
    let copy = |loader: &str| CopySpec {
        source: format!("{path}/{loader}"),
        destination: format!("{place}/{loader}"),
        follow_symlink: true,
        allow_wildcard: false,
        exclude_patterns: Vec::new(),
        ..spec.clone()
    };
    Ok(names.filter(is_loader).map(copy).collect())
}

/// A pattern that matches the name alone.
fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '!') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// What patterns of the whole say about paths in one of its directories.
fn below(patterns: &[String], name: &str) -> Vec<String> {
    let inside = |pattern: &String| {
        let (sign, path) = match pattern.strip_prefix('!') {
            Some(path) => ("!", path),
            None => ("", pattern.as_str()),
        };
        let path = path.trim_start_matches('/');
        if path.starts_with("**") {
            return Some(pattern.clone());
        }
        let (first, rest) = path.split_once('/')?;
        (first == name || first == "*").then(|| format!("{sign}{rest}"))
    };
    let whole = patterns.iter().any(|pattern| pattern.trim_matches('/') == name);
    let mut found: Vec<String> = patterns.iter().filter_map(inside).collect();
    if whole {
        found.insert(0, "**".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn trees() -> (tempfile::TempDir, tempfile::TempDir) {
        let (target, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(target.path().join("usr/lib")).unwrap();
        symlink("usr/lib", target.path().join("lib")).unwrap();
        symlink("usr/nowhere", target.path().join("lib64")).unwrap();
        for dir in ["lib/x", "lib64", "usr/lib", "etc"] {
            fs::create_dir_all(source.path().join(dir)).unwrap();
        }
        (target, source)
    }

    fn split(spec: CopySpec) -> Vec<(String, String, Vec<String>)> {
        let (target, source) = trees();
        let target = MergedTree::open(&[target.path().to_owned()]).unwrap();
        let source = MergedTree::open(&[source.path().to_owned()]).unwrap();
        through_links(&target, &source, spec)
            .unwrap()
            .into_iter()
            .map(|one| (one.source, one.destination, one.exclude_patterns))
            .collect()
    }

    #[test]
    fn directories_go_where_links_lead() {
        let mut spec = CopySpec::new("/", "/");
        spec.exclude_patterns = vec!["lib/x".into(), "usr/share".into(), "**/*.a".into()];
        let parts = split(spec.clone());
        assert_eq!(parts.len(), 2, "{parts:?}");
        assert_eq!(parts[0].2.last().map(String::as_str), Some("lib"));
        assert_eq!(
            parts[1],
            (
                "/lib".to_owned(),
                "/lib/".to_owned(),
                vec!["x".to_owned(), "**/*.a".to_owned()]
            )
        );
        spec.exclude_patterns = vec!["lib".into()];
        assert_eq!(split(spec)[1].2, ["**"]);
    }

    #[test]
    fn links_give_way_to_directories() {
        let (target, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in ["lib", "lib64"] {
            fs::create_dir(target.path().join(dir)).unwrap();
        }
        fs::create_dir_all(source.path().join("usr/lib/x")).unwrap();
        for name in ["ld-linux-aarch64.so.1", "libc.so.6", "x/libx.so.1"] {
            fs::write(source.path().join("usr/lib").join(name), name).unwrap();
        }
        symlink("usr/lib", source.path().join("lib")).unwrap();
        symlink("usr/lib64", source.path().join("lib64")).unwrap();
        symlink("usr/bin", source.path().join("bin")).unwrap();
        let target = MergedTree::open(&[target.path().to_owned()]).unwrap();
        let source = MergedTree::open(&[source.path().to_owned()]).unwrap();
        let parts = through_links(&target, &source, CopySpec::new("/", "/")).unwrap();
        let shown: Vec<(&str, &str)> = parts
            .iter()
            .map(|part| (part.source.as_str(), part.destination.as_str()))
            .collect();
        let loader = "/lib/ld-linux-aarch64.so.1";
        assert_eq!(shown, [("/", "/"), (loader, loader)]);
        assert_eq!(parts[0].exclude_patterns, ["lib", "lib64"]);
    }

    #[test]
    fn other_copies_stay_as_they_are() {
        for (from, to) in [("/lib", "/lib"), ("/", "/elsewhere")] {
            assert_eq!(split(CopySpec::new(from, to)).len(), 1, "{from} {to}");
        }
    }
}
