//! The layout of the images, read as scanners read it: Syft, Grype and Trivy find packages by these files alone. What
//! they find is what `distil sbom` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::World;
use crate::{PROGRAMS, all};

#[test]
fn scanners_find_the_packages() {
    let Some(world) = World::new(PROGRAMS) else { return };
    let mut images = vec![
        ("static-debian12:nonroot", "12"),
        ("cc-debian13:nonroot", "13"),
        ("base-debian12:slim", "12"),
    ];
    if all() {
        images.extend([
            ("python3-debian12:latest", "12"),
            ("python3-debian13:slim", "13"),
            ("java17-debian12:latest", "12"),
            ("java21-debian13:nonroot", "13"),
            ("nodejs20-debian13:latest", "13"),
        ]);
    }
    for (number, (image, release)) in images.into_iter().enumerate() {
        if !world.make(image) {
            return;
        }
        let root = PathBuf::from(world.path(&format!("image-{number}")));
        world.distil(&["cp", &format!("distil/{image}:/"), &root.display().to_string()]);
        system(&root, release, image);
        let bill = world.distil(&["sbom", "--format=cyclonedx-json", &format!("distil/{image}")]);
        let bill: Value = serde_json::from_str(&bill).unwrap();
        assert_eq!(packages(&root, release), listed(&bill), "{image}");
        licences(&root, &bill, image);
    }
}

/// Trivy takes the release from `debian_version`, Syft and Grype from `os-release`.
fn system(root: &Path, release: &str, image: &str) {
    let version = fs::read_to_string(root.join("etc/debian_version")).unwrap();
    assert!(version.starts_with(&format!("{release}.")), "{image}: {version}");
    let places = ["etc/os-release", "usr/lib/os-release"].map(|place| fs::read_to_string(root.join(place)));
    for text in places {
        let text = text.unwrap();
        assert!(
            text.lines()
                .any(|line| ["ID=debian", "ID=\"debian\""].contains(&line)),
            "{image}: {text}"
        );
        assert!(
            text.lines()
                .any(|line| line == format!("VERSION_ID=\"{release}\"")),
            "{image}: {text}"
        );
    }
}

/// Package URLs of `status.d/NAME`, one stanza a file without `Status`; `NAME.md5sums` beside each.
fn packages(root: &Path, release: &str) -> BTreeSet<String> {
    let folder = root.join("var/lib/dpkg/status.d");
    assert!(!root.join("var/lib/dpkg/status").exists());
    let names = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (sums, records): (Vec<String>, Vec<String>) = names.partition(|name| name.ends_with(".md5sums"));
    for name in &sums {
        assert!(
            records.contains(&name.trim_end_matches(".md5sums").to_owned()),
            "{name}"
        );
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(
            text.lines().all(|line| line.len() > 34 && &line[32..34] == "  "),
            "{name}"
        );
    }
    let url = |name: &String| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
        assert!(!fields.contains_key("Status"), "{name}");
        assert_eq!(fields["Package"], name);
        let version = fields["Version"].replace('+', "%2B");
        let architecture = fields["Architecture"];
        let url = format!(
            "pkg:deb/debian/{}@{version}?arch={architecture}&distro=debian-{release}",
            name.replace('+', "%2B")
        );
        match fields
            .get("Source")
            .map(|source| source.split_once(" (").unwrap_or((source, "")))
        {
            None => url,
            Some((source, "")) if source == name => url,
            Some((source, "")) => format!("{url}&upstream={source}"),
            Some((source, version)) => {
                let version = version.trim_end_matches(')').replace('+', "%2B");
                format!("{url}&upstream={source}%40{version}")
            }
        }
    };
    records.iter().map(url).collect()
}

fn listed(bill: &Value) -> BTreeSet<String> {
    let urls = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|part| part["purl"].as_str());
    urls.filter(|url| url.starts_with("pkg:deb/"))
        .map(str::to_owned)
        .collect()
}

/// Each copyright file is one that scanners find and `sbom` reads; what has none has no licence there.
fn licences(root: &Path, bill: &Value, image: &str) {
    for part in bill["components"].as_array().unwrap() {
        let is_deb = part["purl"]
            .as_str()
            .is_some_and(|url| url.starts_with("pkg:deb/"));
        let name = part["name"].as_str().unwrap();
        let file = root.join("usr/share/doc").join(name).join("copyright");
        if is_deb && !file.exists() {
            assert!(part["licenses"].is_null(), "{image}: {name}");
        }
        if is_deb && part["hashes"].is_null() {
            let sums = fs::read_to_string(root.join(format!("var/lib/dpkg/status.d/{name}.md5sums")));
            let present = sums
                .unwrap_or_default()
                .lines()
                .any(|line| root.join(&line[34..]).is_file());
            assert!(!present, "{image}: {name} has files and no hash");
        }
    }
}
