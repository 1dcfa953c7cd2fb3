//! Every family of distroless images, assembled from the archive that this machine's apt uses. Skipped without root
//! and where no archive can be reached. With `DISTIL_TEST_ALL=1` all families are made, for both architectures.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell what they skip"
)]

mod world;

use std::collections::BTreeMap;
use std::path::Path;

use distil_base::DebianRelease;
use distil_base::recipe::{
    FileContent, ImageSpec, Layout, Owner, RecipeChain, Request, SpecFile, Variant, builtins,
};
use distil_base::selection::{Reason, Selection};
use world::World;

/// Bytes of the contents of all files of upstream's package lists, which ours are not to exceed; amd64. Measured over
/// the archive of November 2026; later packages may be a little larger.
const SIZES: [(&str, DebianRelease, f64); 12] = [
    ("static", DebianRelease::Bookworm, 2.11),
    ("base-nossl", DebianRelease::Bookworm, 14.93),
    ("base", DebianRelease::Bookworm, 20.85),
    ("cc", DebianRelease::Bookworm, 23.68),
    ("python3", DebianRelease::Bookworm, 53.11),
    ("java17", DebianRelease::Bookworm, 226.7),
    ("static", DebianRelease::Trixie, 2.37),
    ("base-nossl", DebianRelease::Trixie, 15.40),
    ("base", DebianRelease::Trixie, 24.43),
    ("cc", DebianRelease::Trixie, 27.71),
    ("python3", DebianRelease::Trixie, 59.70),
    ("java21", DebianRelease::Trixie, 230.1),
];

/// By how much `slim` is to be smaller than that.
const SLIM: [(&str, f64); 5] = [
    ("base", 0.35),
    ("cc", 0.35),
    ("python3", 0.20),
    ("java17", 0.07),
    ("java21", 0.03),
];

fn spec(name: &str, release: DebianRelease, architecture: &str, tag: &str) -> ImageSpec {
    let request = Request {
        release: Some(release),
        architecture,
        variant: Variant::from_tag(tag).unwrap(),
    };
    RecipeChain::builtin(name).unwrap().compose(&request).unwrap()
}

/// Whether large images and all variants are made too.
fn all() -> bool {
    std::env::var_os("DISTIL_TEST_ALL").is_some()
}

/// The images that are quickly made.
const SMALL: [&str; 4] = ["static", "base-nossl", "base", "cc"];

/// All images with their releases.
fn families() -> Vec<(&'static str, DebianRelease)> {
    let images = builtins()
        .iter()
        .filter(|one| one.is_image && (all() || SMALL.contains(&one.name)));
    images
        .flat_map(|one| {
            let releases = RecipeChain::builtin(one.name).unwrap().releases();
            releases.into_iter().map(|release| (one.name, release))
        })
        .collect()
}

/// The tags and architectures of a family that are made: all of the small ones, one tag of the large ones, which
/// differ from tag to tag as the small ones do.
fn variants(name: &str) -> Vec<(&'static str, &'static str)> {
    if !all() {
        return vec![("latest", "amd64")];
    }
    let tags: &[&str] = match SMALL.contains(&name) {
        true => &["latest", "nonroot", "debug", "debug-nonroot", "slim"],
        false => &["latest"],
    };
    let architectures = ["amd64", "arm64"];
    architectures
        .iter()
        .flat_map(|architecture| tags.iter().map(|tag| (*tag, *architecture)))
        .collect()
}

/// Chooses the packages, or says why the test is skipped.
fn select(world: &World, spec: &ImageSpec) -> Option<Selection> {
    match world.select(spec) {
        Ok(selection) => Some(selection),
        Err(error) if error.contains("cannot be reached") || error.contains("cannot be downloaded") => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{}: {error}", spec.name),
    }
}

/// The same packages give the same image: in another store, with other packages unpacked before, in another order.
#[test]
fn every_family_twice() {
    let Some(first) = World::new() else { return };
    let mut made = BTreeMap::new();
    let mut selections = Vec::new();
    for (name, release) in families() {
        for (tag, architecture) in variants(name) {
            let Some(selection) = select(&first, &spec(name, release, architecture, tag)) else {
                return;
            };
            let base = first.make(&selection);
            assert!(!base.known, "{name}");
            made.insert((selection.spec.name.clone(), architecture), base.digest());
            selections.push(selection);
        }
    }
    let second = World::new().unwrap();
    for selection in selections.iter().rev() {
        let again = second.make(selection);
        let name = (selection.spec.name.clone(), selection.spec.architecture.as_str());
        assert_eq!(again.digest(), made[&name], "{name:?}");
        assert!(second.make(selection).known, "{name:?}");
    }
}

