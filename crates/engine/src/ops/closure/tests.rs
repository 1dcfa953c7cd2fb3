use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use distil_elf::closure::Reason;
use distil_elf::{Closure, Stage};
use distil_rootfs::{CopyReport, CopySpec, DirTree, FileMode, MergedTree, Owner, Tree, Upper, UpperOptions};
use tempfile::TempDir;

use super::packages;
use super::place::{PlaceError, Placing, place};
use super::plan::{Plan, PlanTree};

/// Makes a tree: `name/` is a directory, `name -> target` a link, anything else a file.
fn tree(lines: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for line in lines {
        let (name, target) = line
            .split_once(" -> ")
            .map_or((*line, None), |(name, to)| (name, Some(to)));
        let path = dir.path().join(name.trim_end_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, path).unwrap(),
            None if name.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, name).unwrap(),
        }
    }
    dir
}

/// The closure of these paths as the walk gives it for plain files, with every alias on the way.
fn closure(source: &TempDir, paths: &[&str]) -> Closure {
    let tree = DirTree::open(source.path()).unwrap();
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    Closure::of(&tree, &paths, &AtomicBool::new(false)).unwrap()
}

struct Case {
    source: TempDir,
    target: TempDir,
    closure: Closure,
    dest: &'static str,
    owner: Option<Owner>,
    mode: FileMode,
}

impl Case {
    fn new(source: &[&str], target: &[&str], paths: &[&str]) -> Self {
        let source = tree(source);
        let closure = closure(&source, paths);
        Self {
            source,
            target: tree(target),
            closure,
            dest: "/",
            owner: None,
            mode: FileMode::Keep,
        }
    }

    fn plan(&self) -> Result<Plan, PlaceError> {
        let source = DirTree::open(self.source.path()).unwrap();
        let target = DirTree::open(self.target.path()).unwrap();
        place(&Placing {
            source: &Stage::new(&source),
            target: &Stage::new(&target),
            closure: &self.closure,
            dest: Path::new(self.dest),
            owner: self.owner,
            mode: &self.mode,
        })
    }

    /// Copies it and gives the layer: each path with what it is.
    fn layer(&self) -> (TempDir, BTreeMap<String, String>) {
        let plan = self.plan().unwrap();
        let source: Arc<dyn Tree> = Arc::new(DirTree::open(self.source.path()).unwrap());
        let lower = MergedTree::open(&[self.target.path()]).unwrap();
        let layer = tempfile::tempdir().unwrap();
        let upper = Upper::open(&lower, layer.path(), UpperOptions::default()).unwrap();
        let plan = PlanTree::new(source, Arc::new(lower.clone()), plan);
        let spec = CopySpec {
            allow_wildcard: false,
            follow_symlink: false,
            ..CopySpec::new("/", "/")
        };
        upper.copy(&plan, &spec, &mut CopyReport::default()).unwrap();
        let found = listed(layer.path(), layer.path());
        (layer, found)
    }
}

