//! What the corpus does not show: which images are asked for, options that change
//! names and flags, and errors with their way out.

use std::collections::BTreeMap;
use std::sync::Mutex;

use distil_frontend::{
    Conversion, ImageName, ImageRequest, ImageResolver, NoCache, Options, ResolveError, ResolveMode,
    ResolvedImage, convert,
};
use distil_llb::pb::op::Kind;
use distil_oci::{Digest, Platform};
use proptest::prelude::*;

const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Knows every image but `missing`, and notes each call.
#[derive(Default)]
struct Images(Mutex<Vec<Vec<ImageRequest>>>);

impl ImageResolver for Images {
    fn resolve(&self, requests: &[ImageRequest]) -> Vec<Result<ResolvedImage, ResolveError>> {
        self.0
            .lock()
            .expect("no test panics inside")
            .push(requests.to_vec());
        requests.iter().map(answer).collect()
    }
}

fn answer(request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
    if matches!(&request.name, ImageName::Named(name) if name.repository() == "library/missing") {
        return Err(ResolveError {
            message: "`missing` is not there".to_owned(),
            help: Some("check the name".to_owned()),
        });
    }
    let platform = &request.platform;
    let config = serde_json::json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Env": ["PATH=/bin"], "Labels": {"from": "base"}},
        "rootfs": {"type": "layers", "diff_ids": [LAYER]},
    });
    Ok(ResolvedImage {
        digest: Digest::sha256(format!("{:?}", request.name).as_bytes()),
        config: config.to_string().into_bytes(),
    })
}

fn options() -> Options {
    Options {
        build_platform: Platform::new("linux", "amd64", ""),
        session: "s".to_owned(),
        ..Options::default()
    }
}

fn lower(text: &str, options: &Options, images: &Images) -> Result<Conversion, String> {
    let shown = |errors: Vec<distil_dockerfile::Diagnostic>| {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let file = distil_dockerfile::parse(text.as_bytes()).map_err(shown)?;
    convert(&file, text.as_bytes(), options, images, &|_| {}).map_err(shown)
}

fn names(conversion: &Conversion) -> Vec<String> {
    let graph = conversion.definition.load().expect("our own graphs load");
    graph.nodes().iter().map(|node| node.display_name()).collect()
}

fn asked(images: &Images) -> Vec<Vec<String>> {
    let calls = images.0.lock().expect("no test panics inside");
    let shown = |request: &ImageRequest| match &request.name {
        ImageName::Named(name) => name.familiar(),
        ImageName::Layout { store, .. } => store.clone(),
    };
    calls
        .iter()
        .map(|call| call.iter().map(shown).collect())
        .collect()
}

#[test]
fn images_are_asked_for_at_once_and_only_when_needed() {
    let images = Images::default();
    let text = "FROM missing AS unused\nFROM a AS one\nFROM b AS two\nFROM a\nCOPY --from=one /x /\nCOPY --from=two /y /\nCOPY --from=c /z /\n";
    let conversion = lower(text, &options(), &images).unwrap();
    assert_eq!(asked(&images), [["a:latest", "b:latest", "c:latest"]]);
    let needed: Vec<_> = conversion
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), stage.needed))
        .collect();
    assert_eq!(
        needed,
        [("unused", false), ("one", true), ("two", true), ("stage-3", true)]
    );
}

#[test]
fn every_missing_image_is_reported_with_its_line() {
    let text = "FROM missing AS a\nFROM missing:2 AS b\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let error = lower(text, &options(), &Images::default()).unwrap_err();
    assert_eq!(
        error,
        "line 1: `missing` is not there (check the name)\nline 2: `missing` is not there (check the name)"
    );
}

