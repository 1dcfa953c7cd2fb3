//! Copies of whole packages onto a file system whose `/usr` is merged.
//!
//! Packages of Debian 12 have files in `/lib` and `/bin`, where most images have links to `/usr/lib` and `/usr/bin`.
//! dpkg unpacks through such links. A COPY would refuse them, as BuildKit's does; for packages it goes through them.

use std::path::Path;

use distil_rootfs::{CopySpec, FileKind, MergedTree, Tree, TreeError};

/// The copies that one copy of packages becomes, to be made in this order: directories at the top of the source that
/// are links to directories at the destination are left out of the first, and each is copied to where its link leads.
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
    let mut first = spec.clone();
    let mut parts = Vec::new();
    for entry in source.root()?.entries()? {
        let place = target.join(&entry.name);
        // A name that is no text is in no pattern, and is nothing that a distribution merges.
        let (Some(name), Some(shown)) = (entry.name.to_str(), place.to_str()) else {
            continue;
        };
        let is_kind = |path: &Path, kind: FileKind| -> Result<bool, TreeError> {
            Ok(destination.lookup(path)?.is_some_and(|node| node.kind == kind))
        };
        let leads_on = entry.node.kind.is_dir()
            && is_kind(&place, FileKind::Symlink)?
            && is_kind(&destination.resolve(&place)?, FileKind::Dir)?;
        if leads_on {
            first.exclude_patterns.push(escaped(name));
            parts.push(CopySpec {
                source: format!("/{name}"),
                destination: format!("{shown}/"),
                allow_wildcard: false,
                exclude_patterns: below(&spec.exclude_patterns, name),
                ..spec.clone()
            });
        }
    }
    let mut all = vec![first];
    all.append(&mut parts);
    Ok(all)
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
    fn other_copies_stay_as_they_are() {
        for (from, to) in [("/lib", "/lib"), ("/", "/elsewhere")] {
            assert_eq!(split(CopySpec::new(from, to)).len(), 1, "{from} {to}");
        }
    }
}
