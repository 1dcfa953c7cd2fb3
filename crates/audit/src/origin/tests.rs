use std::os::unix::ffi::OsStrExt;

use distil_debian::deb822::paragraphs;
use proptest::prelude::*;

use super::*;

fn step(name: &str, lines: Option<(u32, u32)>) -> Step {
    Step {
        op: Digest::sha256(name.as_bytes()),
        name: name.to_owned(),
        lines,
    }
}

fn stage(name: &str) -> Stage {
    Stage {
        name: name.to_owned(),
        size: Some(7),
        is_context: false,
    }
}

fn package(name: &str) -> CopiedPackage {
    let text = format!("Package: {name}\nVersion: 1.2-3\nArchitecture: amd64\nSource: lib (1.2)\n");
    CopiedPackage::of(&paragraphs(&text).next().unwrap()).unwrap()
}

/// Adds a copy of `source` in stage `from`, made there by `made`.
fn copied(
    record: &mut CopyRecord,
    to: &str,
    from: &str,
    source: &str,
    made: &str,
    earlier: Option<&CopyRecord>,
) {
    let place = PlaceRecord {
        stage: record.add_stage(stage(from)),
        path: source.into(),
        step: Some(record.add_step(step(made, None))),
    };
    record.add(Path::new(to), place, earlier);
}

fn story(record: &CopyRecord, path: &str) -> Vec<String> {
    let Some(origin) = record.file(Path::new(path)) else {
        return Vec::new();
    };
    let place = |place: &Place<'_>| {
        let step = place.step.map_or("", |step| &step.name);
        format!("{}:{} {step}", place.stage, place.path.display())
    };
    let package = origin.package.map(|package| package.name.clone());
    origin.places.iter().map(place).chain(package).collect()
}

#[test]
fn names_of_steps_are_taken_apart() {
    for (name, stage, instruction) in [
        ("[build 2/4] RUN make", Some("build"), "RUN make"),
        ("[build  2/12] RUN make", Some("build"), "RUN make"),
        (
            "[linux/arm64->amd64 build 2/4] RUN make",
            Some("build"),
            "RUN make",
        ),
        (
            "[linux/arm64 2/4] COPY [\"a b\", \"/\"]",
            None,
            "COPY [\"a b\", \"/\"]",
        ),
        ("[2/2] RUN echo [x] y", None, "RUN echo [x] y"),
        (
            "[internal] load build context",
            None,
            "[internal] load build context",
        ),
        ("WORKDIR /", None, "WORKDIR /"),
    ] {
        let step = step(name, None);
        assert_eq!(step.stage(), stage, "{name}");
        assert_eq!(step.instruction().as_str(), instruction);
    }
}

#[test]
fn a_directory_stands_for_what_is_below_it() {
    let mut record = CopyRecord::default();
    copied(
        &mut record,
        "/app",
        "build",
        "/src/out",
        "[build 3/4] RUN make",
        None,
    );
    copied(
        &mut record,
        "/app/lib",
        "build",
        "/src/out/lib",
        "[build 2/4] RUN libs",
        None,
    );
    record.add_owned(package("libx"), ["/app/lib/x.so".into()]);
    for (path, tells) in [
        (
            "/app/bin/tool",
            vec!["build:/src/out/bin/tool [build 3/4] RUN make"],
        ),
        ("/app", vec!["build:/src/out [build 3/4] RUN make"]),
        (
            "/app/lib/x.so",
            vec!["build:/src/out/lib/x.so [build 2/4] RUN libs", "libx"],
        ),
        ("/application", vec![]),
        ("/", vec![]),
    ] {
        assert_eq!(story(&record, path), tells, "{path}");
    }
    assert_eq!(
        record.files_of(0).collect::<Vec<_>>(),
        [Path::new("/app/lib/x.so")]
    );
}