#[test]
fn errors_show_the_way_out() {
    for (text, wanted) in [
        ("FROM missing AS x\n", "check the name"),
        ("FROM missing\nFROM scratch AS missing\nFROM missing\n", ""),
        (
            "FROM scratch AS build\nFROM scratch\nCOPY --from=7 / /\n",
            "count from 0",
        ),
        (
            "FROM scratch AS mising\nFROM missing\n",
            "did you mean the stage `mising`?",
        ),
        (
            "FROM scratch AS a\nCOPY --from=missing / /\nFROM scratch AS missing\nFROM a\n",
            "move it above",
        ),
        (
            "FROM missing AS a\nFROM scratch AS missing\nFROM a\n",
            "is defined below, move it above",
        ),
        ("FROM scratch\nRUN --mount=target=/ true\n", "below `/`"),
        ("# syntax=acme/frontend:1\nFROM scratch\n", "built in"),
    ] {
        match lower(text, &options(), &Images::default()) {
            Err(error) => assert!(error.contains(wanted), "{text}: {error}"),
            Ok(_) => assert_eq!(wanted, "", "{text}"),
        }
    }
    let asked_for = Options {
        target: Some("tset".to_owned()),
        ..options()
    };
    let error = lower("FROM scratch AS test\n", &asked_for, &Images::default()).unwrap_err();
    assert_eq!(error, "there is no stage `tset` to build (did you mean `test`?)");
}

#[test]
fn a_closure_is_an_op_of_its_own_with_its_capability() {
    let text =
        "FROM a AS build\nFROM b\nWORKDIR /w\nCOPY --closure --from=build --chown=7 /bin/x /lib/y* root\n";
    let conversion = lower(text, &options(), &Images::default()).unwrap();
    let graph = conversion.definition.load().unwrap();
    let node = graph.nodes().last().unwrap();
    let Kind::Closure(closure) = &node.kind else {
        panic!("{node:?}");
    };
    assert_eq!((closure.base, closure.source), (0, 1));
    assert_eq!(closure.paths, ["/bin/x", "/lib/y*"]);
    assert_eq!((closure.dest.as_str(), closure.mode), ("/w/root", -1));
    assert!(closure.owner.is_some());
    assert!(node.metadata.caps.contains_key("distil.file.closure"));
    assert!(node.display_name().contains("COPY --closure --from=build"));
    let history = conversion.image.history.last().unwrap();
    assert_eq!(
        history.created_by,
        "COPY --closure --chown=7 /bin/x /lib/y* root # buildkit"
    );
    for (flags, says) in [
        ("", "`--closure` needs `--from`"),
        ("--from=build --link", "exclude each other"),
        ("--from=build --parents", "leave `--parents` out"),
    ] {
        let text = format!("FROM a AS build\nFROM b\nCOPY --closure {flags} /x /\n");
        let error = lower(&text, &options(), &Images::default()).unwrap_err();
        assert!(error.starts_with("line 3") && error.contains(says), "{error}");
    }
}

#[test]
fn names_carry_the_platform_where_several_are_built() {
    let options = Options {
        multi_platform: true,
        target_platform: Some(Platform::new("linux", "arm64", "")),
        ..options()
    };
    let text = "FROM --platform=$BUILDPLATFORM a AS build\nARG TARGETARCH\nRUN make\nFROM a\nCOPY --from=build /x /\n";
    let conversion = lower(text, &options, &Images::default()).unwrap();
    let names = names(&conversion);
    assert!(
        names.contains(&"[linux/amd64->arm64 build 2/2] RUN make".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"[linux/arm64 stage-1 2/2] COPY --from=build /x /".to_owned()),
        "{names:?}"
    );
    assert_eq!(conversion.platform.to_string(), "linux/arm64");
    assert_eq!(conversion.image.architecture, "arm64");
}

#[test]
fn no_cache_marks_steps_of_its_stages() {
    let options = Options {
        no_cache: NoCache::Stages(vec!["BUILD".to_owned()]),
        ..options()
    };
    let text = "FROM a AS build\nRUN make\nFROM a\nCOPY --from=build /x /\n";
    let conversion = lower(text, &options, &Images::default()).unwrap();
    let graph = conversion.definition.load().unwrap();
    let marked: Vec<_> = graph
        .nodes()
        .iter()
        .filter(|node| node.metadata.ignore_cache)
        .collect();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].display_name().ends_with("RUN make"));
    assert_eq!(conversion.definition.lines(marked[0].digest), Some((2, 2)));
}

