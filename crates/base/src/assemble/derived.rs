//! What is computed from packages, in place of their maintainer scripts.

use std::sync::Arc;

use distil_debian::PackageEntryKind;

use super::AssembleError;
use super::contents::ContentReader;
use super::packages::{Package, node_of, register};
use super::tree::{Content, Kind, Meta, Node, Origin, Tree};
use crate::content::{
    CachedLibrary, SharedLibrary, add_certificate, busybox_commands, certificate_name, is_library_name,
    java_keystore, listed_name, loader_cache,
};

const BUNDLE: &[u8] = b"etc/ssl/certs/ca-certificates.crt";
/// Room that is made for a bundle at once.
const MAX_BUNDLE: u64 = 4 << 20;
const KEYSTORE: &[u8] = b"etc/ssl/certs/java/cacerts";
const LOCALE: &[u8] = b"usr/lib/locale/C.utf8";
const LOADER_CACHE: &[u8] = b"etc/ld.so.cache";
/// Where lists of library directories are.
const LOADER_CONFIG: &[u8] = b"etc/ld.so.conf.d/";
/// Where the loader looks last, whatever is configured.
const SYSTEM_LIBRARIES: [&[u8]; 2] = [b"lib", b"usr/lib"];

/// A file that is made here.
fn made(content: Vec<u8>) -> Node {
    Node {
        kind: Kind::File(Content::Bytes(Arc::new(content))),
        meta: Meta::made(0o644),
        origin: Origin::Recipe,
    }
}

/// The bundle of certificate authorities, and Java's form of it.
pub(crate) fn ca_bundle(
    tree: &mut Tree,
    package: &Package<'_>,
    java_keystore_too: bool,
) -> Result<(), AssembleError> {
    let mut certificates = Vec::new();
    let mut length = 0;
    for (number, entry) in package.files.entries().iter().enumerate() {
        if let (Some(name), Some(content)) = (certificate_name(&entry.path), package.content(number)) {
            // One more for a line feed.
            length += package.files.content_size(number).unwrap_or(0) + 1;
            certificates.push((name, content));
        }
    }
    certificates.sort_unstable_by_key(|(name, _)| *name);
    // Nothing larger is read from a package at once, whatever it says.
    let mut bundle = Vec::with_capacity(usize::try_from(length.min(MAX_BUNDLE)).unwrap_or(0));
    let mut reader = ContentReader::default();
    for (_, content) in &certificates {
        match reader.get(content)? {
            Some(certificate) => add_certificate(&mut bundle, certificate),
            None => add_certificate(&mut bundle, &content.read()?),
        }
    }
    if bundle.is_empty() {
        return Err(AssembleError::Missing {
            package: package.name.to_owned(),
            what: "certificates in `/usr/share/ca-certificates`".to_owned(),
        });
    }
    if java_keystore_too {
        let keystore = java_keystore(&bundle)?;
        tree.put(tree.resolve(KEYSTORE)?, made(keystore))?;
    }
    tree.put(tree.resolve(BUNDLE)?, made(bundle))?;
    data_package(tree, package)
}

