use std::path::Path;

use proptest::prelude::*;

use crate::testing::World;
use crate::{Ecosystem, Inventory};

/// A zip archive of these members; those whose name begins with `+` are stored, others compressed.
pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let (name, method) = name.strip_prefix('+').map_or((*name, 8_u16), |name| (name, 0));
        let data = match method {
            0 => bytes.to_vec(),
            _ => {
                let mut deflater =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut deflater, bytes).unwrap();
                deflater.finish().unwrap()
            }
        };
        let header = out.len() as u32;
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 8]);
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((bytes.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(*b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(&data);
        list.extend(*b"PK\x01\x02\x14\x00");
        list.extend(&common);
        list.extend([0; 10]);
        list.extend(header.to_le_bytes());
        list.extend(name.as_bytes());
    }
    let start = out.len() as u32;
    out.extend(&list);
    out.extend(*b"PK\x05\x06\0\0\0\0");
    out.extend(
        [members.len() as u16, members.len() as u16]
            .map(u16::to_le_bytes)
            .concat(),
    );
    out.extend((list.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A program with Go's note, as the linker writes it since 1.18.
pub(crate) fn go_program(modules: &str) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    out.extend([0, 64, 0].map(u64::to_le_bytes).concat());
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let size = 512 * 1024_u64;
    out.extend([1, 0, 0, 0, 6, 0, 0, 0]);
    out.extend([0, 0, 0, size, size, 4096].map(u64::to_le_bytes).concat());
    out.resize(128, 0);
    out.extend(b"\xff Go buildinf:\x08\x02");
    out.resize(160, 0);
    let modules = format!("0123456789abcdef{modules}0123456789abcdef");
    for text in ["go1.22.3", &modules] {
        let mut length = text.len();
        while length >= 128 {
            out.push((length % 128) as u8 | 128);
            length /= 128;
        }
        out.push(length as u8);
        out.extend(text.as_bytes());
    }
    out.resize(size as usize, 0);
    out
}

fn inventory(files: &[(&str, &[u8], u32)]) -> Inventory {
    let mut world = World::new();
    let write = |root: &Path| {
        use std::os::unix::fs::PermissionsExt;
        for (path, bytes, mode) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
    };
    world.layer("COPY . /", write, |_| {});
    Inventory::read_all(&world.view()).unwrap()
}

/// Package URL, record and member of each package.
fn places(found: &Inventory) -> Vec<String> {
    let place = |package: &crate::Package| {
        let member = package.member.as_ref().map(|member| format!("!{member}"));
        format!(
            "{} {}{}",
            package.purl,
            package.record.display(),
            member.unwrap_or_default()
        )
    };
    found.packages().iter().map(place).collect()
}

#[test]
fn go_programs_tell_their_modules() {
    let program = go_program(
        "path\texample.com/a\nmod\texample.com/a\tv1.2.3\t\ndep\tgolang.org/x/sys\tv0.1.0\th1:a=\n",
    );
    let found = inventory(&[
        ("app", &program, 0o755),
        ("data", &program, 0o644),
        ("empty", b"", 0o755),
    ]);
    assert_eq!(
        places(&found),
        [
            "pkg:golang/example.com/a@v1.2.3 /app",
            "pkg:golang/golang.org/x/sys@v0.1.0 /app",
            "pkg:golang/stdlib@go1.22.3 /app",
        ]
    );
    assert_eq!(found.packages()[1].go_sum.as_deref(), Some("h1:a="));
}

#[test]
fn python_distributions() {
    let site = "usr/lib/python3/site-packages";
    let metadata = "Metadata-Version: 2.1\nName: Typing_Extensions\nVersion: 4.0\nLicense: UNKNOWN\n\
        Classifier: License :: OSI Approved :: MIT License\n\nLicense-Expression: none of this\n";
    let found = inventory(&[
        (
            &format!("{site}/typing_extensions-4.0.dist-info/METADATA"),
            metadata.as_bytes(),
            0o644,
        ),
        (
            &format!("{site}/typing_extensions-4.0.dist-info/RECORD"),
            b"typing_extensions.py,sha256=x,1\n\"a,b.py\",,\n../../../bin/te,,\ngone.py,,\n",
            0o644,
        ),
        (&format!("{site}/typing_extensions.py"), b"x", 0o644),
        (&format!("{site}/a,b.py"), b"x", 0o644),
        ("usr/bin/te", b"x", 0o755),
        (
            &format!("{site}/old.egg-info"),
            b"Name: old\nVersion: 1\nLicense: GPL\n",
            0o644,
        ),
        (
            &format!("{site}/broken.dist-info/METADATA"),
            b"Name: broken\n",
            0o644,
        ),
        (&format!("{site}/METADATA"), b"Name: x\nVersion: 1\n", 0o644),
    ]);
    assert_eq!(
        places(&found),
        [
            format!("pkg:pypi/typing-extensions@4.0 /{site}/typing_extensions-4.0.dist-info/METADATA"),
            format!("pkg:pypi/old@1 /{site}/old.egg-info"),
        ]
    );
    let package = &found.packages()[0];
    assert_eq!(
        (package.name.as_str(), package.licence.as_deref()),
        ("Typing_Extensions", Some("MIT License"))
    );
    let files: Vec<&str> = found
        .files(0)
        .iter()
        .filter_map(|file| file.path.to_str())
        .collect();
    assert_eq!(
        files,
        [
            "/usr/bin/te",
            &format!("/{site}/a,b.py"),
            &format!("/{site}/typing_extensions.py")
        ]
    );
}

#[test]
fn npm_packages_own_what_is_below_them() {
    let found = inventory(&[
        (
            "app/package.json",
            br#"{"name": "app", "version": "1.0.0", "license": "MIT"}"#,
            0o644,
        ),
        ("app/index.js", b"x", 0o644),
        (
            "app/node_modules/a/package.json",
            br#"{"name": "a", "version": "2.0.0", "licenses": [{"type": "MIT"}, {"type": "X"}]}"#,
            0o644,
        ),
        ("app/node_modules/a/lib/a.js", b"x", 0o644),
        (
            "app/node_modules/a/lib/package.json",
            br#"{"type": "module"}"#,
            0o644,
        ),
        (
            "app/node_modules/a/node_modules/@s/b/package.json",
            br#"{"name": "@s/b", "version": "3.0.0"}"#,
            0o644,
        ),
        ("app/node_modules/a/node_modules/@s/b/b.js", b"x", 0o644),
        ("app/node_modules/bad/package.json", b"{", 0o644),
        ("app/node_modules/list/package.json", b"[1]", 0o644),
    ]);
    assert_eq!(
        places(&found),
        [
            "pkg:npm/%40s/b@3.0.0 /app/node_modules/a/node_modules/@s/b/package.json",
            "pkg:npm/a@2.0.0 /app/node_modules/a/package.json",
            "pkg:npm/app@1.0.0 /app/package.json",
        ]
    );
    assert_eq!(found.packages()[1].licence.as_deref(), Some("MIT OR X"));
    let owner = |path: &str| found.owner(Path::new(path)).map(|package| package.name.as_str());
    assert_eq!(owner("/app/node_modules/a/lib/a.js"), Some("a"));
    assert_eq!(owner("/app/node_modules/a/node_modules/@s/b/b.js"), Some("@s/b"));
    assert_eq!(owner("/app/index.js"), None);
}

#[test]
fn java_archives_inside_archives() {
    let pom =
        |artifact: &str| format!("#x\ngroupId=org.a\nartifactId={artifact}\nversion=1.0\n").into_bytes();
    let inner = zip(&[
        ("META-INF/maven/org.a/inner/pom.properties", &pom("inner")),
        (
            "META-INF/maven/org.a/inner/pom.xml",
            b"<project><licenses><license><name>MIT</name></license></licenses></project>",
        ),
    ]);
    let manifest = zip(&[(
        "META-INF/MANIFEST.MF",
        b"Manifest-Version: 1.0\r\nBundle-SymbolicName: org.b.\r\n thing;singleton:=true\r\nBundle-Version: 9\r\n\r\n",
    )]);
    let spring = zip(&[
        ("+BOOT-INF/lib/inner-1.0.jar", &inner),
        ("BOOT-INF/lib/thing-2.0.jar", &manifest),
        ("BOOT-INF/lib/bad.jar", b"nothing"),
        (
            "META-INF/MANIFEST.MF",
            b"Manifest-Version: 1.0\r\nImplementation-Version: 0.1\r\n",
        ),
    ]);
    let war = zip(&[("WEB-INF/lib/spring.jar", &spring)]);
    let mut script = b"#!/bin/sh\nexec java -jar $0\n".to_vec();
    script.extend(&spring);
    let shaded = zip(&[
        ("META-INF/maven/org.a/x/pom.properties", &pom("x")),
        ("META-INF/maven/org.a/y/pom.properties", &pom("y")),
        ("META-INF/maven/org.a/z/pom.properties", b"version=1"),
    ]);
    let found = inventory(&[
        ("app/spring.jar", &script, 0o755),
        ("app/all.war", &war, 0o644),
        ("app/y-1.0.jar", &shaded, 0o644),
        ("app/broken.jar", &spring[..spring.len() / 2], 0o644),
        ("app/none.rar", b"Rar!", 0o644),
    ]);
    assert_eq!(
        places(&found),
        [
            "pkg:maven/org.a/inner@1.0 /app/all.war!WEB-INF/lib/spring.jar!/BOOT-INF/lib/inner-1.0.jar",
            "pkg:maven/org.a/inner@1.0 /app/spring.jar!BOOT-INF/lib/inner-1.0.jar",
            "pkg:maven/org.a/x@1.0 /app/y-1.0.jar",
            "pkg:maven/org.a/y@1.0 /app/y-1.0.jar",
            "pkg:maven/org.b/thing@2.0 /app/all.war!WEB-INF/lib/spring.jar!/BOOT-INF/lib/thing-2.0.jar",
            "pkg:maven/org.b/thing@2.0 /app/spring.jar!BOOT-INF/lib/thing-2.0.jar",
            "pkg:maven/spring@0.1 /app/all.war!WEB-INF/lib/spring.jar",
            "pkg:maven/spring@0.1 /app/spring.jar",
        ]
    );
    assert_eq!(found.packages()[0].licence.as_deref(), Some("MIT"));
}

#[test]
fn what_debian_packages_bring_is_part_of_them() {
    let found = inventory(&[
        (
            "var/lib/dpkg/status.d/node-a",
            b"Package: node-a\nVersion: 1.0-1\nArchitecture: all\nSource: a\n",
            0o644,
        ),
        (
            "var/lib/dpkg/status.d/node-a.md5sums",
            b"d41d8cd98f00b204e9800998ecf8427e  usr/share/nodejs/a/package.json\n",
            0o644,
        ),
        (
            "usr/share/nodejs/a/package.json",
            br#"{"name": "a", "version": "1.0.0"}"#,
            0o644,
        ),
        ("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n", 0o644),
    ]);
    let [deb, npm] = found.packages() else {
        panic!("{:?}", found.packages())
    };
    assert_eq!(
        deb.purl,
        "pkg:deb/debian/node-a@1.0-1?arch=all&distro=debian-12&upstream=a"
    );
    assert_eq!((npm.ecosystem, found.part_of(npm)), (Ecosystem::Npm, Some(deb)));
    assert_eq!(found.part_of(deb), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn damaged_archives_and_programs_are_no_manifests(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let inner = zip(&[("META-INF/maven/a/b/pom.properties", b"groupId=a\nartifactId=b\nversion=1\n")]);
        let mut jar = zip(&[("+lib/b.jar", &inner), ("META-INF/MANIFEST.MF", b"Bundle-Version: 1\n")]);
        let mut program = go_program("dep\ta\tv1\n");
        for (at, value) in changes {
            let place = at.index(jar.len());
            jar[place] = value;
            let place = at.index(300);
            program[place] = value;
        }
        jar.truncate(cut.index(jar.len()) + 1);
        inventory(&[("a.jar", &jar, 0o644), ("app", &program, 0o755)]);
    }
}