#[test]
fn pull_is_asked_for_and_noted() {
    let options = Options {
        resolve_mode: ResolveMode::Pull,
        ..options()
    };
    let images = Images::default();
    let conversion = lower("FROM a\n", &options, &images).unwrap();
    assert_eq!(images.0.lock().unwrap()[0][0].mode, ResolveMode::Pull);
    let graph = conversion.definition.load().unwrap();
    let Kind::Source(source) = &graph.nodes()[0].kind else {
        panic!("a source")
    };
    assert_eq!(
        source.attrs.get("image.resolvemode").map(String::as_str),
        Some("pull")
    );
}

#[test]
fn layouts_stand_in_for_images() {
    let mut options = options();
    options
        .contexts
        .insert("base".to_owned(), format!("oci-layout://store-1@{LAYER}"));
    let images = Images::default();
    let conversion = lower("FROM base\nRUN true\n", &options, &images).unwrap();
    assert_eq!(asked(&images), [["store-1"]]);
    let graph = conversion.definition.load().unwrap();
    let Kind::Source(source) = &graph.nodes()[0].kind else {
        panic!("a source")
    };
    assert_eq!(
        source.identifier,
        format!("oci-layout://docker.io/library/base@{LAYER}")
    );
    assert_eq!(source.attrs["oci.store"], "store-1");
    assert_eq!(
        graph.nodes()[0].display_name(),
        "[context base] OCI load from client"
    );
}

#[test]
fn a_directory_in_place_of_a_stage_is_an_image_too() {
    let mut options = options();
    options
        .contexts
        .insert("files".to_owned(), "local:files".to_owned());
    let text = "FROM missing AS files\nFROM files\nLABEL a=b\n";
    let conversion = lower(text, &options, &Images::default()).unwrap();
    assert_eq!(conversion.image.platform().to_string(), "linux/amd64");
    assert_eq!(conversion.local_contexts, ["files"]);
}

/// Identifier, attributes, capabilities and platform of the package sources.
fn packages(conversion: &Conversion) -> Vec<String> {
    let graph = conversion.definition.load().expect("our own graphs load");
    let shown = |node: &distil_llb::OpNode| match &node.kind {
        Kind::Source(source) if source.identifier.starts_with("deb://") => {
            let platform = node.platform.as_ref().map_or("", |one| &one.architecture);
            let caps: Vec<&str> = node.metadata.caps.keys().map(String::as_str).collect();
            Some(format!(
                "{} {:?} {caps:?} {platform} {}",
                source.identifier,
                source.attrs,
                node.display_name()
            ))
        }
        _ => None,
    };
    graph.nodes().iter().filter_map(shown).collect()
}

#[test]
fn packages_are_a_source_of_their_own() {
    const CAPS: &str = r#"["distil.source.deb"]"#;
    let mut named = options();
    named
        .contexts
        .insert("libs".to_owned(), "deb:bookworm/tzdata,libpq5".to_owned());
    for (text, shown) in [
        (
            "FROM scratch\nCOPY --from=deb:bookworm/tzdata,libpq5 / /\n",
            "FROM deb:bookworm/libpq5,tzdata",
        ),
        (
            "FROM --platform=linux/amd64 deb:bookworm/tzdata,libpq5\nCOPY a /\n",
            "[1/2] FROM deb:bookworm/libpq5,tzdata",
        ),
        (
            "FROM a\nRUN --mount='target=/x,\"from=deb:bookworm/libpq5,tzdata\"' x\n",
            "FROM deb:bookworm/libpq5,tzdata",
        ),
        (
            "FROM scratch\nCOPY --from=libs / /\n",
            "[context libs] deb:bookworm/tzdata,libpq5",
        ),
        (
            "FROM libs\nCOPY a /\n",
            "[context libs] deb:bookworm/tzdata,libpq5",
        ),
        (
            "FROM debian AS libs\nFROM libs\nCOPY a /\n",
            "[context libs] deb:bookworm/tzdata,libpq5",
        ),
        (
            "FROM a\nRUN --mount=from=libs,target=/x x\n",
            "[context libs] deb:bookworm/tzdata,libpq5",
        ),
    ] {
        let conversion = lower(text, &named, &Images::default()).unwrap();
        let wanted = format!("deb://bookworm/libpq5,tzdata {{}} {CAPS} amd64 {shown}");
        assert_eq!(packages(&conversion), [wanted], "{text}");
    }
}

