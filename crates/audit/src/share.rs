//! Where the bytes of an image are: by directory, and by package.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Component, Path};

use crate::{Ecosystem, Entry, ImageView, Inventory, printable};

/// What a [`Share`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareKind {
    /// A directory with everything below it.
    Directory,
    /// One file.
    File,
    /// All packages of an ecosystem.
    Packages(Ecosystem),
    /// One package.
    Package,
    /// Files that no package owns.
    Unowned,
    /// Everything that is too small to be told apart.
    Rest,
}

/// A part of an image, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What it is.
    pub kind: ShareKind,
    /// Its name in the share that it belongs to, safe to print: `lib/x86_64-linux-gnu`, `libc6`. Empty for
    /// [`ShareKind::Packages`], [`ShareKind::Unowned`] and [`ShareKind::Rest`].
    pub name: String,
    /// Bytes of the contents of its regular files that are seen; hard links count once.
    pub bytes: u64,
    /// Its regular files, each name of a hard link counted.
    pub files: u64,
    /// Its parts, largest first, the rest at the end. Their bytes add up to its own, unless there are none.
    pub parts: Vec<Share>,
}

/// The files of an image by directory. Directories and files of fewer than `least` bytes are put together, and
/// a directory with nothing but another one in it is one with that.
#[must_use]
pub fn by_directory(view: &ImageView, least: u64) -> Share {
    let mut root = Node::default();
    let mut once = Once::default();
    for entry in view.entries().iter().filter(|entry| entry.node.kind.is_file()) {
        root.add(&entry.path, once.bytes(entry));
    }
    root.share(String::from("/"), least.max(1))
}

/// The files of an image by the package that owns them; those that none owns by directory. Packages, directories
/// and files of fewer than `least` bytes are put together.
#[must_use]
pub fn by_package(view: &ImageView, inventory: &Inventory, least: u64) -> Share {
    let least = least.max(1);
    let Owned {
        sizes,
        paths: owned,
        mut once,
    } = owned(view, inventory);
    let mut groups: BTreeMap<Ecosystem, Vec<Share>> = BTreeMap::new();
    for (package, (bytes, files)) in inventory.packages().iter().zip(sizes) {
        let share = leaf(
            ShareKind::Package,
            crate::printable_text(&package.name),
            bytes,
            files,
        );
        groups.entry(package.ecosystem).or_default().push(share);
    }
    let mut unowned = Node::default();
    let others = view.entries().iter().filter(|entry| entry.node.kind.is_file());
    for entry in others.filter(|entry| !owned.contains(entry.path.as_path())) {
        unowned.add(&entry.path, once.bytes(entry));
    }
    let groups = groups.into_iter();
    let mut parts: Vec<Share> = groups
        .map(|(ecosystem, packages)| {
            whole(
                ShareKind::Packages(ecosystem),
                String::new(),
                gather(packages, least),
            )
        })
        .filter(|group| group.bytes > 0)
        .collect();
    if unowned.bytes > 0 {
        let mut share = unowned.share(String::new(), least);
        share.kind = ShareKind::Unowned;
        // A chain of directories was joined to the empty name.
        if !share.name.is_empty() {
            let inner = Share {
                kind: ShareKind::Directory,
                ..share.clone()
            };
            (share.name, share.parts) = (String::new(), vec![inner]);
        }
        parts.push(share);
    }
    sort(&mut parts);
    whole(ShareKind::Directory, String::from("/"), parts)
}

/// Bytes of the files of each package, in the order of [`Inventory::packages`]. A file that several packages name
/// counts for the first of them: Debian's before those of languages, an archive before what is packed into it.
#[must_use]
pub fn package_sizes(view: &ImageView, inventory: &Inventory) -> Vec<u64> {
    let sizes = owned(view, inventory).sizes;
    sizes.into_iter().map(|(bytes, _)| bytes).collect()
}

/// What packages own of an image.
struct Owned<'v> {
    /// Bytes and files of each package.
    sizes: Vec<(u64, u64)>,
    paths: HashSet<&'v Path>,
    once: Once,
}

