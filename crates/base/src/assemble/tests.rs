//! Small packages, made here, assembled into a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use distil_debian::{PackageIdentity, PackageStore, WantedPackage};
use distil_oci::{Digest, Platform};
use tempfile::TempDir;

use super::*;
use crate::DebianRelease;
use crate::recipe::{
    Accounts, Exclude, FileContent, ImageSpec, InputMember, Owner, Resolve, RunSettings, SpecDirectory,
    SpecFile, SpecSymlink, UpstreamInput, UserAccount, Variant,
};
use crate::selection::SelectedPackage;

mod added;

/// A path with what is there: a directory ends with `/`, a link has `->`.
type Files<'a> = &'a [(&'a str, &'a str)];

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        out.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                bytes.len()
            )
            .bytes(),
        );
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

fn tar(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o644);
        header.set_size(0);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            builder.append_data(&mut header, path, &[][..]).unwrap();
        } else if let Some(target) = content.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, path, target).unwrap();
        } else if let Some(target) = content.strip_prefix("=> ") {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, path, target).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// Packages in a store, and an image of all of them.
struct World {
    directory: TempDir,
    packages: Vec<Arc<StoredPackage>>,
    selection: Selection,
}

fn spec() -> ImageSpec {
    ImageSpec {
        name: "test".to_owned(),
        recipes: Vec::new(),
        release: DebianRelease::Bookworm,
        architecture: "amd64".to_owned(),
        variant: Variant::default(),
        debian_suites: true,
        sources: Vec::new(),
        packages: Vec::new(),
        resolve: Resolve::Listed,
        derived: Vec::new(),
        inputs: Vec::new(),
        accounts: Accounts::default(),
        files: Vec::new(),
        directories: Vec::new(),
        symlinks: Vec::new(),
        excludes: Vec::new(),
        run: RunSettings::default(),
        notes: Vec::new(),
        differs: None,
        merged_usr: false,
        layout: Layout::Merged,
    }
}

impl World {
    /// `None` where files of root cannot be made.
    fn new(packages: &[(&str, &str, Files<'_>)]) -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let mut world = World {
            directory: tempfile::tempdir().unwrap(),
            packages: Vec::new(),
            selection: Selection {
                spec: spec(),
                platform: "linux/amd64".parse::<Platform>().unwrap(),
                packages: Vec::new(),
                releases: Vec::new(),
                epoch: 0,
            },
        };
        for (name, fields, files) in packages {
            world.add(name, fields, files);
        }
        Some(world)
    }

    fn add(&mut self, name: &str, fields: &str, files: Files<'_>) {
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n{fields}");
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &tar(&[("control", &control), ("md5sums", "sums")])),
            ("data.tar", &tar(files)),
        ]);
        let deb = self.directory.path().join(format!("{name}.deb"));
        fs::write(&deb, &bytes).unwrap();
        let wanted = WantedPackage {
            deb,
            sha256: Digest::sha256(&bytes),
            identity: PackageIdentity {
                name: name.to_owned(),
                version: "1".to_owned(),
                architecture: "amd64".to_owned(),
            },
        };
        let store = PackageStore::open(&self.directory.path().join("store"), "", "boot").unwrap();
        self.packages
            .push(store.get(&wanted, 1, &AtomicBool::new(false)).unwrap());
        self.selection.packages.push(SelectedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            source: name.to_owned(),
            source_version: "1".to_owned(),
            suite: "bookworm".to_owned(),
            archive_url: None,
            filename: String::new(),
            size: 0,
            sha256: Digest::sha256(&bytes),
            multi_arch: String::new(),
            reason: Reason::Requested,
            omitted: Vec::new(),
            id: None,
        });
    }

    fn spec(&mut self) -> &mut ImageSpec {
        &mut self.selection.spec
    }

    fn compose(&self, inputs: &[PathBuf]) -> Result<Composed, AssembleError> {
        let parts = Parts {
            packages: &self.packages,
            inputs,
        };
        compose(&self.selection, &parts)
    }

    /// Writes layer `number` and lists it: directories end with a slash.
    fn layer(&self, composed: &Composed, number: usize) -> BTreeMap<String, String> {
        let target = self.directory.path().join(format!("layer{number}"));
        fs::create_dir(&target).unwrap();
        let never = AtomicBool::new(false);
        let written = composed.write_layer(number, &target, 2, &never).unwrap();
        // The tar that was made without the directory is the directory's.
        if let Some(tar) = composed.layer_tar(number, || false).unwrap() {
            let options = distil_layer::TarOptions::default();
            let walked = distil_layer::write_tar(&target, &written.links, options, io::sink()).unwrap();
            assert_eq!(tar, walked);
        }
        let mut listed = BTreeMap::new();
        list(&target, Path::new(""), &mut listed);
        listed
    }

    fn only_layer(&self) -> BTreeMap<String, String> {
        self.layer(&self.compose(&[]).unwrap(), 0)
    }
}