#[test]
fn sizes_are_at_most_those_of_upstreams_lists() {
    let Some(world) = World::new() else { return };
    let wanted = SIZES.iter().filter(|(name, ..)| all() || SMALL.contains(name));
    for (name, release, megabytes) in wanted.copied() {
        let Some(selection) = select(&world, &spec(name, release, "amd64", "latest")) else {
            return;
        };
        let size = world.size(&world.make(&selection));
        println!("{name} {}: {size:.2} MB of {megabytes}", release.codename());
        // Packages grow by a security update now and then.
        assert!(size <= megabytes * 1.01, "{name}: {size} MB, not {megabytes}");
        let Some((_, less)) = SLIM.iter().find(|(slim, _)| *slim == name) else {
            continue;
        };
        let Some(selection) = select(&world, &spec(name, release, "amd64", "slim")) else {
            return;
        };
        let slim = world.size(&world.make(&selection));
        println!(
            "{name} {} slim: {slim:.2} MB, {:.0} % less",
            release.codename(),
            100.0 * (1.0 - slim / megabytes)
        );
        assert!(slim <= megabytes * (1.0 - less), "{name}: {slim} MB slim");
    }
}

/// One layer a package: together they are the merged one.
#[test]
fn layers_of_packages_are_the_merged_layer_in_parts() {
    let Some(world) = World::new() else { return };
    let mut spec = spec("cc", DebianRelease::Trixie, "amd64", "nonroot");
    let Some(merged) = select(&world, &spec) else {
        return;
    };
    spec.layout = Layout::PerPackage;
    let apart = Selection {
        spec,
        ..merged.clone()
    };
    let (merged, apart) = (world.make(&merged), world.make(&apart));
    let layers = apart_layers(&world, &apart);
    assert_eq!(layers, 13 + 1, "a layer for each package, and one for the rest");
    assert_eq!(world.listing(&merged), world.listing(&apart));
}

fn apart_layers(world: &World, base: &distil_engine::MadeBase) -> usize {
    world.layers(base).len()
}

/// A recipe that adds to packages which were assembled before has what it adds alone in its directory, and gives the
/// image that it gives elsewhere.
#[test]
fn what_a_recipe_adds_lies_on_an_earlier_layer() {
    let Some(world) = World::new() else { return };
    let Some(plain) = select(
        &world,
        &spec("static", DebianRelease::Bookworm, "amd64", "latest"),
    ) else {
        return;
    };
    let with = |paths: &[&str]| {
        let mut more = plain.clone();
        let files = paths.iter().map(|path| SpecFile {
            path: (*path).to_owned(),
            mode: 0o644,
            owner: Owner { uid: 0, gid: 0 },
            content: FileContent::Text("of the recipe".to_owned()),
        });
        more.spec.files.extend(files);
        more
    };
    let (one, two) = (with(&["/etc/one"]), with(&["/etc/two", "/etc/three"]));
    let made = [&plain, &one, &two].map(|selection| world.make(selection));
    let first = world.layers(&made[0])[0];
    assert_eq!(
        world.own(&made[1]),
        (vec!["etc/".into(), "etc/one".into()], Some(first))
    );
    assert_eq!(
        world.own(&made[2]).1,
        Some(first),
        "nothing is added to an addition"
    );
    // In the other order something is always gone.
    let elsewhere = World::new().unwrap();
    for (number, selection) in [&two, &one, &plain].into_iter().enumerate() {
        let again = elsewhere.make(selection);
        let before = &made[2 - number];
        assert_eq!(again.digest(), before.digest());
        assert_eq!(elsewhere.own(&again).1, None);
        assert_eq!(elsewhere.listing(&again), world.listing(before));
        assert_eq!(elsewhere.size(&again), world.size(before));
    }
}