fn owned<'v>(view: &'v ImageView, inventory: &Inventory) -> Owned<'v> {
    let mut owned = Owned {
        sizes: vec![(0, 0); inventory.packages().len()],
        paths: HashSet::new(),
        once: Once::default(),
    };
    let (packed, whole): (Vec<_>, Vec<_>) = inventory
        .packages()
        .iter()
        .enumerate()
        .partition(|(_, package)| package.member.is_some());
    for (at, _) in whole.into_iter().chain(packed) {
        for file in inventory.files(at) {
            let entry = view.get(&file.path).filter(|entry| entry.node.kind.is_file());
            if let Some(entry) = entry.filter(|entry| owned.paths.insert(&entry.path)) {
                let (bytes, files) = &mut owned.sizes[at];
                *bytes += owned.once.bytes(entry);
                *files += 1;
            }
        }
    }
    owned
}

/// Bytes of hard links are counted at their first name.
#[derive(Default)]
struct Once {
    seen: HashSet<usize>,
}

impl Once {
    fn bytes(&mut self, entry: &Entry) -> u64 {
        let first = entry.link_group.is_none_or(|group| self.seen.insert(group));
        if first { entry.size() } else { 0 }
    }
}

/// A directory or file while sizes are added up.
#[derive(Default)]
struct Node<'p> {
    bytes: u64,
    files: u64,
    is_file: bool,
    children: BTreeMap<&'p OsStr, Node<'p>>,
}

impl<'p> Node<'p> {
    fn add(&mut self, path: &'p Path, bytes: u64) {
        let mut node = self;
        node.bytes += bytes;
        node.files += 1;
        for part in path.components() {
            if let Component::Normal(name) = part {
                node = node.children.entry(name).or_default();
                node.bytes += bytes;
                node.files += 1;
            }
        }
        node.is_file = true;
    }

    /// Goes as deep as the path of a file, which the kernel limits to 4096 bytes.
    fn share(&self, name: String, least: u64) -> Share {
        if self.is_file {
            return leaf(ShareKind::File, name, self.bytes, self.files);
        }
        let (large, small): (Vec<_>, Vec<_>) =
            self.children.iter().partition(|(_, child)| child.bytes >= least);
        if let ([(inner, child)], true) = (large.as_slice(), small.iter().all(|(_, child)| child.bytes == 0))
            && !child.is_file
        {
            let name = format!("{}/{}", name.trim_end_matches('/'), printable(inner));
            let mut share = child.share(name, least);
            share.files = self.files;
            return share;
        }
        let mut parts: Vec<Share> = large
            .into_iter()
            .map(|(inner, child)| child.share(printable(inner), least))
            .collect();
        sort(&mut parts);
        let small = small.into_iter().map(|(_, child)| (child.bytes, child.files));
        parts.extend(rest(small).filter(|_| !parts.is_empty()));
        Share {
            parts,
            ..leaf(ShareKind::Directory, name, self.bytes, self.files)
        }
    }
}

fn leaf(kind: ShareKind, name: String, bytes: u64, files: u64) -> Share {
    Share {
        kind,
        name,
        bytes,
        files,
        parts: Vec::new(),
    }
}

fn whole(kind: ShareKind, name: String, parts: Vec<Share>) -> Share {
    let bytes = parts.iter().map(|part| part.bytes).sum();
    let files = parts.iter().map(|part| part.files).sum();
    Share {
        parts,
        ..leaf(kind, name, bytes, files)
    }
}

/// Largest first, those of fewer than `least` bytes as one.
fn gather(shares: Vec<Share>, least: u64) -> Vec<Share> {
    let (mut large, small): (Vec<_>, Vec<_>) = shares.into_iter().partition(|share| share.bytes >= least);
    sort(&mut large);
    large.extend(rest(small.iter().map(|share| (share.bytes, share.files))));
    large
}

/// Bytes and files put together; none when there are no bytes.
fn rest(small: impl Iterator<Item = (u64, u64)>) -> Option<Share> {
    let (bytes, files) = small.fold((0, 0), |(bytes, files), (more, names)| {
        (bytes + more, files + names)
    });
    (bytes > 0).then(|| leaf(ShareKind::Rest, String::new(), bytes, files))
}