#[test]
fn packages_are_looked_up_again_with_pull_and_are_of_the_platform() {
    let options = Options {
        resolve_mode: ResolveMode::Pull,
        target_platform: Some(Platform::new("linux", "arm64", "")),
        ..options()
    };
    let text = "FROM scratch\nCOPY --from=deb:trixie/libpq5 /usr /usr\n";
    let found = packages(&lower(text, &options, &Images::default()).unwrap());
    assert!(found[0].contains(r#"{"deb.resolvemode": "pull"}"#), "{found:?}");
    assert!(found[0].contains(" arm64 "), "{found:?}");
}

#[test]
fn packages_are_never_linked() {
    let text = "FROM a\nCOPY --link --from=deb:trixie/libpq5 / /\nCOPY --link --from=b / /\n";
    let conversion = lower(text, &options(), &Images::default()).unwrap();
    let graph = conversion.definition.load().expect("our own graphs load");
    let merges = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.kind, Kind::Merge(_)));
    assert_eq!(merges.count(), 1, "{:?}", names(&conversion));
}

#[test]
fn what_names_no_packages_is_refused_at_its_line() {
    let mut options = options();
    options
        .contexts
        .insert("bad".to_owned(), "deb:bookworm".to_owned());
    for (text, wanted) in [
        (
            "FROM scratch\nCOPY --from=deb:bookworm/ / /\n",
            "line 2: `deb:bookworm/` has an empty package name",
        ),
        (
            "FROM deb:bookworm/libpq5=15.1\nCOPY a /\n",
            "line 1: `libpq5=15.1` in",
        ),
        (
            "FROM scratch\nCOPY --from=bad / /\n",
            "line 2: the build context `bad=deb:bookworm` is refused: `deb:bookworm` is not",
        ),
    ] {
        let error = lower(text, &options, &Images::default()).unwrap_err();
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
    let images = Images::default();
    lower(
        "FROM deb:bookworm\nCOPY --from=deb:5000/x / /\n",
        &options,
        &images,
    )
    .unwrap();
    assert_eq!(asked(&images), [["deb:bookworm", "deb:5000/x:latest"]]);
}

#[test]
fn labels_of_options_win_without_history() {
    let mut options = options();
    options.labels.insert("from".to_owned(), "option".to_owned());
    let conversion = lower("FROM a\nLABEL from=file\n", &options, &Images::default()).unwrap();
    assert_eq!(conversion.image.config.labels["from"], "option");
    assert_eq!(conversion.image.history.len(), 1);
    assert_eq!(conversion.base_image.unwrap().config.labels["from"], "base");
}

#[test]
fn the_epoch_dates_history_and_directories() {
    let mut options = options();
    options
        .build_args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "1234567890".to_owned());
    let conversion = lower("FROM a\nWORKDIR /w\n", &options, &Images::default()).unwrap();
    assert_eq!(conversion.epoch, Some(1_234_567_890));
    assert_eq!(
        conversion.image.history[0].created.as_deref(),
        Some("2009-02-13T23:31:30Z")
    );
    assert_eq!(conversion.local_contexts, Vec::<String>::new());
}

