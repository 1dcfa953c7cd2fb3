//! `gcr.io/distroless/*` and `distil/*` in Dockerfiles.

use std::fs;

use crate::ordinary_user::OrdinaryUser;
use crate::world::{World, is_without_archive};

const DOCKERFILE: &str = "FROM gcr.io/distroless/static-debian12:nonroot\nCOPY Dockerfile /copied\n";
const BASE: &str = "gcr.io/distroless/static-debian12:nonroot";

#[test]
fn one_base_for_everybody() {
    let first = World::new(None, DOCKERFILE);
    let metadata = first.path("metadata.json");
    let build = ["build", "--progress=plain", "-t", "made", "--bases=packages"];
    let output = first.command(
        &[],
        &[&build[..], &["--metadata-file", &metadata, "context"]].concat(),
    );
    if is_without_archive(&output) {
        return;
    }
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("assembled from Debian packages"), "{progress}");
    let facts: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(facts["distil.bases.assembled"][0], BASE, "{facts}");
    let config = first.distil(&["inspect", "made"]);
    for part in [
        "distil.base.assembled",
        "\"User\": \"65532\"",
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(config.contains(part), "`{part}`: {config}");
    }
    assert!(!first.distil(&["images"]).contains("distroless"));
    assert!(first.distil(&["images", "-a"]).contains("distroless"));
    // An archive that is not there is not asked, nor is a registry.
    first.build(&["--no-cache", "--mirror", "http://127.0.0.1:9/debian"]);
    foreign_and_own(&first);

    if let Some(user) = OrdinaryUser::new() {
        let other = World::new(Some(user.name.clone()), DOCKERFILE);
        other.share_downloads(&first);
        other.build(&["--bases=packages"]);
        assert_eq!(other.image_id(BASE), first.image_id(BASE));
    }
}

/// Nothing of these is run, so that any architecture can be had; our own names are asked of no registry.
fn foreign_and_own(world: &World) {
    for (base, flags, wanted) in [
        (
            "gcr.io/distroless/static-debian12:latest-arm64",
            "--bases=packages",
            "arm64",
        ),
        ("distil/static-debian12:slim", "--platform=linux/arm64", "arm64"),
        ("distil/static-debian12:slim", "--bases=auto", "amd64"),
    ] {
        if wanted == "amd64" && std::env::consts::ARCH != "x86_64" {
            continue;
        }
        world.write("Dockerfile", &format!("FROM {base}\n"));
        let progress = world.distil(&["build", "-t", "made", flags, "context"]);
        assert!(!progress.contains("WARNING"), "{progress}");
        let architecture = world.distil(&["inspect", "--format", "{{.Architecture}}", "made"]);
        assert_eq!(architecture.trim(), wanted, "{base} {flags}");
    }
    // Each platform of a name stays, whichever was made last.
    let nowhere = ["--mirror", "http://127.0.0.1:9/debian", "--no-cache"];
    for platform in ["--platform=linux/arm64", "--platform=linux/amd64"] {
        if platform.ends_with("amd64") && std::env::consts::ARCH != "x86_64" {
            continue;
        }
        world.distil(&[&["build", "-t", "made", platform], &nowhere[..], &["context"]].concat());
    }
    world.write("Dockerfile", DOCKERFILE);
}

#[test]
fn names_without_a_recipe_are_the_registrys() {
    let world = World::new(None, DOCKERFILE);
    let fails = |base: &str, flags: &[&str], parts: &[&str]| {
        world.write("Dockerfile", &format!("FROM {base}\n"));
        let output = world.command(&[], &[&["build"], flags, &["context"]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{base}");
        for part in parts {
            assert!(error.contains(part), "{base}: `{part}` is missing in\n{error}");
        }
        error
    };
    fails(
        "distil/static-debian12:slim",
        &["--bases=registry"],
        &["a name of distil's own", "--bases auto"],
    );
    // No registry can be reached: whoever has one answers something else, which is final.
    for (base, nearest) in [
        (
            "gcr.io/distroless/java17-debian13",
            "`gcr.io/distroless/java17-debian12:latest`: Debian 12",
        ),
        (
            "gcr.io/distroless/static-debian11",
            "`gcr.io/distroless/static-debian13:latest`",
        ),
    ] {
        let proxy = ["--bases=packages"];
        let error = fails(base, &proxy, &[]);
        if error.contains("cannot look up") || error.contains("cannot be reached") {
            assert!(error.contains("the nearest recipe is"), "{error}");
            assert!(error.contains(nearest), "{error}");
        } else {
            println!("skipped: the registry of `{base}` can be reached");
        }
    }
}
