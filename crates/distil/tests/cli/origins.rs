//! Where files come from over the stages of a build.

use serde_json::Value;

use crate::world::World;

const DOCKERFILE: &str = "\
FROM busybox AS deps
COPY dpkg /var/lib/dpkg
RUN mkdir -p /usr/lib /etc/libx && echo x > /usr/lib/libx.so.1 \\
    && ln -s libx.so.1 /usr/lib/libx.so && echo c > /etc/libx/conf && ln -s usr/lib /lib
FROM busybox AS build
COPY --from=deps /lib/ /out/lib/
RUN echo tool > /out/tool
FROM scratch
COPY --from=build /out /
COPY --link --from=deps /etc/libx /etc/libx
COPY notes /notes.txt
LABEL a=b
";

fn world() -> Option<World> {
    let world = World::new()?;
    world.write("context/notes", "n");
    world.write(
        "context/dpkg/status",
        "Package: other\nStatus: install ok installed\nVersion: 9\nArchitecture: all\n\n\
         Package: libx\nStatus: install ok installed\nVersion: 1.2-3\nArchitecture: amd64\nSource: x (1.2)\n",
    );
    // As Debian lists files of a merged /usr, and by its name with an architecture.
    let list = "/.\n/lib\n/lib/libx.so.1\n/usr/lib/libx.so\n/usr/lib/gone\n/etc/libx/conf\n";
    world.write("context/dpkg/info/libx:amd64.list", list);
    world.write("context/dpkg/info/other.list", "/usr/bin/other\n");
    Some(world)
}

fn object(world: &World, image: &str, path: &str) -> Value {
    let text = world.ok(&format!("which --format json {image} {path}"));
    serde_json::from_str(&text).unwrap()
}

/// Stage, path and lines of each place that a file was copied from.
fn places(object: &Value) -> Vec<(String, String, u64)> {
    let places = object["CopiedFrom"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = |place: &Value| {
        (
            text(&place["Stage"]),
            text(&place["Path"]),
            place["Lines"][0].as_u64().unwrap_or(0),
        )
    };
    places.map(place).collect()
}

fn place(stage: &str, path: &str, line: u64) -> (String, String, u64) {
    (stage.to_owned(), path.to_owned(), line)
}

#[test]
fn a_file_is_traced_through_all_stages() {
    let Some(world) = world() else { return };
    world.build(DOCKERFILE, "-q -t app");
    let library = object(&world, "app", "/lib/libx.so.1");
    let through = [
        place("build", "/out/lib/libx.so.1", 6),
        place("deps", "/usr/lib/libx.so.1", 3),
    ];
    assert_eq!(places(&library), through, "{library}");
    assert_eq!(library["Package"]["name"], "libx", "{library}");
    assert_eq!(library["Package"]["source"]["version"], "1.2");
    assert_eq!(
        (&library["Stage"], &library["Lines"][0]),
        (&"stage-2".into(), &9.into())
    );
    let tool = object(&world, "app", "/tool");
    assert_eq!(places(&tool), [place("build", "/out/tool", 7)], "{tool}");
    assert_eq!(tool["Package"], Value::Null);
    let conf = object(&world, "app", "/etc/libx/conf");
    assert_eq!(places(&conf), [place("deps", "/etc/libx/conf", 3)], "{conf}");
    assert_eq!(conf["Package"]["version"], "1.2-3");
    let notes = object(&world, "app", "/notes.txt");
    assert_eq!(places(&notes), [place("build context", "/notes", 0)], "{notes}");
    let text = world.ok("which app /lib/libx.so.1");
    for line in [
        "stage:          stage-2",
        "instruction:    COPY /out / (Dockerfile:9)",
        "copied from:    /out/lib/libx.so.1 of build",
        "made there by:  COPY --from=deps /lib/ /out/lib/ (Dockerfile:6)",
        "copied from:    /usr/lib/libx.so.1 of deps",
        "(Dockerfile:3-4)",
        "package:        libx 1.2-3 (amd64), of source x 1.2",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn the_record_outlives_the_build_cache_and_goes_with_the_image() {
    let Some(world) = world() else { return };
    let id = world.build(DOCKERFILE, "-q -t app");
    world.ok("prune --all --force");
    let through = places(&object(&world, "app", "/lib/libx.so.1"));
    assert_eq!(through.len(), 2);
    // The same image from a Dockerfile with a line more on top: its lines count.
    world.write("context/Dockerfile", &format!("# a comment\n{DOCKERFILE}"));
    assert_eq!(
        world
            .build(&format!("# a comment\n{DOCKERFILE}"), "-q -t app")
            .len(),
        id.len()
    );
    assert_eq!(places(&object(&world, "app", "/lib/libx.so.1"))[1].2, 4);
    // An archive that was written from a build is known by its digest; one that was built elsewhere is not.
    world.ok("save -o app.tar app");
    assert_eq!(places(&object(&world, "app.tar", "/lib/libx.so.1")).len(), 2);
    assert!(world.ok("sbom --format table app.tar").contains("libx"));
    world.ok("rmi app");
    assert_eq!(places(&object(&world, "app.tar", "/lib/libx.so.1")).len(), 0);
}

#[test]
fn a_stage_that_is_gone_from_the_cache_is_still_told_of() {
    let Some(world) = world() else { return };
    world.build(DOCKERFILE, "-q -t app");
    // Another image from the same copies: nothing of the stages is looked at.
    world.build(&DOCKERFILE.replace("a=b", "a=c"), "-q -t other");
    assert_eq!(places(&object(&world, "other", "/lib/libx.so.1")).len(), 2);
}
