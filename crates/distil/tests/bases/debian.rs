//! `debian:*`.

use std::fs;
use std::path::Path;

use crate::ordinary_user::OrdinaryUser;
use crate::world::{World, is_without_archive};

const DOCKERFILE: &str = "FROM debian:bookworm-slim\nRUN echo made > /made\n";
const BASE: &str = "debian:bookworm-slim";

#[test]
fn one_base_for_everybody() {
    let first = World::new(None, DOCKERFILE);
    let metadata = first.path("metadata.json");
    let output = first.command(
        &[],
        &[
            "build",
            "-t",
            "made",
            "--bases=packages",
            "--metadata-file",
            &metadata,
            "context",
        ],
    );
    if is_without_archive(&output) {
        return;
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let facts: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    let bases = &facts["distil.bases.assembled"];
    assert_eq!(bases[0], "docker.io/library/debian:bookworm-slim", "{facts}");
    assert!(
        first
            .distil(&["inspect", "made"])
            .contains("distil.base.assembled")
    );
    stays_until_pull(&first);
    let id = first.image_id(BASE);

    let native = World::new(None, DOCKERFILE);
    native.share_downloads(&first);
    native.build(&["--bases=packages", "--snapshotter=native"]);
    assert_eq!(native.image_id(BASE), id);

    if let Some(user) = OrdinaryUser::new() {
        let other = World::new(Some(user.name.clone()), DOCKERFILE);
        other.share_downloads(&first);
        other.build(&["--bases=packages"]);
        assert_eq!(other.image_id(BASE), id);
    }
}

/// An assembled base is used again without a look at the network, is shown only when asked for, and survives
/// pruning of the cache.
fn stays_until_pull(world: &World) {
    let traced = Path::new("/usr/bin/strace").exists();
    if traced {
        let trace = world.path("trace");
        let strace = [
            "strace",
            "-f",
            "-o",
            &trace,
            "-e",
            "trace=socket,connect,unshare,setns,mount",
        ];
        let output = world.command(&strace, &["build", "-t", "made", "context"]);
        assert!(output.status.success());
        let calls = fs::read_to_string(&trace).unwrap();
        let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
        assert!(calls.is_empty(), "{calls:?}");
    } else {
        println!("skipped: `strace` is not installed");
    }
    assert!(!world.distil(&["images"]).contains("debian"));
    assert!(world.distil(&["images", "-a"]).contains("debian"));
    world.distil(&["prune", "--force"]);
    // No archive is there any more: the base is.
    let progress = world.build(&["--no-cache", "--mirror", "http://127.0.0.1:9/debian"]);
    assert!(progress.contains("assembled from Debian packages"), "{progress}");
}
