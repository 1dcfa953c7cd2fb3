//! Images in the store: listing, names, removal, archives.

use serde_json::Value;

use crate::world::{World, fed, outcome, stable};

const TWO: &str = "FROM busybox\nRUN echo two >/f\nLABEL kind=two\n";

/// The words of a table without what a second changes.
fn words(table: &str) -> Vec<String> {
    stable(table).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn images_are_listed_newest_first_with_dockers_columns() {
    let Some(world) = World::new() else { return };
    world.build("FROM busybox\nRUN echo one >/f\nLABEL kind=one\n", "-q -t one");
    world.build(TWO, "-q -t two -t example.com:5000/team/two:v1");
    let list = stable(&world.ok("images"));
    let rows: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"].as_slice(),
            &["two", "latest", "ID", "AGE", "1.98MB"],
            &["example.com:5000/team/two", "v1", "ID", "AGE", "1.98MB"],
            &["one", "latest", "ID", "AGE", "1.98MB"],
        ]
    );
    let names = |arguments: &str| {
        let line = format!("images {arguments} --format {{{{.Repository}}}}:{{{{.Tag}}}}");
        let output = world.ok(line.replace("images  ", "images ").as_str());
        output.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let two = ["two:latest", "example.com:5000/team/two:v1"];
    assert_eq!(names("--filter reference=*wo"), ["two:latest"]);
    assert_eq!(names("--filter reference=example.com:5000/*/*"), [two[1]]);
    assert_eq!(names("--filter label=kind=one"), ["one:latest"]);
    assert_eq!(names("--filter label=kind --filter since=one"), two);
    assert_eq!(names("--filter before=two"), ["one:latest"]);
    assert_eq!(names("--filter dangling=true"), [""; 0]);
    assert_eq!(names("one"), ["one:latest"]);
    assert_eq!(names("one:nope"), [""; 0]);

    let ids: Vec<String> = world.ok("images -q").lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 2, "an image with two names is one image");
    assert_eq!(ids[0].len(), 12);
    let whole = world.ok("images -q --no-trunc");
    assert!(whole.starts_with(&format!("sha256:{}", ids[0])));
    assert_eq!(words(&world.ok("image ls")), words(&world.ok("images")));
    let table = world.distil(["images", "--format", "table {{.Repository}}\\t{{.ID}}", "one"]);
    assert_eq!(stable(&table.stdout), "REPOSITORY   IMAGE ID\none          ID\n");
    assert!(stable(&world.ok("images --digests one")).contains("DIGEST"));

    for line in world.ok("images --format json").lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        for key in [
            "Repository",
            "Tag",
            "ID",
            "CreatedSince",
            "CreatedAt",
            "Size",
            "Digest",
        ] {
            assert!(object[key].is_string(), "{key} in {object}");
        }
    }
}

#[test]
fn a_name_that_moves_leaves_the_old_image() {
    let Some(world) = World::new() else { return };
    let first = world.build("FROM busybox\nLABEL n=1\n", "-q -t app");
    world.build("FROM busybox\nLABEL n=2\n", "-q -t app");
    let listed = world.ok("images --format {{.Repository}}:{{.Tag}}");
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["<none>:<none>", "app:latest"]);
    let dangling = world.ok("images -q --no-trunc --filter dangling=true");
    assert_eq!(dangling, first);

    let refused = world.distil(["image", "prune"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stdout.contains("<none>"), "it is listed: {refused:?}");
    let pruned = world.ok("image prune -f");
    assert!(pruned.contains(&format!("Deleted: {}", first.trim())), "{pruned}");
    assert!(pruned.contains("Total reclaimed space:"));
    assert_eq!(world.ok("images -q").lines().count(), 1);
    assert!(
        world
            .ok("image prune -a --force")
            .contains("Untagged: app:latest")
    );
    assert_eq!(world.ok("images -q"), "");
}

#[test]
fn names_are_given_and_taken_away() {
    let Some(world) = World::new() else { return };
    let id = world.build("FROM busybox\nLABEL n=1\n", "-q -t app");
    let id = id.trim();
    assert_eq!(world.ok("tag app team/other:v2"), "");
    world.ok(&format!("image tag {} third", &id[7..15]));
    assert!(
        world
            .fails("tag app Wrong", 2)
            .contains("`Wrong` is no image name")
    );
    assert!(world.fails(&format!("rmi {}", &id[7..19]), 1).contains("-f"));
    assert_eq!(world.ok("rmi team/other:v2"), "Untagged: team/other:v2\n");
    assert_eq!(world.ok("image rm third"), "Untagged: third:latest\n");
    assert_eq!(
        world.ok("rmi app"),
        format!("Untagged: app:latest\nDeleted: {id}\n")
    );
    world.ok("rmi -f app");
    let id = world.build("FROM busybox\nLABEL n=1\n", "-q -t a -t b");
    let removed = world.ok(&format!("rmi -f {}", &id[7..19]));
    assert_eq!(
        stable(&removed),
        "Untagged: a:latest\nUntagged: b:latest\nDeleted: DIGEST\n"
    );
}

