//! `ls`, `cat`, `cp`, `diff`, `which`: looking into images.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::Value;

use crate::world::{World, outcome};

/// An image with a name that is dangerous to print, a file that a later layer removes, a changed one, links,
/// a set-user-id program, and a package.
fn world() -> Option<World> {
    let world = World::new()?;
    let files = world.path("context/files");
    std::fs::create_dir_all(files.join("data/deep")).unwrap();
    std::fs::write(files.join("data/new\nline"), "1").unwrap();
    std::fs::write(files.join("data/\u{1b}[31mred"), "22").unwrap();
    std::fs::write(files.join("data/deep/gone"), "12345").unwrap();
    std::fs::write(files.join("tool"), "#!tool\n").unwrap();
    std::fs::set_permissions(files.join("tool"), PermissionsExt::from_mode(0o4755)).unwrap();
    symlink("data", files.join("link")).unwrap();
    symlink("b", files.join("a")).unwrap();
    symlink("a", files.join("b")).unwrap();
    let dpkg = files.join("var/lib/dpkg/status.d");
    std::fs::create_dir_all(&dpkg).unwrap();
    let record = "Package: tools\nVersion: 1.2-3\nArchitecture: amd64\nSource: toolbox\n";
    std::fs::write(dpkg.join("tools"), record).unwrap();
    std::fs::write(
        dpkg.join("tools.md5sums"),
        "0123456789abcdef0123456789abcdef  tool\n",
    )
    .unwrap();
    world.build(
        "FROM busybox\nCOPY files /app\nCOPY files/var /var\nCOPY files/tool /tool\n\
         RUN rm /app/data/deep/gone && echo more >> /etc/passwd && truncate -s 64M /sparse \\\n\
         && echo secret > /private && chown 1000:1000 /private && chmod 600 /private\n",
        "-q -t app",
    );
    Some(world)
}

#[test]
fn images_are_looked_into_without_running_them() {
    let Some(world) = world() else { return };
    let list = world.ok("ls app /app");
    for line in [
        "link -> data",
        "-rwsr-xr-x   0:0     7B ",
        "drwxr-xr-x   0:0     3B ",
    ] {
        assert!(list.contains(line), "{line}: {list}");
    }
    assert!(!list.contains("gone") && !list.contains("deep"), "{list}");
    // Through a link to a directory, with names that would act on a terminal.
    let list = world.ok("ls -R app /app/link");
    for line in ["\\u{1b}[31mred", "new\\nline", "deep"] {
        assert!(list.contains(line), "{line}: {list}");
    }
    assert_eq!(list.lines().count(), 4, "{list}");
    assert_eq!(world.ok("ls --format {{.Path}} app /app/a"), "/app/a\n");
    let json: Value = serde_json::from_str(&world.ok("ls --format json app /app/tool")).unwrap();
    assert_eq!(
        (&json["Size"], &json["Permissions"], &json["Layer"]),
        (&7.into(), &"4755".into(), &1.into())
    );
    assert_eq!(world.ok("cat app /app/tool /app/../tool"), "#!tool\n#!tool\n");
    assert!(world.ok("cat app etc/passwd").ends_with("more\n"));
    // Only its owner may read it, whoever runs this.
    assert_eq!(
        world.ok("ls --format {{.Mode}},{{.Owner}} app /private"),
        "-rw-------,1000:1000\n"
    );
    assert_eq!(world.ok("cat app /private"), "secret\n");
}

#[test]
fn what_is_not_there_is_told_with_the_reason() {
    let Some(world) = world() else { return };
    for (line, says) in [
        ("cat app /nope", "image `app` has no `/nope`"),
        ("cat app /app/data/deep/gone", "removed it"),
        ("cat app /app/a", "is a link to `b`, which leads nowhere"),
        ("cat app /app", "`/app` is a directory"),
        ("cat app /", "`/` is a directory"),
        ("ls app /app/tool/x", "has no `/app/tool/x`"),
        ("which app /", "`/` is from no layer alone"),
        ("ls nope", "no such image: `nope`"),
        ("diff app nope", "no such image: `nope`"),
    ] {
        let error = world.fails(line, 1);
        assert!(error.contains(says), "distil {line}: {error}");
    }
    assert!(world.fails("cp app .", 2).contains("absolute path"));
    let error = outcome(world.command().args(["cat", "app", "/a\u{1b}[2J\nb"]));
    assert!(error.stderr.contains("`/a\\u{1b}[2J\\nb`"), "{error:?}");
}