fn sort(shares: &mut [Share]) {
    shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    /// A share as text: `NAME=BYTES/FILES(PARTS)`.
    fn text(share: &Share) -> String {
        let parts: Vec<String> = share.parts.iter().map(text).collect();
        let name = match share.kind {
            ShareKind::Rest => "...".to_owned(),
            ShareKind::Packages(_) => "packages".to_owned(),
            ShareKind::Unowned => "unowned".to_owned(),
            _ => share.name.clone(),
        };
        let parts = if parts.is_empty() {
            String::new()
        } else {
            format!("({})", parts.join(" "))
        };
        format!("{name}={}/{}{parts}", share.bytes, share.files)
    }

    fn world() -> World {
        let mut world = World::new();
        world.files(
            "COPY",
            &[
                ("usr/lib/deep/libc.so", "0123456789"),
                ("usr/lib/deep/small", "1"),
                ("app/server", "01234"),
                ("etc/a", "1"),
                ("etc/b", "2"),
                ("var/lib/dpkg/status.d/libc6", "Package: libc6\nVersion: 1\n"),
                (
                    "var/lib/dpkg/status.d/libc6.md5sums",
                    "0123456789abcdef0123456789abcdef  usr/lib/deep/libc.so\n\
                     0123456789abcdef0123456789abcdef  usr/lib/deep/gone\n",
                ),
            ],
        );
        let link = |root: &Path| {
            std::fs::create_dir_all(root.join("opt")).unwrap();
            std::fs::write(root.join("opt/one"), "1234567").unwrap();
            std::fs::hard_link(root.join("opt/one"), root.join("opt/two")).unwrap();
        };
        world.layer("RUN", link, |_| {});
        world
    }

    #[test]
    fn directories_add_up_and_small_ones_are_put_together() {
        let world = world();
        let view = world.view();
        let share = by_directory(&view, 5);
        assert_eq!(
            text(&share),
            "/=167/9(var/lib/dpkg/status.d=143/2(libc6.md5sums=117/1 libc6=26/1) \
             usr/lib/deep=11/2(libc.so=10/1 ...=1/1) opt=7/2(one=7/1) app=5/1(server=5/1) ...=2/2)"
                .replace("143/2(libc6.md5sums=117/1 libc6=26/1)", &dpkg(&view))
                .replace("/=167", &format!("/={}", view.size()))
        );
        assert_eq!(share.bytes, view.size());
    }

    /// The part of the package records, whose size is not the point.
    fn dpkg(view: &ImageView) -> String {
        let size = |name: &str| {
            view.get(&Path::new("/var/lib/dpkg/status.d").join(name))
                .map_or(0, Entry::size)
        };
        let (record, sums) = (size("libc6"), size("libc6.md5sums"));
        format!("{}/2(libc6.md5sums={sums}/1 libc6={record}/1)", record + sums)
    }

    #[test]
    fn packages_have_their_files_and_the_others_their_directories() {
        let world = world();
        let view = world.view();
        let inventory = Inventory::read(&view).unwrap();
        let share = by_package(&view, &inventory, 5);
        assert_eq!(share.bytes, view.size());
        let groups: Vec<String> = share.parts.iter().map(text).collect();
        assert_eq!(groups.len(), 2, "{groups:?}");
        assert!(groups[0].starts_with("unowned="), "{groups:?}");
        assert_eq!(groups[1], "packages=10/1(libc6=10/1)");
    }

    #[test]
    fn one_folder_alone_is_still_not_owned() {
        let mut world = World::new();
        world.files("COPY", &[("srv/app/a", "12345"), ("srv/app/b", "123456")]);
        let view = world.view();
        let share = by_package(&view, &Inventory::read(&view).unwrap(), 1);
        assert_eq!(text(&share), "/=11/2(unowned=11/2(/srv/app=11/2(b=6/1 a=5/1)))");
        assert_eq!(text(&by_directory(&view, 100)), "/=11/2");
        assert_eq!(text(&by_directory(&World::new().view(), 1)), "/=0/0");
    }
}