#[test]
fn history_and_inspect_tell_about_an_image() {
    let Some(world) = World::new() else { return };
    world.build(
        "FROM busybox\nENV A=1 B=2\nRUN echo x >/f\nENTRYPOINT [\"/bin/echo\", \"x\"]\n",
        "-q -t app",
    );
    let by = world.distil([
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Size}}",
        "app",
    ]);
    let by: Vec<&str> = by.stdout.lines().take(3).collect();
    assert_eq!(
        by,
        [
            "ENTRYPOINT [\"/bin/echo\" \"x\"]|0B",
            "RUN /bin/sh -c echo x >/f # buildkit|2B",
            "ENV A=1 B=2|0B",
        ]
    );
    let table = world.ok("history app");
    assert!(table.starts_with("IMAGE "), "{table}");
    assert!(table.lines().nth(2).unwrap().starts_with("<missing>"));
    assert_eq!(words(&world.ok("history -H app")), words(&table));
    let plain = world.distil(["history", "-H=false", "app"]).stdout;
    assert!(!plain.contains("1.98MB") && !plain.contains("ago"), "{plain}");
    assert_eq!(
        world.ok("history -q app").lines().count(),
        table.lines().count() - 1
    );

    let inspect = |format: &str| world.distil(["inspect", "-f", format, "app"]).stdout;
    for (format, text) in [
        (
            "{{.Os}}/{{.Architecture}} {{index .RepoTags 0}}",
            "linux/amd64 app:latest\n",
        ),
        ("{{json .Config.Entrypoint}}", "[\"/bin/echo\",\"x\"]\n"),
        (
            "{{range .Config.Env}}{{println .}}{{end}}",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nA=1\nB=2\n\n",
        ),
        (
            "{{.Config.User}}{{if .Config.Cmd}}cmd{{else}}none{{end}}",
            "none\n",
        ),
        ("{{len .RootFS.Layers}}", "2\n"),
    ] {
        if format.contains("Architecture") && std::env::consts::ARCH != "x86_64" {
            continue;
        }
        assert_eq!(inspect(format), text, "{format}");
    }
    let objects: Value = serde_json::from_str(&world.ok("image inspect app app")).unwrap();
    assert_eq!(objects.as_array().unwrap().len(), 2);
    let missing = world.distil(["inspect", "app", "nope"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stdout.contains("RepoTags") && missing.stderr.contains("`nope`"));
}

#[test]
fn what_save_writes_load_reads() {
    let Some(world) = World::new() else { return };
    let id = world.build(TWO, "-q -t app");
    world.ok("tag app other:v1");
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        world.ok(&format!("save --format {format} -o saved.{format} app other:v1"));
    }
    world.ok("save -o saved.both app other:v1");
    let piped = outcome(world.command().args(["save", "app", "other:v1"]));
    assert_eq!(piped.code, 0);
    assert!(world.fails("save --format oci-dir app", 2).contains("-o FOLDER"));
    for name in [
        "saved.docker-archive",
        "saved.oci-archive",
        "saved.oci-dir",
        "saved.both",
    ] {
        world.ok("rmi -f app other:v1");
        assert_eq!(world.ok("images -q"), "");
        let loaded = world.ok(&format!("load -i {name}"));
        assert_eq!(
            loaded, "Loaded image: app:latest\nLoaded image: other:v1\n",
            "{name}"
        );
        assert_eq!(world.ok("images -q --no-trunc"), id, "{name}");
        assert_eq!(world.ok("run app cat /f"), "two\n", "{name}");
    }
    let archive = std::fs::read(world.path("saved.both")).unwrap();
    let loaded = fed(world.command().args(["image", "load", "-q"]), &archive);
    assert_eq!(loaded.stdout, "app:latest\nother:v1\n");
    world.write("broken", "no archive at all");
    let broken = world.fails("load -i broken", 1);
    assert!(broken.contains("not an image archive"), "{broken}");
}

#[test]
fn the_build_cache_is_listed_and_pruned() {
    let Some(world) = World::new() else { return };
    world.build(
        "FROM busybox AS a\nRUN echo x >/x\nFROM busybox\nCOPY --from=a /x /x\n",
        "-q -t app",
    );
    let du = world.ok("du");
    for part in [
        "ID ",
        "RUN echo x >/x",
        "Images:",
        "Build cache:",
        "Reclaimable:",
        " of it in no image, limit ",
    ] {
        assert!(du.contains(part), "{part} in {du}");
    }
    assert_eq!(words(&world.ok("system df")), words(&world.ok("buildx du")));
    assert!(world.ok("du --format {{.Description}}").contains("RUN echo x"));
    let asked = world.distil(["prune"]);
    assert_eq!(asked.code, 2);
    assert!(asked.stdout.contains("RUN echo x"), "{asked:?}");
    let pruned = world.ok("prune --force");
    assert!(
        pruned.contains("RUN echo x") && !pruned.contains("COPY"),
        "{pruned}"
    );
    assert!(world.ok("builder prune -af").contains("Total reclaimed space:"));
    assert!(world.ok("du").starts_with("Images:"));
    assert_eq!(world.ok("run app cat /x"), "x\n", "images stay");
    assert!(world.ok("reset --force").starts_with("Deleted"));
    assert!(!world.path("store").exists());
}
