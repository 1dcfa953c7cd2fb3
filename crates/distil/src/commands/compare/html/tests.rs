use std::collections::BTreeMap;

use distil_audit::{Ecosystem, Finding, Severity, Share, ShareKind};

use super::page;
use crate::commands::compare::facts::{
    ImageFacts, LayerFacts, PROGRAMS, PackageFacts, SetIdFile, Shares, Sizes,
};
use crate::commands::compare::rows::rows;

/// A name of `length` letters that has to be escaped.
fn name(number: usize, length: usize) -> String {
    format!("{number}{}", "<\"&".repeat(length / 3))
}

fn share(kind: ShareKind, parts: Vec<Share>) -> Share {
    Share {
        kind,
        name: name(7, 200),
        bytes: parts.iter().map(|part| part.bytes).sum::<u64>().max(1_000_000),
        files: 3,
        parts,
    }
}

/// An image with more of everything than any has, under names of any length.
fn huge(number: usize, parts: usize) -> ImageFacts {
    let leaves = |kind| (0..parts).map(|_| share(kind, Vec::new())).collect();
    let programs = |(rule, _, _)| (rule, (0..200).map(|at| name(at, 600)).collect());
    ImageFacts {
        name: name(number, 4000),
        id: "sha256:0".to_owned(),
        platform: "linux/amd64".to_owned(),
        user: name(1, 300),
        size: Sizes {
            stored: 1 << 40,
            seen: 1 << 40,
            wasted: 1 << 30,
            compressed: 1 << 39,
        },
        files: u64::MAX,
        layers: (0..450)
            .map(|at| LayerFacts {
                diff_id: None,
                instruction: name(at, 300),
                files: 1,
                size: 1 << 30,
                wasted: 1 << 20,
                compressed: 1 << 29,
            })
            .collect(),
        packages: (0..1000)
            .map(|at| PackageFacts {
                ecosystem: Ecosystem::Deb,
                name: name(at, 300),
                version: name(number * (at % 2), 300),
                size: 1 << 20,
            })
            .collect(),
        programs: PROGRAMS.into_iter().map(programs).collect::<BTreeMap<_, _>>(),
        set_id: (0..200)
            .map(|at| SetIdFile {
                path: name(at, 600),
                mode: "-rwsr-xr-x".to_owned(),
                owner: "0:0".to_owned(),
            })
            .collect(),
        stages: Vec::new(),
        findings: (0..200)
            .map(|at| Finding::new("secret", Severity::Error, name(at, 600)))
            .collect(),
        vulnerabilities: None,
        start_up: None,
        shares: Shares {
            directories: share(ShareKind::Directory, leaves(ShareKind::File)),
            packages: share(ShareKind::Directory, leaves(ShareKind::Package)),
        },
    }
}

#[test]
fn a_page_stays_below_two_megabytes() {
    for count in [2, 12] {
        let parts = (700 / count).min(233);
        let images: Vec<ImageFacts> = (0..count).map(|number| huge(number, parts)).collect();
        let page = page(&images, &rows(&images));
        assert!(page.len() < 2_000_000, "{count} images: {} bytes", page.len());
        assert!(!page.contains("<\"&"), "everything is escaped");
        assert!(page.contains("more.</p>"), "what is left out is told");
    }
}

#[test]
fn an_empty_image_has_a_page() {
    let mut image = huge(0, 0);
    image.layers.clear();
    image.packages.clear();
    image.programs.clear();
    image.set_id.clear();
    image.findings.clear();
    for share in [&mut image.shares.directories, &mut image.shares.packages] {
        (share.bytes, share.files) = (0, 0);
    }
    let images = [image];
    let page = page(&images, &rows(&images));
    assert!(
        page.contains("No layers.") && page.contains("No package records"),
        "{page}"
    );
}