#[test]
fn copies_of_copies_lead_to_where_a_file_was_made() {
    let mut first = CopyRecord::default();
    copied(
        &mut first,
        "/out",
        "deps",
        "/",
        "[deps 2/2] RUN apt-get install libx",
        None,
    );
    copied(
        &mut first,
        "/out/etc/one",
        "other",
        "/one",
        "[other 2/2] RUN one",
        None,
    );
    first.add_owned(package("libx"), ["/out/usr/lib/libx.so".into()]);
    let copy = "[build 2/2] COPY --from=deps / /out";
    for (to, from, path, tells) in [
        // A directory in the copied one, a file in it, one that holds it, and one that has nothing to do with it.
        (
            "/usr",
            "/out/usr",
            "/usr/lib/libx.so",
            vec![
                "build:/out/usr/lib/libx.so",
                "deps:/usr/lib/libx.so [deps 2/2] RUN apt-get install libx",
                "libx",
            ],
        ),
        (
            "/libx.so",
            "/out/usr/lib/libx.so",
            "/libx.so",
            vec![
                "build:/out/usr/lib/libx.so",
                "deps:/usr/lib/libx.so [deps 2/2] RUN apt-get install libx",
                "libx",
            ],
        ),
        (
            "/",
            "/",
            "/out/usr/lib/libx.so",
            vec![
                "build:/out/usr/lib/libx.so",
                "deps:/usr/lib/libx.so [deps 2/2] RUN apt-get install libx",
                "libx",
            ],
        ),
        (
            "/conf",
            "/out/etc",
            "/conf/one",
            vec!["build:/out/etc/one", "other:/one [other 2/2] RUN one"],
        ),
        ("/tmp", "/tmp", "/tmp/x", vec!["build:/tmp/x"]),
    ] {
        let mut record = CopyRecord::default();
        copied(&mut record, to, "build", from, copy, Some(&first));
        let tells: Vec<String> = tells
            .into_iter()
            .map(|place| {
                if place.starts_with("build:") {
                    format!("{place} {copy}")
                } else {
                    place.to_owned()
                }
            })
            .collect();
        assert_eq!(story(&record, path), tells, "{to} {from}");
        assert_eq!(CopyRecord::from_json(&record.to_json()), Some(record));
    }
}

#[test]
fn steps_get_the_lines_of_the_present_dockerfile() {
    let mut record = CopyRecord::default();
    copied(&mut record, "/a", "build", "/a", "[build 2/3] RUN a", None);
    copied(&mut record, "/b", "build", "/b", "[build 3/3] RUN b", None);
    copied(&mut record, "/c", "build", "/c", "[build 3/3] RUN gone", None);
    // The same operation under another name, and another operation of the same name.
    let renamed = Step {
        name: "[builder 2/3] RUN a".to_owned(),
        ..step("[build 2/3] RUN a", Some((4, 5)))
    };
    let changed = Step {
        op: Digest::sha256(b"changed"),
        ..step("[build 3/3] RUN b", Some((6, 6)))
    };
    record.place_steps(&[renamed, changed]);
    let lines = |path: &str| {
        record.file(Path::new(path)).unwrap().places[0]
            .step
            .unwrap()
            .lines
    };
    assert_eq!(
        [lines("/a"), lines("/b"), lines("/c")],
        [Some((4, 5)), Some((6, 6)), None]
    );
}

