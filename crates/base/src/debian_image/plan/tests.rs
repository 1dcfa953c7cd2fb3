use distil_debian::{AcceptedRelease, PackageIndex, Release, Source, VerifiedText};

use super::*;
use crate::debian_image::{DebianImage, image_config};
use crate::{ASSEMBLED_LABEL, DebianRelease};

const PACKAGES: &[(&str, &str)] = &[
    ("apt", "Priority: required\nDepends: libx"),
    ("base-files", "Essential: yes\nPriority: required"),
    (
        "init-system-helpers",
        "Essential: yes\nDepends: usrmerge | usr-is-merged",
    ),
    ("libx", "Priority: optional"),
    ("mount", "Priority: required"),
    ("usr-is-merged", ""),
    ("usrmerge", "Provides: usr-is-merged\nDepends: libx"),
    ("wanted-by-nobody", "Priority: important"),
];

fn indexes(date: &str) -> Indexes {
    let hex = "0".repeat(64);
    let text: String = PACKAGES
        .iter()
        .map(|(name, extra)| {
            format!("Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: f\nSize: 7\nSHA256: {hex}\n{extra}\n\n")
        })
        .collect();
    let signed = VerifiedText {
        text: format!("Codename: bookworm\nDate: {date}\nSHA256:\n {hex} 1 x\n"),
        signers: Vec::new(),
    };
    let source = Source {
        url: "http://m.example/debian".to_owned(),
        suite: "bookworm".to_owned(),
        components: vec!["main".to_owned()],
    };
    let digest = Digest::sha256(b"");
    let release = Release::parse(&signed).unwrap();
    Indexes {
        releases: vec![AcceptedRelease {
            source,
            release,
            bytes: Vec::new(),
            digest,
            signers: vec!["K".to_owned()],
            indexes: Vec::new(),
        }],
        packages: PackageIndex::from_texts(&[&text]).unwrap(),
        architecture: "amd64".to_owned(),
    }
}

fn planned(slim: bool, date: &str, mirror: Option<&str>) -> Plan {
    let recipe = DebianRecipe::debian(&DebianImage {
        release: DebianRelease::Bookworm,
        slim,
    });
    plan(&recipe, &"linux/amd64".parse().unwrap(), &indexes(date), mirror).unwrap()
}

const DATE: &str = "Thu, 01 Jan 2026 00:00:00 UTC";

#[test]
fn takes_what_is_required_and_no_converter() {
    let plan = planned(false, DATE, None);
    let names: Vec<&str> = plan.packages.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "apt",
            "base-files",
            "init-system-helpers",
            "libx",
            "mount",
            "usr-is-merged"
        ]
    );
    assert_eq!(plan.download_size(), 42);
    assert_eq!(plan.epoch, 1_767_225_600);
    assert_eq!(plan.signers, ["K"]);
}

#[test]
fn names_the_archive_or_the_mirror_for_apt() {
    let own = planned(false, DATE, None);
    assert!(
        own.apt_sources
            .contains("URIs: http://m.example/debian\nSuites: bookworm\n")
    );
    let other = planned(false, DATE, Some("http://n.example/debian"));
    assert!(
        other
            .apt_sources
            .contains("URIs: http://n.example/debian\nSuites: bookworm bookworm-updates\n")
    );
    assert!(
        other
            .apt_sources
            .contains("URIs: http://n.example/debian-security\nSuites: bookworm-security\n")
    );
}

#[test]
fn the_key_follows_all_that_decides_the_bytes() {
    let key = planned(false, DATE, None).key();
    assert_eq!(planned(false, DATE, None).key(), key);
    assert_ne!(planned(true, DATE, None).key(), key);
    assert_ne!(planned(false, "Fri, 02 Jan 2026 00:00:00 UTC", None).key(), key);
    assert_ne!(planned(false, DATE, Some("http://n.example/debian")).key(), key);
}

#[test]
fn refuses_other_platforms() {
    let recipe = DebianRecipe::debian(&DebianImage {
        release: DebianRelease::Trixie,
        slim: false,
    });
    let indexes = indexes(DATE);
    let with = |platform: &str| plan(&recipe, &platform.parse().unwrap(), &indexes, None).unwrap_err();
    assert!(matches!(with("linux/s390x"), PlanError::Platform { .. }));
    assert!(matches!(with("windows/amd64"), PlanError::Platform { .. }));
    assert!(matches!(with("linux/arm64"), PlanError::Architecture { .. }));
}

#[test]
fn config_is_that_of_the_docker_images() {
    let config = image_config(&planned(false, DATE, None));
    assert_eq!(config.config.cmd, ["bash"]);
    assert_eq!(config.created.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert!(config.config.labels.contains_key(ASSEMBLED_LABEL));
}
