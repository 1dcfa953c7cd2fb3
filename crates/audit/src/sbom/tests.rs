use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use spdx::{Expression, ParseMode};

use super::{Sbom, SbomOptions, time, uuid};
use crate::manifests::tests::{go_program, zip};
use crate::origin::{self, CopiedPackage, CopyRecord, ImageRecord, LayerStep, PlaceRecord, Stage};
use crate::testing::World;
use crate::{Ecosystem, ImageView, Inventory};

fn options() -> SbomOptions {
    SbomOptions {
        name: "app\u{1b}".to_owned(),
        tool_version: "1.0".to_owned(),
        created: 1_700_000_000,
    }
}

/// An image with packages of every kind.
fn image() -> (World, ImageView) {
    let mut world = World::new();
    let jar = zip(&[
        (
            "META-INF/maven/a/b/pom.properties",
            b"groupId=a\nartifactId=b\nversion=1\n",
        ),
        (
            "META-INF/maven/a/c/pom.properties",
            b"groupId=a\nartifactId=c\nversion=1\n",
        ),
    ]);
    let outer = zip(&[("lib/b-1.jar", &jar)]);
    let sum = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let program = go_program(&format!("mod\tm\t(devel)\t\ndep\tx/y\tv1\t{sum}\n"));
    let write = |root: &Path| {
        use std::os::unix::fs::PermissionsExt;
        let put = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        put(
            "var/lib/dpkg/status.d/tool",
            b"Package: tool\nVersion: 1:2+b1\nArchitecture: amd64\nMaintainer: \"A\" <a@b>\n",
        );
        put(
            "var/lib/dpkg/status.d/tool.md5sums",
            b"0123456789abcdef0123456789abcdef  usr/bin/tool\n0123456789abcdef0123456789abcdef  usr/lib/jar/b-1.jar\n\
            0123456789abcdef0123456789abcdef  gone\n",
        );
        put(
            "usr/share/doc/tool/copyright",
            b"Format: x\n\nFiles: *\nLicense: own\n Do \x1b[1mwhat you like.\n\nFiles: a\nLicense: Expat\n",
        );
        put("usr/bin/tool", b"tool");
        put("usr/lib/jar/b-1.jar", &jar);
        put("app/outer.jar", &outer);
        put("app/server", &program);
        put("etc/os-release", b"ID=debian\nVERSION_ID=12\n");
        for folder in ["one", "two"] {
            put(
                &format!("app/{folder}/node_modules/n/package.json"),
                br#"{"name": "n", "version": "1.0.0", "license": "MIT"}"#,
            );
            put(&format!("app/{folder}/node_modules/n/new\nline.js"), b"1");
        }
    };
    world.layer("COPY . /", write, |_| {});
    let view = world.view();
    (world, view)
}

fn written(view: &ImageView) -> (Value, Value) {
    let sbom = Sbom::read(view).unwrap();
    let (mut spdx, mut cyclonedx) = (Vec::new(), Vec::new());
    sbom.write_spdx(&options(), &mut spdx).unwrap();
    sbom.write_cyclonedx(&options(), &mut cyclonedx).unwrap();
    for text in [&spdx, &cyclonedx] {
        assert!(!text.contains(&0x1b) && text.ends_with(b"\n"));
    }
    (
        serde_json::from_slice(&spdx).unwrap(),
        serde_json::from_slice(&cyclonedx).unwrap(),
    )
}

fn texts<'v>(list: &'v Value, field: &str) -> Vec<&'v str> {
    let list = list.as_array().unwrap().iter();
    list.map(|item| item[field].as_str().unwrap()).collect()
}

fn by_name<'v>(list: &'v Value, name: &str) -> &'v Value {
    let mut list = list.as_array().unwrap().iter();
    list.find(|item| item["name"] == name).unwrap()
}

