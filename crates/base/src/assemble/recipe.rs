//! What the recipe itself adds to the packages.

use super::AssembleError;
use super::tree::{Content, Kind, Meta, Node, Origin, Tree, shown};
use crate::content::{group_file, passwd_file};
use crate::recipe::{ImageSpec, SpecDirectory, SpecFile, SpecSymlink, UpstreamInput};

/// Adds all of it: what stands later wins over packages and over what stood before.
pub(crate) fn add(tree: &mut Tree, spec: &ImageSpec) -> Result<(), AssembleError> {
    for directory in &spec.directories {
        add_directory(tree, directory)?;
    }
    if !spec.accounts.users.is_empty() {
        let text = passwd_file(&spec.accounts.users);
        add_content(
            tree,
            "/etc/passwd",
            Meta::made(0o644),
            Content::Bytes(text.into_bytes().into()),
        )?;
    }
    if !spec.accounts.groups.is_empty() {
        let text = group_file(&spec.accounts.groups);
        add_content(
            tree,
            "/etc/group",
            Meta::made(0o644),
            Content::Bytes(text.into_bytes().into()),
        )?;
    }
    for (number, input) in spec.inputs.iter().enumerate() {
        add_members(tree, number, input)?;
    }
    for file in &spec.files {
        add_file(tree, file)?;
    }
    for link in &spec.symlinks {
        add_symlink(tree, link)?;
    }
    Ok(())
}

fn add_directory(tree: &mut Tree, directory: &SpecDirectory) -> Result<(), AssembleError> {
    // Where a link leads to a directory, that one is meant.
    let path = tree.follow(directory.path.as_bytes())?;
    let meta = Meta {
        uid: directory.owner.uid,
        gid: directory.owner.gid,
        ..Meta::made(directory.mode)
    };
    match tree.nodes.get_mut(&path) {
        None => tree.put(
            path,
            Node {
                kind: Kind::Directory,
                meta,
                origin: Origin::Recipe,
            },
        ),
        Some(node) if matches!(node.kind, Kind::Directory) => {
            node.meta = meta;
            Ok(())
        }
        Some(_) => Err(AssembleError::InTheWay {
            path: directory.path.clone(),
            found: "a file",
        }),
    }
}

fn add_file(tree: &mut Tree, file: &SpecFile) -> Result<(), AssembleError> {
    let meta = Meta {
        uid: file.owner.uid,
        gid: file.owner.gid,
        ..Meta::made(file.mode)
    };
    let content = Content::Bytes(file.content.bytes());
    add_content(tree, &file.path, meta, content)
}

/// Writes a file as a process would: through a link that leads to one, which so
/// stays (`/etc/os-release` is a link of base-files).
fn add_content(tree: &mut Tree, path: &str, meta: Meta, content: Content) -> Result<(), AssembleError> {
    let real = tree.follow(path.as_bytes())?;
    refuse_directory(tree, &real)?;
    tree.put(
        real,
        Node {
            kind: Kind::File(content),
            meta,
            origin: Origin::Recipe,
        },
    )
}

fn refuse_directory(tree: &Tree, path: &[u8]) -> Result<(), AssembleError> {
    let present = tree.nodes.get(path).map(|node| &node.kind);
    if path.is_empty() || matches!(present, Some(Kind::Directory)) {
        return Err(AssembleError::InTheWay {
            path: shown(path),
            found: "a directory",
        });
    }
    Ok(())
}

fn add_symlink(tree: &mut Tree, link: &SpecSymlink) -> Result<(), AssembleError> {
    let path = tree.resolve(link.path.as_bytes())?;
    refuse_directory(tree, &path)?;
    tree.put(
        path,
        Node {
            kind: Kind::Symlink(link.target.clone().into_bytes(), None),
            meta: Meta::made(0o777),
            origin: Origin::Recipe,
        },
    )
}

fn add_members(tree: &mut Tree, number: usize, input: &UpstreamInput) -> Result<(), AssembleError> {
    for (member, one) in input.members.iter().enumerate() {
        let content = Content::Member(number, member);
        add_content(tree, &one.to, Meta::made(one.mode), content)?;
    }
    Ok(())
}