/// What upstream's tests ask of the contents, and what we do better.
#[test]
fn contents_are_as_documented() {
    let Some(world) = World::new() else { return };
    for release in DebianRelease::ALL {
        let Some(selection) = select(&world, &spec("base", release, "arm64", "debug-nonroot")) else {
            return;
        };
        let base = world.make(&selection);
        let files = world.listing(&base);
        let root = world.root(&base);
        check_static(&root, &files, release);
        assert!(files["usr/lib/ssl/cert.pem"].contains("/etc/ssl/certs/ca-certificates.crt"));
        check_metadata(&selection, &files);
        let commands = files.keys().filter(|path| path.starts_with("busybox/")).count();
        assert!(commands > 260, "{commands}");
        assert_eq!(files["busybox/sh"], "-> /busybox/busybox 0:0 0");
        let config = distil_oci::ImageConfig::from_json(&base.config).unwrap();
        assert_eq!(config.architecture, "arm64");
        assert_eq!(config.config.user, "65532");
        assert_eq!(config.config.working_dir, "/home/nonroot");
        assert_eq!(config.config.entrypoint, ["/busybox/sh"]);
        assert!(
            config.config.env[0].ends_with(":/busybox"),
            "{:?}",
            config.config.env
        );
        assert_eq!(
            config.config.env[1],
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"
        );
        assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(
            config.config.labels["distil.base.assembled"],
            selection.key().to_string()
        );
    }
}

fn check_static(root: &Path, files: &BTreeMap<String, String>, release: DebianRelease) {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let passwd = "root:x:0:0:root:/root:/sbin/nologin\n\
                  nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n\
                  nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
    assert_eq!(read("etc/passwd"), passwd);
    assert_eq!(
        read("etc/group"),
        "root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:65532:\n"
    );
    let os = read("usr/lib/os-release");
    let number = release.number();
    assert!(os.contains("PRETTY_NAME=\"Distroless\""));
    assert!(os.contains(&format!(
        "VERSION=\"Debian GNU/Linux {number} ({})\"",
        release.codename()
    )));
    assert!(files["etc/os-release"].starts_with("-> ../usr/lib/os-release"));
    for (path, expected) in [
        ("tmp/", "1777 0:0"),
        ("root/", "700 0:0"),
        ("home/", "755 0:0"),
        ("home/nonroot/", "700 65532:65532"),
        ("etc/nsswitch.conf", "644 0:0"),
        ("etc/ssl/certs/ca-certificates.crt", "644 0:0 0"),
        ("usr/lib/os-release", "644 0:0 0"),
    ] {
        assert!(files[path].starts_with(expected), "{path}: {}", files[path]);
    }
    let authorities = read("etc/ssl/certs/ca-certificates.crt")
        .matches("BEGIN CERTIFICATE")
        .count();
    assert!(authorities > 130, "{authorities}");
    for path in [
        "etc/services",
        "etc/mime.types",
        "etc/debian_version",
        "usr/share/doc/tzdata/copyright",
        "usr/share/doc/ca-certificates/copyright",
        "usr/share/zoneinfo/US/Pacific",
        "var/lib/dpkg/status.d/ca-certificates",
        "var/lib/dpkg/status.d/tzdata.md5sums",
    ] {
        assert!(files.contains_key(path), "{path}");
    }
    for path in ["bin/sh", "usr/bin/sh", "etc/shadow", "var/lib/dpkg/status"] {
        assert!(!files.contains_key(path), "{path}");
    }
}

/// Scanners find every package, and no file is a program that is none.
fn check_metadata(selection: &Selection, files: &BTreeMap<String, String>) {
    for package in &selection.packages {
        let path = format!("var/lib/dpkg/status.d/{}", package.name);
        assert!(files.contains_key(&path), "{path}");
        let unpacked = package.reason != Reason::Data;
        assert!(
            !unpacked
                || files.contains_key(&format!("usr/share/doc/{}/", package.name))
                || files.contains_key(&format!("usr/share/doc/{}", package.name)),
            "{}",
            package.name
        );
    }
    let setid = files.iter().filter(|(_, facts)| {
        facts.len() > 4
            && facts
                .split(' ')
                .next()
                .is_some_and(|mode| mode.len() == 4 && (mode.starts_with('4') || mode.starts_with('6')))
    });
    assert_eq!(setid.count(), 0);
}