fn list(root: &Path, below: &Path, out: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        let path = root.join(&name);
        let meta = fs::symlink_metadata(&path).unwrap();
        let shown = name.display().to_string();
        let facts = format!(
            "{:o} {}:{} {}",
            meta.mode() & 0o7777,
            meta.uid(),
            meta.gid(),
            meta.mtime()
        );
        if meta.is_dir() {
            out.insert(format!("{shown}/"), facts);
            list(root, &name, out);
        } else if meta.is_symlink() {
            out.insert(
                shown,
                format!("-> {} {}", fs::read_link(&path).unwrap().display(), meta.mtime()),
            );
        } else {
            out.insert(shown, format!("{facts} {}", fs::read_to_string(&path).unwrap()));
        }
    }
}

const STATUS: &str = "var/lib/dpkg/status.d";

#[test]
fn packages_are_registered_and_parents_made() {
    let Some(world) = World::new(&[("aa", "", &[("usr/", ""), ("usr/x", "1")])]) else {
        return;
    };
    let files = world.only_layer();
    assert_eq!(files["usr/"], "755 0:0 1000");
    assert_eq!(files["usr/x"], "644 0:0 1000 1");
    assert_eq!(files["var/lib/"], "755 0:0 0");
    assert_eq!(
        files[&format!("{STATUS}/aa")],
        "644 0:0 1000 Package: aa\nVersion: 1\nArchitecture: amd64\n"
    );
    assert_eq!(files[&format!("{STATUS}/aa.md5sums")], "644 0:0 1000 sums");
    // A file of a package is a link to the store's, so it costs nothing twice.
    let meta = fs::metadata(world.directory.path().join("layer0/usr/x")).unwrap();
    assert_eq!(meta.nlink(), 2);
}

#[test]
fn a_file_in_two_packages_is_an_error_unless_one_replaces() {
    let files: Files<'_> = &[("usr/", ""), ("usr/x", "1")];
    let other: Files<'_> = &[("usr/", ""), ("usr/x", "2")];
    for (first, second, expected) in [
        ("", "", Err("package `aa` and package `bb` both contain `/usr/x`")),
        ("", "Replaces: aa\n", Ok("644 0:0 1000 2")),
        ("Replaces: bb\n", "", Ok("644 0:0 1000 1")),
        ("", "Replaces: aa (<< 1)\n", Err("both contain")),
    ] {
        let Some(world) = World::new(&[("aa", first, files), ("bb", second, other)]) else {
            return;
        };
        match (world.compose(&[]), expected) {
            (Ok(_), Ok(expected)) => assert_eq!(world.only_layer()["usr/x"], expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (result, _) => panic!("{first}{second}: {result:?}"),
        }
    }
}

#[test]
fn what_is_below_a_link_goes_where_it_leads() {
    let base: Files<'_> = &[("lib", "-> usr/lib"), ("usr/", ""), ("usr/lib/", "")];
    let library: Files<'_> = &[
        ("lib/", ""),
        ("lib/x/", ""),
        ("lib/x/so", "1"),
        ("lib/y", "-> x/so"),
    ];
    let Some(mut world) = World::new(&[("a-library", "", library), ("base", "", base)]) else {
        return;
    };
    let merged = world.only_layer();
    assert_eq!(merged["lib"], "-> usr/lib 1000");
    assert_eq!(merged["usr/lib/x/so"], "644 0:0 1000 1");
    assert_eq!(merged["usr/lib/y"], "-> x/so 1000");
    // No layer has a directory where another has the link.
    world.spec().layout = Layout::PerPackage;
    fs::remove_dir_all(world.directory.path().join("layer0")).unwrap();
    let composed = world.compose(&[]).unwrap();
    assert_eq!(composed.layers(), 3);
    let layers: Vec<_> = (0..3).map(|number| world.layer(&composed, number)).collect();
    assert!(!layers[0].contains_key("lib/") && layers[0].contains_key("usr/lib/x/so"));
    assert!(layers[1].contains_key("lib"));
    let all: BTreeMap<_, _> = layers.into_iter().flatten().collect();
    assert_eq!(all, merged);
}

