use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_rootfs::{MergedTree, Placed};

use super::owners::Owners;

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A stage of these files and links.
fn stage(files: &[(&str, &str)], links: &[(&str, &str)]) -> (tempfile::TempDir, Arc<MergedTree>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    for (name, target) in links {
        symlink(target, folder.path().join(name)).unwrap();
    }
    let tree = MergedTree::open(&[folder.path().to_owned()]).unwrap();
    (folder, Arc::new(tree))
}

fn placed(pairs: &[(&str, &str)]) -> Vec<Placed> {
    let one = |(source, target): &(&str, &str)| Placed {
        source: PathBuf::from(source),
        target: PathBuf::from(target),
    };
    pairs.iter().map(one).collect()
}

/// Package, version, system and files of what was found.
fn owned(tree: &Arc<MergedTree>, copies: &[Placed]) -> Vec<String> {
    let owners = Owners::read(Arc::clone(tree), None).unwrap().unwrap();
    let directories = [Path::new("/"), Path::new("/usr/lib")];
    let found = owners
        .owned(copies, |path| {
            !directories.contains(&path) && !path.ends_with("gone")
        })
        .unwrap();
    let text = found.iter().map(|(package, files)| {
        let system = package.system.as_ref().map_or("", |system| &system.version_id);
        let licence = package.licence.as_deref().unwrap_or_default();
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        format!(
            "{} {} {system}{licence}: {}",
            package.name,
            package.version,
            files.join(" ")
        )
    });
    text.collect()
}

#[test]
fn owners_by_the_database_of_dpkg() {
    let status = "Package: libx\nStatus: install ok installed\nArchitecture: i386\nVersion: 2\n\n\
                  Package: libx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
                  Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 3\n";
    let (_folder, tree) = stage(
        &[
            ("var/lib/dpkg/status", status),
            (
                "var/lib/dpkg/info/libx:amd64.list",
                "/.\n/lib\n/lib/libx.so.1\n/lib/gone\n/usr/share/libx/a\n",
            ),
            ("var/lib/dpkg/info/tool.list", "/usr/bin/tool\n/etc/tool.conf\n"),
            ("var/lib/dpkg/info/nobody.list", "/usr/share/libx/b\n"),
            ("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
            ("etc/x", ""),
            (
                "usr/share/doc/libx-common/copyright",
                "Format: x\n\nFiles: *\nLicense: Expat\n",
            ),
        ],
        &[
            ("lib", "usr/lib"),
            ("etc/os-release", "../usr/lib/os-release"),
            ("usr/share/doc/libx", "libx-common"),
        ],
    );
    let libx = "libx 1 12MIT: /out/libx.so.1";
    assert_eq!(
        owned(&tree, &placed(&[("/usr/lib/libx.so.1", "/out/libx.so.1")])),
        [libx]
    );
    let all = [
        "libx 1 12MIT: /usr/lib/libx.so.1 /usr/share/libx/a",
        "tool 3 12: /usr/bin/tool /etc/tool.conf",
    ];
    assert_eq!(owned(&tree, &placed(&[("/", "/")])), all);
    assert!(
        owned(
            &tree,
            &placed(&[("/usr/share/lib", "/x"), ("/usr/share/libx/b", "/b")])
        )
        .is_empty()
    );
    // So many that they are looked up; one file goes to two places.
    let mut many: Vec<(String, String)> = (0..20).map(|at| (format!("/n{at}"), format!("/n{at}"))).collect();
    many.push(("/usr/share/libx".into(), "/one".into()));
    many.push(("/usr/share/libx/a".into(), "/two".into()));
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(from, to)| (from.as_str(), to.as_str()))
        .collect();
    assert_eq!(owned(&tree, &placed(&many)), ["libx 1 12MIT: /two /one/a"]);
}

#[test]
fn owners_by_the_records_of_distroless_images() {
    let sums = format!(
        "{0}  lib/libx.so.1\n{0}  usr/share/doc/libx/copyright\nshort\n",
        "0".repeat(32)
    );
    let (_folder, tree) = stage(
        &[
            (
                "var/lib/dpkg/status.d/libx",
                "Package: libx\nVersion: 1\nArchitecture: amd64\n",
            ),
            ("var/lib/dpkg/status.d/libx.md5sums", &sums),
            ("var/lib/dpkg/status.d/lost.md5sums", &sums),
            ("lib/libx.so.1", ""),
        ],
        &[],
    );
    assert_eq!(
        owned(&tree, &placed(&[("/lib", "/lib")])),
        ["libx 1 : /lib/libx.so.1"]
    );
}

#[test]
fn a_stage_without_packages_has_no_owners() {
    let (_folder, tree) = stage(&[("bin/tool", "")], &[("var", "var")]);
    assert!(
        Owners::read(Arc::clone(&tree), None).is_err(),
        "links in a circle"
    );
    let (_folder, tree) = stage(&[("bin/tool", "")], &[]);
    assert!(Owners::read(tree, None).unwrap().is_none());
}