#[test]
fn control_arguments_win() {
    let mut options = options();
    for (key, value) in [
        ("BUILDKIT_SANDBOX_HOSTNAME", "here"),
        ("BUILDKIT_CACHE_MOUNT_NS", "team"),
        ("BUILDKIT_MULTI_PLATFORM", "1"),
    ] {
        options.build_args.insert(key.to_owned(), value.to_owned());
    }
    let text = "FROM a\nRUN --mount=type=cache,target=/c true\n";
    let conversion = lower(text, &options, &Images::default()).unwrap();
    let json = conversion.definition.to_json_text().unwrap();
    for wanted in ["\"hostname\": \"here\"", "\"ID\": \"team//c\"", "[linux/amd64 "] {
        assert!(json.contains(wanted), "{wanted} is not in {json}");
    }
    options
        .build_args
        .insert("BUILDKIT_MULTI_PLATFORM".to_owned(), "maybe".to_owned());
    assert!(
        lower(text, &options, &Images::default())
            .unwrap_err()
            .contains("maybe")
    );
}

#[test]
fn attributes_are_checked() {
    let attrs = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let read = |key: &str, value: &str| Options::from_attrs(&attrs(key, value));
    let hosts = read("add-hosts", "A.local=10.1.2.3,six=fd00::1")
        .unwrap()
        .extra_hosts;
    assert_eq!(hosts[0], ("a.local".to_owned(), "10.1.2.3".parse().unwrap()));
    let limits = read("ulimit", "nofile=1024:2048").unwrap().ulimits;
    assert_eq!((limits[0].soft, limits[0].hard), (1024, 2048));
    assert_eq!(read("no-cache", "").unwrap().no_cache, NoCache::Everywhere);
    assert_eq!(
        read("memory", "1024").unwrap().linux_resources.unwrap().memory,
        1024
    );
    for (key, value) in [
        ("add-hosts", "a"),
        ("add-hosts", "a=b"),
        ("ulimit", "nofile=2:1"),
        ("ulimit", "nope=1"),
        ("platform", "a/b/c/d"),
        ("image-resolve-mode", "always"),
        ("force-network-mode", "bridge"),
        ("memory", "-5"),
        ("shm-size", "64m"),
    ] {
        let error = read(key, value).unwrap_err().to_string();
        assert!(error.contains(key) || error.contains(value), "{error}");
    }
}

/// Lines that go wrong in every way an instruction can.
fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-c$ {}:<>'\"\\\\/.*=@#?-]{0,12}",
        Just("${A:-$B}".to_owned()),
        Just("<<E".to_owned()),
        Just("https://h/a.git#r:d".to_owned()),
        Just("http://h/f?x#y".to_owned()),
        Just("[\"a\", \"b\"]".to_owned()),
    ];
    let start = prop_oneof![
        Just("FROM scratch AS s\n"),
        Just("FROM a\nONBUILD "),
        Just("FROM s\n"),
        Just("RUN "),
        Just("RUN --mount=type=cache,target="),
        Just("RUN --mount=from="),
        Just("COPY "),
        Just("COPY --parents --link --chown="),
        Just("COPY --from="),
        Just("ADD "),
        Just("ADD --checksum="),
        Just("WORKDIR "),
        Just("ENV A="),
        Just("ARG A="),
        Just("LABEL "),
        Just("EXPOSE "),
        Just("USER "),
        Just("VOLUME "),
        Just("STOPSIGNAL "),
        Just("HEALTHCHECK CMD "),
        Just("ENTRYPOINT "),
        Just("ARG SOURCE_DATE_EPOCH="),
    ];
    (start, word.clone(), word).prop_map(|(start, a, b)| format!("{start}{a} {b}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any file is lowered or refused, the same way each time, to a graph that loads.
    #[test]
    fn any_file_is_answered(lines in proptest::collection::vec(line(), 0..8)) {
        let text = format!("FROM a AS base\n{}", lines.concat());
        let first = lower(&text, &options(), &Images::default());
        let second = lower(&text, &options(), &Images::default());
        match (first, second) {
            (Ok(first), Ok(second)) => {
                prop_assert_eq!(&first.definition, &second.definition);
                prop_assert!(first.definition.load().is_ok());
                prop_assert_eq!(first.image, second.image);
            }
            (Err(first), Err(second)) => prop_assert_eq!(first, second),
            _ => prop_assert!(false, "two answers for one file"),
        }
    }
}