fn listed(root: &Path, dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("/{}", path.strip_prefix(root).unwrap().display());
        if let Ok(target) = fs::read_link(&path) {
            found.insert(name, format!("-> {}", target.display()));
        } else if path.is_dir() {
            found.insert(name, "dir".into());
            found.extend(listed(root, &path));
        } else {
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn lines(found: &BTreeMap<String, String>) -> Vec<String> {
    found
        .iter()
        .filter(|(_, what)| *what != "dir")
        .map(|(path, what)| format!("{path} {what}"))
        .collect()
}

#[test]
fn onto_nothing_every_link_is_there() {
    let case = Case::new(
        &[
            "usr/lib/libx.so.1.2",
            "usr/lib/libx.so.1 -> libx.so.1.2",
            "lib -> usr/lib",
        ],
        &[],
        &["/lib/libx.so.1"],
    );
    let expected = [
        "/lib -> usr/lib",
        "/usr/lib/libx.so.1 -> libx.so.1.2",
        "/usr/lib/libx.so.1.2 usr/lib/libx.so.1.2",
    ];
    assert_eq!(lines(&case.layer().1), expected);
}

#[test]
fn a_merged_usr_onto_a_split_one_keeps_the_directory_and_links_into_it() {
    let case = Case::new(
        &["usr/lib/libx.so.1", "lib -> usr/lib"],
        &["lib/libx.so.1", "lib/other"],
        &["/lib/libx.so.1"],
    );
    // The path that a loader opens leads to what was brought.
    let expected = [
        "/lib/libx.so.1 -> ../usr/lib/libx.so.1",
        "/usr/lib/libx.so.1 usr/lib/libx.so.1",
    ];
    assert_eq!(lines(&case.layer().1), expected);
}

#[test]
fn what_a_split_usr_has_is_not_brought_twice() {
    let mut case = Case::new(
        &[
            "usr/lib/libx.so.1.2",
            "usr/lib/libx.so.1 -> libx.so.1.2",
            "lib -> usr/lib",
        ],
        &["lib/libx.so.1.2", "lib/libx.so.1 -> libx.so.1.2"],
        &["/lib/libx.so.1"],
    );
    let old = lines(&case.layer().1);
    assert!(
        old.contains(&"/usr/lib/libx.so.1.2 usr/lib/libx.so.1.2".to_owned()),
        "{old:?}"
    );
    // The same bytes.
    fs::write(case.target.path().join("lib/libx.so.1.2"), "usr/lib/libx.so.1.2").unwrap();
    for reason in case.closure.members.values_mut() {
        if *reason == Reason::Named {
            *reason = Reason::Loader;
        }
    }
    let expected = [
        "/usr/lib/libx.so.1 -> libx.so.1.2",
        "/usr/lib/libx.so.1.2 -> ../../lib/libx.so.1.2",
    ];
    assert_eq!(lines(&case.layer().1), expected);
}

#[test]
fn no_link_is_needed_where_the_loader_looks_in_both_places() {
    let lines_of = |target: &str| {
        let mut case = Case::new(
            &["usr/lib/libx.so.1", "lib -> usr/lib"],
            &[target],
            &["/lib/libx.so.1"],
        );
        case.closure.searched.insert("/lib/libx.so.1".into());
        lines(&case.layer().1)
    };
    assert_eq!(lines_of("lib/other"), ["/usr/lib/libx.so.1 usr/lib/libx.so.1"]);
    assert_eq!(lines_of("lib/libx.so.1").len(), 2);
}

#[test]
fn a_split_usr_onto_a_merged_one_goes_through_the_links() {
    let case = Case::new(
        &["lib/libx.so.1", "lib64/ld.so -> ../lib/libx.so.1"],
        &[
            "usr/lib/old",
            "usr/lib64/",
            "lib -> usr/lib",
            "lib64 -> usr/lib64",
        ],
        &["/lib64/ld.so"],
    );
    let (_, found) = case.layer();
    assert_eq!(
        lines(&found),
        [
            "/usr/lib/libx.so.1 lib/libx.so.1",
            "/usr/lib64/ld.so -> ../lib/libx.so.1"
        ]
    );
    assert!(!found.contains_key("/lib"));
}

#[test]
fn a_destination_is_put_in_front_of_every_path() {
    let mut case = Case::new(
        &["usr/bin/tool", "bin -> usr/bin"],
        &["opt -> srv/opt"],
        &["/bin/tool"],
    );
    case.dest = "/opt/root";
    let expected = [
        "/srv/opt/root/bin -> usr/bin",
        "/srv/opt/root/usr/bin/tool usr/bin/tool",
    ];
    assert_eq!(lines(&case.layer().1), expected);
}

#[test]
fn directories_of_the_destination_stay_as_they_are() {
    let case = Case::new(
        &["etc/tool/a", "etc/tool/empty/"],
        &["etc/passwd"],
        &["/etc/tool"],
    );
    let set = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(case.target.path().join("etc"), 0o700);
    set(case.source.path().join("etc"), 0o711);
    set(case.source.path().join("etc/tool"), 0o750);
    let (layer, found) = case.layer();
    let mode = |path: &str| {
        fs::metadata(layer.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("etc"), 0o700);
    assert_eq!(mode("etc/tool"), 0o750);
    assert_eq!(found["/etc/tool/empty"], "dir");
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let lines_of = |target: &str| {
        let mut case = Case::new(
            &["lib/libx.so", "bin/tool"],
            &[target, "bin/tool"],
            &["/bin/tool"],
        );
        let needed_by = "/bin/tool".into();
        case.closure
            .members
            .insert("/lib/libx.so".into(), Reason::Library { needed_by });
        lines(&case.layer().1)
    };
    // What was named is written in any case.
    assert_eq!(lines_of("lib/libx.so"), ["/bin/tool bin/tool"]);
    assert_eq!(lines_of("lib/other.so").len(), 2);
}

#[test]
fn what_is_in_the_way_is_an_error() {
    let case = Case::new(&["etc/tool"], &["etc/tool/"], &["/etc/tool"]);
    let error = case.plan().unwrap_err().to_string();
    assert!(
        error.starts_with("`/etc/tool` cannot be put at `/etc/tool`, where a directory is"),
        "{error}"
    );
    let case = Case::new(&["etc/tool"], &["etc"], &["/etc/tool"]);
    let error = case.plan().unwrap_err().to_string();
    assert!(
        error.contains("needs a directory at `/etc`, where something else is"),
        "{error}"
    );
    // A link that leads round.
    let case = Case::new(&["etc/tool"], &["etc -> ete", "ete -> etc"], &["/etc/tool"]);
    assert!(case.plan().is_err());
    // A link that leads out stays inside.
    let case = Case::new(&["etc/tool"], &["etc -> ../../../inside"], &["/etc/tool"]);
    assert_eq!(lines(&case.layer().1), ["/inside/tool etc/tool"]);
}

#[test]
fn owner_and_mode_are_for_what_was_named() {
    let mut case = Case::new(&["bin/tool", "lib/libx.so"], &[], &["/bin/tool", "/lib/libx.so"]);
    let library = Reason::Library {
        needed_by: "/bin/tool".into(),
    };
    case.closure.members.insert("/lib/libx.so".into(), library);
    case.owner = Some(Owner { uid: 7, gid: 8 });
    case.mode = FileMode::Octal(0o500);
    let plan = case.plan().unwrap();
    let node = |path: &str| plan[Path::new(path)].node();
    let named = node("/bin/tool");
    assert_eq!((named.uid, named.gid, named.mode), (7, 8, 0o500));
    assert_ne!(node("/lib/libx.so").mode, 0o500);
    assert_ne!(node("/bin").mode, 0o500);
}

#[test]
fn packages_are_told_of_by_the_files_that_came() {
    let source = tree(&[
        "usr/lib/libx.so.1",
        "usr/bin/tool",
        "lib -> usr/lib",
        "var/lib/dpkg/info/",
    ]);
    let write =
        |name: &str, text: &str| fs::write(source.path().join("var/lib/dpkg").join(name), text).unwrap();
    write(
        "status",
        "Package: libx\nStatus: install ok installed\nVersion: 1\nConffiles:\n /etc/x 00\nDescription: x\n more\n\n\
         Package: tool\nStatus: install ok installed\nVersion: 2\n\nPackage: gone\nStatus: deinstall ok config-files\n",
    );
    write("info/libx:amd64.list", "/.\n/lib\n/lib/libx.so.1\n");
    write(
        "info/libx:amd64.md5sums",
        "0123456789abcdef0123456789abcdef  lib/libx.so.1\n0123456789abcdef0123456789abcdef  usr/share/doc/x\n",
    );
    // The directory /lib is a link that came along, which makes it nobody's file.
    write("info/tool.list", "/.\n/lib\n/usr/bin/tool\n");
    write("info/gone.list", "/lib/libx.so.1\n");
    let closure = closure(&source, &["/lib/libx.so.1"]);
    let dir = DirTree::open(source.path()).unwrap();
    let found = packages::of(&Stage::new(&dir), &closure).unwrap();
    let shown: Vec<_> = found.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(shown, ["libx"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        text(&found[0].control),
        "Package: libx\nVersion: 1\nDescription: x\n more\n"
    );
    assert_eq!(
        text(&found[0].md5sums),
        "0123456789abcdef0123456789abcdef  lib/libx.so.1\n"
    );

    // The same of a stage that has no package manager itself.
    fs::rename(
        source.path().join("var/lib/dpkg"),
        source.path().join("var/lib/old"),
    )
    .unwrap();
    let status_d = source.path().join("var/lib/dpkg/status.d");
    fs::create_dir_all(&status_d).unwrap();
    for (name, package) in found.iter().map(|package| (&package.name, package)) {
        fs::write(status_d.join(name), &package.control).unwrap();
        fs::write(status_d.join(format!("{name}.md5sums")), &package.md5sums).unwrap();
    }
    fs::write(status_d.join("other"), "Package: other\n").unwrap();
    let again = packages::of(&Stage::new(&dir), &closure).unwrap();
    let shown: Vec<_> = again.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(shown, ["libx"]);
    assert_eq!(
        (&again[0].control, &again[0].md5sums),
        (&found[0].control, &found[0].md5sums)
    );
}
