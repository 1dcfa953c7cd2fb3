//! `distil debug` with the toolbox that distil assembles, on an image without a shell.

use crate::ordinary_user::OrdinaryUser;
use crate::world::{World, is_without_archive};

const DOCKERFILE: &str = "FROM gcr.io/distroless/static-debian12\nCOPY Dockerfile /app/Dockerfile\n";

#[test]
fn a_distroless_image_gets_a_shell() {
    let first = World::new(None, DOCKERFILE);
    let output = first.command(&[], &["build", "-t", "made", "--bases=packages", "context"]);
    if is_without_archive(&output) {
        return;
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    looked_into(&first);
    if let Some(user) = OrdinaryUser::new() {
        let other = World::new(Some(user.name.clone()), DOCKERFILE);
        other.share_downloads(&first);
        other.build(&["--bases=packages"]);
        looked_into(&other);
    }
}

fn looked_into(world: &World) {
    let before = (world.image_id("made"), world.distil(&["ls", "-R", "made"]));
    let debug = |command: &[&str]| {
        let output = world.command(&[], &[&["debug", "made", "--"], command].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(debug(&["ls", "/app"]), "Dockerfile\n");
    assert_eq!(
        debug(&["sh", "-c", "echo x > /app/new && ls /app && id -u"]),
        "Dockerfile\nnew\n0\n"
    );
    assert!(debug(&["cat", "/etc/os-release"]).contains("Debian"));
    assert_eq!(
        (world.image_id("made"), world.distil(&["ls", "-R", "made"])),
        before
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&world.path("store")), "{mounts}");
    assert!(!world.distil(&["images"]).contains("toolbox"));
    // It is kept, so that the archive is not asked again.
    let offline = world.distil(&[
        "debug",
        "--mirror",
        "http://127.0.0.1:9/debian",
        "made",
        "--",
        "ls",
        "/app",
    ]);
    assert!(offline.starts_with("Dockerfile\n"), "{offline}");
}