#[test]
fn the_tree_is_merged_where_the_recipe_says_so() {
    let files: Files<'_> = &[
        ("bin/", ""),
        ("bin/x", "1"),
        ("lib64/", ""),
        ("lib64/ld", "2"),
        ("usr/bin/", ""),
    ];
    let Some(mut world) = World::new(&[("aa", "", files)]) else {
        return;
    };
    world.spec().merged_usr = true;
    let found = world.only_layer();
    assert_eq!(found["bin"], "-> usr/bin 0");
    assert_eq!(found["usr/bin/x"], "644 0:0 1000 1");
    assert_eq!(found["usr/lib64/ld"], "644 0:0 1000 2");
    assert_eq!(found["usr/bin/"], "755 0:0 1000");
}

#[test]
fn excludes_leave_no_empty_directories() {
    let files: Files<'_> = &[
        ("usr/share/doc/a/", ""),
        ("usr/share/doc/a/copyright", "c"),
        ("usr/share/doc/a/changelog", "l"),
        ("usr/share/man/", ""),
        ("usr/share/man/man1/", ""),
        ("usr/share/man/man1/a.1", "m"),
        ("usr/share/empty/", ""),
    ];
    let Some(mut world) = World::new(&[("aa", "", files)]) else {
        return;
    };
    world.spec().excludes = vec![
        Exclude {
            name: "doc".to_owned(),
            patterns: vec!["/usr/share/doc/*".to_owned()],
            except: vec!["/usr/share/doc/*/copyright".to_owned()],
        },
        Exclude {
            name: "man".to_owned(),
            patterns: vec!["/usr/share/man/*".to_owned()],
            except: Vec::new(),
        },
    ];
    let found = world.only_layer();
    let below: Vec<&String> = found
        .keys()
        .filter(|path| path.starts_with("usr/share/"))
        .collect();
    assert_eq!(
        below,
        [
            "usr/share/",
            "usr/share/doc/",
            "usr/share/doc/a/",
            "usr/share/doc/a/copyright",
            "usr/share/empty/"
        ]
    );
    let config = image_config(&world.selection);
    assert_eq!(config.config.labels[EXCLUDED_LABEL], "doc,man");
}

#[test]
fn the_recipe_wins_and_writes_through_links() {
    let files: Files<'_> = &[
        ("etc/os-release", "-> ../usr/lib/os-release"),
        ("usr/lib/os-release", "old"),
        ("usr/x/", ""),
    ];
    let Some(mut world) = World::new(&[("aa", "", files)]) else {
        return;
    };
    let owner = Owner {
        uid: 65532,
        gid: 65532,
    };
    let spec = world.spec();
    spec.files = vec![SpecFile {
        path: "/etc/os-release".to_owned(),
        mode: 0o644,
        owner: Owner::default(),
        content: FileContent::Text("new".to_owned()),
    }];
    spec.directories = vec![SpecDirectory {
        path: "/home/nonroot".to_owned(),
        mode: 0o700,
        owner,
    }];
    spec.symlinks = vec![SpecSymlink {
        path: "/usr/bin/python".to_owned(),
        target: "/usr/bin/python3".to_owned(),
    }];
    spec.accounts.users = vec![UserAccount {
        name: "root".to_owned(),
        uid: 0,
        gid: 0,
        comment: "root".to_owned(),
        home: "/root".to_owned(),
        shell: "/sbin/nologin".to_owned(),
    }];
    let found = world.only_layer();
    assert_eq!(found["etc/os-release"], "-> ../usr/lib/os-release 1000");
    assert_eq!(found["usr/lib/os-release"], "644 0:0 0 new");
    assert_eq!(found["home/nonroot/"], "700 65532:65532 0");
    assert_eq!(found["usr/bin/python"], "-> /usr/bin/python3 0");
    assert_eq!(
        found["etc/passwd"],
        "644 0:0 0 root:x:0:0:root:/root:/sbin/nologin\n"
    );
    world.spec().files[0].path = "/usr/x".to_owned();
    let error = world.compose(&[]).unwrap_err().to_string();
    assert!(
        error.contains("`/usr/x` of the recipe: a directory stands in its place"),
        "{error}"
    );
}