#[test]
fn spdx_documents_hold_together() {
    let (_world, view) = image();
    let (spdx, _) = written(&view);
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    assert_eq!(spdx["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    let mut ids = texts(&spdx["packages"], "SPDXID");
    ids.extend(texts(&spdx["files"], "SPDXID"));
    ids.push("SPDXRef-DOCUMENT");
    let known: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(known.len(), ids.len(), "{ids:?}");
    let safe = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    assert!(
        ids.iter()
            .all(|id| id.strip_prefix("SPDXRef-").unwrap().chars().all(safe))
    );
    for end in ["spdxElementId", "relatedSpdxElement"] {
        assert!(
            texts(&spdx["relationships"], end)
                .iter()
                .all(|id| known.contains(id))
        );
    }
    // Everything but the document stands in something.
    assert_eq!(
        texts(&spdx["relationships"], "relatedSpdxElement")
            .into_iter()
            .collect::<BTreeSet<_>>()
            .len(),
        known.len() - 1
    );
    for package in spdx["packages"].as_array().unwrap() {
        let declared = package["licenseDeclared"].as_str().unwrap();
        assert!(declared == "NOASSERTION" || Expression::parse_mode(declared, ParseMode::LAX).is_ok());
        assert_eq!(
            package["filesAnalyzed"] == true,
            !package["packageVerificationCode"].is_null()
        );
    }
    let tool = by_name(&spdx["packages"], "tool");
    assert_eq!(tool["licenseDeclared"], "LicenseRef-own AND MIT");
    assert_eq!(tool["supplier"], "Person: A (a@b)");
    assert_eq!(
        tool["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/tool@1:2%2Bb1?arch=amd64&distro=debian-12"
    );
    let texts = &spdx["hasExtractedLicensingInfos"];
    assert_eq!(texts[0]["licenseId"], "LicenseRef-own");
    assert_eq!(texts[0]["extractedText"], "Do \\u{1b}[1mwhat you like.");
    let module = by_name(&spdx["packages"], "x/y");
    assert_eq!(
        module["checksums"][0]["checksumValue"],
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn cyclonedx_documents_hold_together() {
    let (_world, view) = image();
    let (_, bom) = written(&view);
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.6".into())
    );
    let mut references = texts(&bom["components"], "bom-ref");
    references.push(bom["metadata"]["component"]["bom-ref"].as_str().unwrap());
    let known: BTreeSet<&str> = references.iter().copied().collect();
    assert_eq!(known.len(), references.len(), "{references:?}");
    for dependency in bom["dependencies"].as_array().unwrap() {
        let needed = dependency["dependsOn"].as_array().unwrap().iter();
        let needed: Vec<&str> = needed.map(|reference| reference.as_str().unwrap()).collect();
        assert!(needed.iter().all(|reference| known.contains(reference)));
        assert_eq!(needed.iter().collect::<BTreeSet<_>>().len(), needed.len());
        assert!(known.contains(dependency["ref"].as_str().unwrap()));
    }
    let packages = &bom["components"];
    let tool = by_name(packages, "tool");
    assert_eq!(tool["licenses"][0]["expression"], "LicenseRef-own AND MIT");
    // As `sha256sum /usr/bin/tool /usr/lib/jar/b-1.jar | sha256sum` prints it; here the lines are made by hand.
    let lines: Vec<String> = ["/usr/bin/tool", "/usr/lib/jar/b-1.jar"]
        .into_iter()
        .map(|path| {
            let digest = view.digest(view.get(Path::new(path)).unwrap()).unwrap();
            format!("{}  {path}\n", digest.hex())
        })
        .collect();
    let whole = distil_oci::Digest::sha256(lines.concat().as_bytes()).hex();
    assert_eq!(tool["hashes"][0]["content"], Value::from(whole));
    let jar: Vec<&Value> = packages
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["name"] == "b")
        .collect();
    let inner = jar
        .iter()
        .find(|item| item["evidence"]["occurrences"][0]["location"] == "/app/outer.jar!/lib/b-1.jar");
    let own = jar
        .iter()
        .find(|item| item["evidence"]["occurrences"][0]["location"] == "/usr/lib/jar/b-1.jar");
    assert_eq!(inner.unwrap()["hashes"], own.unwrap()["hashes"]);
    assert_eq!(own.unwrap()["group"], "a");
    assert!(own.unwrap()["properties"].to_string().contains("distil:part-of"));
    // Only the one that the archive is named after is its contents.
    assert!(by_name(packages, "c")["hashes"].is_null());
}

#[test]
fn documents_depend_on_the_image_and_the_options_alone() {
    let (world, view) = image();
    let first = written(&view);
    assert_eq!(first, written(&world.view()));
    let other = SbomOptions {
        created: 0,
        ..options()
    };
    let mut text = Vec::new();
    Sbom::read(&view).unwrap().write_spdx(&other, &mut text).unwrap();
    let other: Value = serde_json::from_slice(&text).unwrap();
    assert_ne!(other["documentNamespace"], first.0["documentNamespace"]);
    // The example of RFC 9562, appendix A.4, in the name space of names instead of URLs, is not ours to check; this
    // is what other implementations give for a URL.
    assert_eq!(
        uuid("http://www.example.com/"),
        "fcde3c85-2270-590f-9e7c-ee003d65e0e2"
    );
    assert_eq!(time(951_868_799), "2000-02-29T23:59:59Z");
    assert_eq!(time(u64::MAX), "1970-01-01T00:00:00Z");
}

#[test]
fn packages_of_copied_files_are_listed_without_their_record() {
    let mut world = World::new();
    world.files(
        "COPY --from=build /usr/lib/libpq.so.5 /lib/",
        &[("lib/libpq.so.5", "x"), ("lib/other", "x")],
    );
    let image = world.image();
    let package = |name: &str| CopiedPackage {
        name: name.to_owned(),
        version: "15.3-0+deb12u1".to_owned(),
        architecture: "amd64".to_owned(),
        source: "postgresql-15".to_owned(),
        source_version: "15.3-0+deb12u1".to_owned(),
        maintainer: String::new(),
        ..CopiedPackage::default()
    };
    let store = world.snapshots.store();
    let mut record = CopyRecord::default();
    let stage = Stage {
        name: "build".to_owned(),
        size: None,
        is_context: false,
    };
    let place = PlaceRecord {
        stage: record.add_stage(stage),
        path: "/usr/lib/libpq.so.5".into(),
        step: None,
    };
    record.add(Path::new("/lib/libpq.so.5"), place, None);
    record.add_owned(package("libpq5"), ["/lib/libpq.so.5".into(), "/lib/gone".into()]);
    record.add_owned(package("gone"), ["/lib/nowhere".into()]);
    origin::write_layer(store, world.layers[0], &record).unwrap();
    let images = ImageRecord {
        dockerfile: "Dockerfile".to_owned(),
        text: image.id,
        steps: Vec::new(),
        layers: vec![LayerStep {
            layer: world.layers[0],
            step: None,
        }],
    };
    origin::write_image(store, &image.id, &images).unwrap();
    let view = ImageView::open(&world.snapshots, &image).unwrap();
    let found = Inventory::read_all(&view).unwrap();
    let [libpq] = found.packages() else {
        panic!("{:?}", found.packages())
    };
    assert_eq!(libpq.ecosystem, Ecosystem::Deb);
    assert_eq!(
        libpq.purl,
        "pkg:deb/debian/libpq5@15.3-0%2Bdeb12u1?arch=amd64&upstream=postgresql-15"
    );
    assert_eq!(found.owner(Path::new("/lib/libpq.so.5")), Some(libpq));
    let (spdx, bom) = written(&view);
    assert!(
        by_name(&spdx["packages"], "libpq5")["sourceInfo"]
            .as_str()
            .unwrap()
            .contains("from stage build")
    );
    assert!(by_name(&bom["components"], "libpq5")["hashes"].is_array());
}
