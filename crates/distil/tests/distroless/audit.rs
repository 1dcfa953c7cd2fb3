//! What `distil audit` says of the images of the built-in recipes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ordinary_user::OrdinaryUser;
use super::{PROGRAMS, World, all};

/// What is accepted: rules with the paths that they may be about, as the policy's reasons name them.
const ACCEPTED: [(&str, &[&str]); 8] = [
    ("sticky-directory", &["/tmp", "/var/tmp", "/var/lock"]),
    ("setgid", &["/var/local"]),
    ("owner", &["/var/local", "/home/nonroot"]),
    ("system-tool", &["/usr/bin/", "/usr/sbin/", "/sbin/"]),
    (
        "missing-interpreter",
        &[
            "/usr/bin/ldd",
            "/usr/bin/tzselect",
            "/etc/update-motd.d/",
            "/usr/lib/python3",
            "/usr/share/nodejs/",
        ],
    ),
    (
        "dangling-link",
        &["/usr/share/zoneinfo/localtime", "/usr/share/doc/"],
    ),
    ("missing-licence", &["/usr/share/doc/python3.13-venv/copyright"]),
    ("missing-library", &["/usr/lib/jvm/"]),
];

fn report(world: &World, image: &str) -> Value {
    let output = world.command(&["audit", "--format", "json", &format!("distil/{image}")]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(if report["Fails"] == true { 3 } else { 0 })
    );
    report
}

/// Rule and path of the findings of a list.
fn places(list: &Value) -> Vec<(&str, &str, &str)> {
    let all = list.as_array().unwrap().iter();
    all.map(|finding| {
        let field = |name: &str| finding[name].as_str().unwrap_or_default();
        (field("Rule"), field("Path"), field("Severity"))
    })
    .collect()
}

/// The image passes, with nothing but root as its user and what is accepted.
fn passes(world: &World, image: &str) {
    let report = report(world, image);
    assert_eq!(
        (&report["Fails"], &report["Errors"]),
        (&false.into(), &0.into()),
        "{image}: {report:#}"
    );
    let warnings: Vec<_> = places(&report["Findings"])
        .into_iter()
        .filter(|(rule, _, severity)| *severity != "note" && *rule != "user-root")
        .collect();
    assert_eq!(warnings, [], "{image}");
    let mut tools = BTreeSet::new();
    for (rule, path, _) in places(&report["Allowed"]) {
        let known = ACCEPTED.iter().find(|(known, _)| *known == rule);
        let fits = known.is_some_and(|(_, paths)| paths.iter().any(|known| path.starts_with(known)));
        assert!(fits, "{image}: {rule} {path}");
        if rule == "system-tool" {
            tools.insert(path.to_owned());
        }
    }
    // libc-bin alone brings programs, and of the images only this one has it.
    assert_eq!(
        tools.is_empty(),
        !image.starts_with("python3-debian13"),
        "{image}: {tools:?}"
    );
}

#[test]
fn images_of_the_built_in_recipes_pass() {
    let Some(world) = World::new(PROGRAMS) else { return };
    for image in [
        "static-debian12:nonroot",
        "base-debian13:slim",
        "cc-debian12:nonroot",
    ] {
        if !world.make(image) {
            return;
        }
        passes(&world, image);
    }
}

#[test]
fn every_image_of_the_built_in_recipes_passes() {
    if !all() {
        return;
    }
    let Some(world) = World::new(PROGRAMS) else { return };
    for name in world.distil(&["base", "list", "--format", "{{.Name}}"]).lines() {
        for tag in ["latest", "nonroot", "slim", "slim-nonroot"] {
            let image = format!("{name}:{tag}");
            if !world.make(&image) {
                return;
            }
            passes(&world, &image);
        }
    }
}

/// The shell of a debug image is the one thing that is refused.
#[test]
fn debug_images_have_a_shell() {
    let Some(world) = World::new(PROGRAMS) else { return };
    let image = "static-debian12:debug-nonroot";
    if !world.make(image) {
        return;
    }
    let report = report(&world, image);
    let findings = places(&report["Findings"]).into_iter();
    let errors: Vec<_> = findings.filter(|(_, _, severity)| *severity == "error").collect();
    assert_eq!(errors, [("shell", "/busybox/busybox", "error")]);
}

/// Files of other owners are read, and a build that is cached is looked at too.
#[test]
fn an_ordinary_user_audits_builds_and_images() {
    let Some(world) = World::new(PROGRAMS) else { return };
    if !world.make("static-debian12:nonroot") {
        return;
    }
    let Some(user) = OrdinaryUser::new() else { return };
    let other = World::of(PROGRAMS, &user.name, &world);
    let context = other.path("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = "FROM scratch\nCOPY --chown=1:1 --chmod=600 key /app/key\nUSER 65532\n";
    std::fs::write(format!("{context}/Dockerfile"), dockerfile).unwrap();
    std::fs::write(format!("{context}/key"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    other.distil(&["build", "-q", "-t", "app", "context"]);
    let found = other.command(&["audit", "app"]);
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(
        found.status.code() == Some(3) && text.contains("`/app/key` holds a private key"),
        "{text}"
    );
    let refused = other.command(&["build", "--audit", "distroless", "context"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && error.contains("secret: `/app/key`"),
        "{error}"
    );
    let large = other.command(&["build", "--max-size", "5B", "context"]);
    let error = String::from_utf8_lossy(&large.stderr);
    assert!(
        large.status.code() == Some(1)
            && error.contains("28B  /app/key: COPY --chown=1:1 --chmod=600 key /app/key"),
        "{error}"
    );
}