#[test]
fn records_are_read_with_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let (image, layer) = (Digest::sha256(b"image"), "7".parse().unwrap());
    assert!(Origins::read(&store, &image).unwrap().is_none());
    let mut record = CopyRecord::default();
    copied(&mut record, "/a", "build", "/a", "[build 2/3] RUN a", None);
    write_layer(&store, layer, &record).unwrap();
    let steps = vec![
        step("[build 2/3] RUN a", Some((2, 2))),
        step("[stage-1 2/2] COPY a /", Some((3, 3))),
    ];
    let image_record = ImageRecord {
        dockerfile: "Dockerfile".to_owned(),
        text: Digest::sha256(b""),
        steps,
        layers: vec![LayerStep { layer, step: Some(1) }],
    };
    write_image(&store, &image, &image_record).unwrap();
    let origins = Origins::read(&store, &image).unwrap().unwrap();
    assert_eq!(origins.layer(0).unwrap().stage(), Some("stage-1"));
    assert_eq!(origins.layer(1), None);
    let file = origins.file(0, Path::new("/a")).unwrap();
    assert_eq!(file.places[0].step.unwrap().lines, Some((2, 2)));
    assert_eq!(origins.copies().count(), 1);
    // Another version, or damage, counts as nothing.
    store.set_layer_origins(layer, b"{\"version\":9}").unwrap();
    assert!(
        Origins::read(&store, &image)
            .unwrap()
            .unwrap()
            .file(0, Path::new("/a"))
            .is_none()
    );
    store.set_image_origins(&image, b"").unwrap();
    assert!(Origins::read(&store, &image).unwrap().is_none());
    // Neither the layer nor the image was ever there.
    store.collect(distil_store::Prune::Nothing).unwrap();
    assert_eq!(store.layer_origins(layer).unwrap(), None);
    assert_eq!(store.image_origins(&image).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn paths_of_any_bytes_are_kept(bytes in proptest::collection::vec(1u8.., 0..40)) {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
        prop_assert_eq!(path_text::decode(&path_text::encode(&path)), Some(path));
    }

    #[test]
    fn damaged_records_are_answered(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut record = CopyRecord::default();
        copied(&mut record, "/a%b", "build", "/a", "[build 2/3] RUN a", None);
        record.add_owned(package("libx"), ["/a%b/lib".into()]);
        let mut bytes = record.to_json();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(read) = CopyRecord::from_json(&bytes) {
            let _ = read.file(Path::new("/a%b/lib"));
        }
    }
}

#[test]
fn copied_packages_say_their_system_and_licence() {
    let mut world = crate::testing::World::new();
    world.files(
        "COPY a b /",
        &[("usr/lib/libx.so.1", "x"), ("usr/lib/liby.so.1", "y")],
    );
    let image = world.image();
    let store = world.snapshots.store();
    let records = |systems: [&str; 2]| {
        let mut record = CopyRecord::default();
        for (name, version) in ["libx", "liby"].iter().zip(systems) {
            let path = format!("/usr/lib/{name}.so.1");
            copied(
                &mut record,
                &path,
                "build",
                &path,
                "[build 1/1] FROM debian",
                None,
            );
            let system = crate::OsRelease::parse(&format!("ID=debian\nVERSION_ID={version}\n"));
            let package = CopiedPackage {
                system: Some(system),
                licence: Some("MIT".to_owned()),
                ..package(name)
            };
            record.add_owned(package, [path.into()]);
        }
        write_layer(store, image.layers[0], &record).unwrap();
        let record = ImageRecord {
            dockerfile: "Dockerfile".to_owned(),
            text: Digest::sha256(b""),
            steps: Vec::new(),
            layers: vec![LayerStep {
                layer: image.layers[0],
                step: None,
            }],
        };
        write_image(store, &image.id, &record).unwrap();
        let view = crate::ImageView::open(&world.snapshots, &image).unwrap();
        let inventory = crate::Inventory::read_all(&view).unwrap();
        let licences = crate::Licence::of_packages(&view, &inventory).unwrap();
        let packages = inventory.packages().iter().zip(licences);
        let text =
            packages.map(|(package, licence)| format!("{} {}", package.purl, licence.unwrap().expression));
        (crate::OsRelease::read(&view).unwrap(), text.collect::<Vec<_>>())
    };
    let purl = |name: &str, version: &str| {
        let qualifiers = format!("arch=amd64&distro=debian-{version}&upstream=lib%401.2");
        format!("pkg:deb/debian/{name}@1.2-3?{qualifiers} MIT")
    };
    let (system, packages) = records(["12", "12"]);
    assert_eq!(system.unwrap().version_id, "12");
    assert_eq!(packages, [purl("libx", "12"), purl("liby", "12")]);
    // Of two releases: the image is of neither.
    let (system, packages) = records(["12", "13"]);
    assert_eq!(system, None);
    assert_eq!(packages, [purl("libx", "12"), purl("liby", "13")]);
}