#[test]
fn hard_links_and_members_of_archives() {
    let files: Files<'_> = &[("usr/", ""), ("usr/a", "1"), ("usr/b", "=> usr/a")];
    let Some(mut world) = World::new(&[("aa", "", files)]) else {
        return;
    };
    let archive = world.directory.path().join("node.tar");
    fs::write(
        &archive,
        tar(&[
            ("node-v1/", ""),
            ("node-v1/bin/node", "program"),
            ("node-v1/npm", "no"),
        ]),
    )
    .unwrap();
    let member = |from: &str| InputMember {
        from: from.to_owned(),
        to: "/nodejs/bin/node".to_owned(),
        mode: 0o755,
    };
    let input = |from: &str| UpstreamInput {
        name: "node".to_owned(),
        version: "1".to_owned(),
        url: "https://example.org/node.tar".to_owned(),
        size: None,
        sha256: Digest::sha256(b""),
        members: vec![member(from)],
        purl: None,
        license: Some("MIT".to_owned()),
        supplier: None,
    };
    world.spec().inputs = vec![input("node-v1/bin/node")];
    let purl = "pkg:generic/node@1?checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\
        &download_url=https://example.org/node.tar";
    let annotations = manifest_annotations(&world.selection);
    let inputs: serde_json::Value = serde_json::from_str(&annotations[INPUTS_ANNOTATION]).unwrap();
    assert_eq!(
        (&inputs[0]["purl"], &inputs[0]["license"]),
        (&purl.into(), &"MIT".into())
    );
    assert_eq!(inputs[0].get("supplier"), None);
    let composed = world.compose(std::slice::from_ref(&archive)).unwrap();
    let found = world.layer(&composed, 0);
    assert_eq!(found["nodejs/bin/node"], "755 0:0 0 program");
    assert!(!found.keys().any(|path| path.contains("npm")));
    let root = world.directory.path().join("layer0/usr");
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    world.spec().inputs = vec![input("bin/node")];
    let composed = world.compose(&[archive]).unwrap();
    let target = world.directory.path().join("failed");
    fs::create_dir(&target).unwrap();
    let error = composed
        .write_layer(0, &target, 1, &AtomicBool::new(false))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`https://example.org/node.tar` has no file `bin/node`"
    );
}

#[test]
fn hard_links_to_what_is_not_there() {
    let files: Files<'_> = &[("a/one", "text"), ("a/two", "=> a/one"), ("b/three", "=> a/one")];
    let Some(mut world) = World::new(&[("one", "", files)]) else {
        return;
    };
    world.spec().excludes = vec![Exclude {
        name: "one".to_owned(),
        patterns: vec!["/a/one".to_owned()],
        except: Vec::new(),
    }];
    let listed = world.only_layer();
    assert!(!listed.contains_key("a/one"));
    assert!(listed["a/two"].ends_with(" text") && listed["b/three"].ends_with(" text"));
    let inode = |name: &str| {
        let path = world.directory.path().join("layer0").join(name);
        fs::metadata(path).unwrap().ino()
    };
    assert_eq!(inode("a/two"), inode("b/three"));

    // The first name is the file of a package that replaces it.
    let world = World::new(&[
        ("one", "", files),
        ("other", "Replaces: one\n", &[("a/one", "other")]),
    ]);
    let listed = world.unwrap().only_layer();
    for (name, text) in [("a/one", " other"), ("a/two", " text"), ("b/three", " text")] {
        assert!(listed[name].ends_with(text), "{listed:?}");
    }

    // Or a file of the recipe.
    let mut world = World::new(&[("one", "", files)]).unwrap();
    world.spec().files = vec![SpecFile {
        path: "/a/one".to_owned(),
        mode: 0o644,
        owner: Owner::default(),
        content: FileContent::Text("other".to_owned()),
    }];
    let listed = world.only_layer();
    for (name, text) in [("a/one", " other"), ("a/two", " text"), ("b/three", " text")] {
        assert!(listed[name].ends_with(text), "{listed:?}");
    }
}

#[test]
fn links_in_a_circle_and_files_in_the_way() {
    let Some(world) = World::new(&[
        ("aa", "", &[("x", "-> y"), ("y", "-> x")]),
        ("bb", "", &[("x/z", "1")]),
    ]) else {
        return;
    };
    let error = world.compose(&[]).unwrap_err().to_string();
    assert!(error.contains("too many links"), "{error}");
    let Some(world) = World::new(&[("aa", "", &[("x", "1")]), ("bb", "", &[("x/z", "1")])]) else {
        return;
    };
    let error = world.compose(&[]).unwrap_err().to_string();
    assert_eq!(error, "`/x/z` cannot be in the image: `/x` is no directory");
    // A link out of the tree stays in it.
    let Some(world) = World::new(&[("aa", "", &[("x", "-> ../../y")]), ("bb", "", &[("x/z", "1")])]) else {
        return;
    };
    assert_eq!(world.only_layer()["y/z"], "644 0:0 1000 1");
}