#[test]
fn a_file_is_traced_to_layer_instruction_and_package() {
    let Some(world) = world() else { return };
    let text = world.ok("which app /tool");
    for line in [
        "instruction:  COPY files/tool /tool",
        "package:      tools 1.2-3 (amd64), of source toolbox",
        "layer:        3 of 0 to 4, sha256:",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json: Value = serde_json::from_str(&world.ok("which --format json app /etc/passwd")).unwrap();
    let instruction = json["Instruction"].as_str().unwrap();
    assert!(instruction.starts_with("RUN rm /app/data/deep/gone &&"), "{json}");
    assert_eq!(json["Replaces"][0]["Layer"], 0, "{json}");
    assert_eq!(json["Package"], Value::Null);
}

#[test]
fn layers_and_images_are_compared() {
    let Some(world) = world() else { return };
    let text = world.ok("diff app");
    for line in [
        "layer 1: 120B in 6 files, 5B wasted: COPY files /app\n",
        "layer 3: 7B in 1 file: COPY files/tool /tool\n",
        "  D  5B          /app/data/deep/gone\n",
        "  C  92B -> 97B  /etc/passwd\n",
        "  A  67.1MB      /sparse\n",
        "  A  7B  /tool\n",
        "/ (6 files)\n",
        " wasted (",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json = world.ok("diff --format json --path /app/data/deep app");
    let changes: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = changes.last().unwrap();
    assert_eq!(
        (&last["Change"], &last["Before"], &last["Layer"]),
        (&"removed".into(), &5.into(), &4.into())
    );
    world.build(
        "FROM app\nRUN chmod 700 /app && rm -r /var && echo x > /app/x\n",
        "-q -t other",
    );
    let text = world.ok("diff app other");
    let wanted = "  C  0B    /app\n  A  2B    /app/x\n  D  ";
    assert!(text.starts_with(wanted), "{text}");
    assert!(text.ends_with("/var/ (2 files)\n"), "{text}");
    assert!(
        world
            .ok("diff --all app other")
            .ends_with("/var/lib/dpkg/status.d/tools.md5sums\n")
    );
    assert_eq!(world.ok("diff app app"), "");
}

#[test]
fn files_are_copied_out_without_harm() {
    let Some(world) = world() else { return };
    std::fs::create_dir(world.path("out")).unwrap();
    world.ok("cp app:/app/tool out");
    // A program that acts as its owner would act as whoever copied it.
    let mode = |name: &str| std::fs::metadata(world.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("out/tool"), 0o755);
    world.ok("cp app:/app out/copy");
    assert_eq!(world.read("out/copy/data/new\nline"), "1");
    assert_eq!(
        std::fs::read_link(world.path("out/copy/link")).unwrap().to_str(),
        Some("data")
    );
    world.ok("cp app:/app/link out/link");
    assert!(world.path("out/link").is_symlink());
    world.ok("cp -L app:/app/link out/followed");
    assert!(world.path("out/followed/deep").is_dir());
    world.ok("cp app:/app/data/. out/contents");
    assert!(world.path("out/contents/deep").is_dir());
    world.ok("cp app:/sparse out");
    let sparse = std::fs::metadata(world.path("out/sparse")).unwrap();
    assert_eq!(sparse.len(), 64 << 20);
    assert!(sparse.blocks() < 1000, "{} blocks", sparse.blocks());

    // Neither out of the folder through a link, nor over a directory.
    world.write("out/merge/app/tool/mine", "mine");
    assert!(
        world
            .fails("cp app:/app out/merge", 1)
            .contains("`out/merge/app/tool` is a directory")
    );
    assert!(!world.path("out/merge/app/data").exists());
    std::fs::create_dir_all(world.path("out/trap/app")).unwrap();
    symlink(world.path("home"), world.path("out/trap/app/data")).unwrap();
    let error = world.fails("cp app:/app out/trap", 1);
    assert!(
        error.contains("`out/trap/app/data` is there and not a directory"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(world.path("home")).unwrap().count(), 0);
    assert!(
        world
            .fails("cp app:/app/tool none/x", 1)
            .contains("make the folder first")
    );
    assert!(
        world
            .fails("cp app:/app/tool/. out", 1)
            .contains("is not a directory")
    );

    let tar = world
        .command()
        .args(["cp", "app:/app/data", "-"])
        .output()
        .unwrap()
        .stdout;
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        ["data/", "data/\u{1b}[31mred", "data/deep/", "data/new\nline"]
    );
}

#[test]
fn archives_and_layouts_are_looked_into_where_they_are() {
    let Some(world) = world() else { return };
    world.ok("save -o app.tar app");
    world.ok("save --format oci-dir -o layout app");
    world.ok("rmi app");
    for name in ["app.tar", "./layout"] {
        assert_eq!(world.ok(&format!("cat {name} /tool")), "#!tool\n");
        assert_eq!(world.ok(&format!("diff {name} app.tar")), "");
    }
    // Nothing of it stays.
    assert_eq!(world.ok("images -q"), "");
    let archive = std::fs::read(world.path("app.tar")).unwrap();
    std::fs::write(world.path("cut.tar"), &archive[..archive.len() / 2]).unwrap();
    world.write("text", "no archive");
    // A manifest that is another than its digest says.
    let index: Value = serde_json::from_str(&world.read("layout/index.json")).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    world.write(&format!("layout/blobs/{}", digest.replace(':', "/")), "{}");
    for name in ["cut.tar", "text", "home", "layout"] {
        let error = world.fails(&format!("ls ./{name}"), 1);
        assert!(error.contains(&format!("`./{name}`: ")), "{error}");
    }
}