/// The locale that programs mean by `C.UTF-8`.
pub(crate) fn c_utf8_locale(tree: &mut Tree, package: &Package<'_>) -> Result<(), AssembleError> {
    let mut found = false;
    for (number, entry) in package.files.entries().iter().enumerate() {
        let is_below = entry
            .path
            .strip_prefix(LOCALE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        if is_below {
            found = true;
            put_if_absent(tree, package, number)?;
        }
    }
    if !found {
        return Err(AssembleError::Missing {
            package: package.name.to_owned(),
            what: "the locale `/usr/lib/locale/C.utf8`".to_owned(),
        });
    }
    data_package(tree, package)
}

/// A busybox, and a link for each of its commands.
pub(crate) fn busybox(tree: &mut Tree, package: &Package<'_>, directory: &str) -> Result<(), AssembleError> {
    let mut entries = package.files.entries().iter().enumerate();
    let program = entries.find(|(_, entry)| {
        let is_file = matches!(entry.kind, PackageEntryKind::File { .. });
        is_file && [b"bin/busybox".as_slice(), b"usr/bin/busybox"].contains(&entry.path.as_slice())
    });
    let missing = |what: &str| AssembleError::Missing {
        package: package.name.to_owned(),
        what: what.to_owned(),
    };
    let found = program.and_then(|(number, entry)| Some((package.content(number)?, entry)));
    let (content, program) = found.ok_or_else(|| missing("the program `busybox`"))?;
    let commands = busybox_commands(&content.read()?);
    if commands.is_empty() {
        return Err(missing("the table of commands in `busybox`"));
    }
    let directory = directory.trim_matches('/');
    let node = |kind, mode| Node {
        kind,
        meta: Meta::made(mode),
        origin: Origin::Recipe,
    };
    let target = format!("/{directory}/busybox").into_bytes();
    let file = Node {
        kind: Kind::File(Content::Copied(content)),
        meta: Meta {
            mtime: program.mtime,
            ..Meta::made(0o755)
        },
        origin: Origin::Recipe,
    };
    tree.put(tree.resolve(&target)?, file)?;
    for command in commands.iter().filter(|command| *command != "busybox") {
        let path = tree.resolve(format!("{directory}/{command}").as_bytes())?;
        tree.put(path, node(Kind::Symlink(target.clone(), None), 0o777))?;
    }
    data_package(tree, package)
}

/// What stands for a package that is not unpacked: its licence, and its entry in the
/// list of what is installed.
fn data_package(tree: &mut Tree, package: &Package<'_>) -> Result<(), AssembleError> {
    let copyright = format!("usr/share/doc/{}/copyright", package.name).into_bytes();
    for (number, entry) in package.files.entries().iter().enumerate() {
        if entry.path == copyright {
            put_if_absent(tree, package, number)?;
        }
    }
    register(tree, package)
}

fn put_if_absent(tree: &mut Tree, package: &Package<'_>, number: usize) -> Result<(), AssembleError> {
    let (Some(node), Some(entry)) = (node_of(package, number), package.files.entries().get(number)) else {
        return Ok(());
    };
    let path = tree.resolve(&entry.path)?;
    let present = tree.nodes.get(&path);
    if present.is_none_or(|node| matches!(node.kind, Kind::Directory) && node.meta == Meta::made(0o755)) {
        tree.put(path, node)?;
    }
    Ok(())
}

/// `/etc/ld.so.cache` over what is in the tree, as `ldconfig` writes it: directories
/// of `/etc/ld.so.conf.d` in the order of the file names, then the loader's own.
pub(crate) fn write_loader_cache(tree: &mut Tree) -> Result<(), AssembleError> {
    let mut seen = Vec::new();
    let mut libraries: Vec<CachedLibrary> = Vec::new();
    for named in library_directories(tree)? {
        let real = tree.follow(&named)?;
        if seen.contains(&real) {
            continue;
        }
        let mut found = libraries_in(tree, &real, &named)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup();
        libraries.extend(found);
        seen.push(real);
    }
    tree.put(tree.resolve(LOADER_CACHE)?, made(loader_cache(&libraries)))
}

fn library_directories(tree: &Tree) -> Result<Vec<Vec<u8>>, AssembleError> {
    let mut directories = Vec::new();
    let configs = tree.nodes.range(LOADER_CONFIG.to_vec()..);
    for (path, node) in configs.take_while(|(path, _)| path.starts_with(LOADER_CONFIG)) {
        let Kind::File(content) = &node.kind else { continue };
        if !path.ends_with(b".conf") {
            continue;
        }
        for line in content_of(content)?.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.starts_with(b"/") {
                directories.push(line[1..].to_vec());
            }
        }
    }
    directories.extend(SYSTEM_LIBRARIES.map(<[u8]>::to_vec));
    Ok(directories)
}

/// The libraries of one directory, under the name that the configuration has for it.
fn libraries_in(tree: &Tree, real: &[u8], named: &[u8]) -> Result<Vec<CachedLibrary>, AssembleError> {
    let prefix = [real, b"/"].concat();
    let mut libraries = Vec::new();
    let below = tree.nodes.range(prefix.clone()..);
    for (path, node) in below.take_while(|(path, _)| path.starts_with(&prefix)) {
        let name = &path[prefix.len()..];
        if name.contains(&b'/') || !is_library_name(name) {
            continue;
        }
        let is_link = matches!(node.kind, Kind::Symlink(..));
        let Some(library) = library_at(tree, path)? else {
            continue;
        };
        let Some(listed) = listed_name(name, is_link, &library) else {
            continue;
        };
        // `ldconfig` would make the link that is missing; a package brings it.
        if tree.nodes.contains_key(&[prefix.as_slice(), &listed].concat()) {
            libraries.push(CachedLibrary {
                path: [b"/", named, b"/", listed.as_slice()].concat(),
                name: listed,
                machine: library.machine,
            });
        }
    }
    Ok(libraries)
}

fn library_at(tree: &Tree, path: &[u8]) -> Result<Option<SharedLibrary>, AssembleError> {
    let Some(Kind::File(content)) = tree.get(path).map(|node| &node.kind) else {
        return Ok(None);
    };
    match content {
        Content::Bytes(bytes) => Ok(SharedLibrary::read(bytes.as_slice())),
        Content::Stored(stored) | Content::Copied(stored) => Ok(SharedLibrary::read(&stored.open()?)),
        Content::Member(..) => Ok(None),
    }
}

fn content_of(content: &Content) -> Result<Vec<u8>, AssembleError> {
    match content {
        Content::Bytes(bytes) => Ok(bytes.to_vec()),
        Content::Stored(stored) | Content::Copied(stored) => stored.read(),
        Content::Member(..) => Ok(Vec::new()),
    }
}
