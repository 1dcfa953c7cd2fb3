//! The build checks that need values or bases, beyond what the corpus shows.

use std::cell::RefCell;

use distil_frontend::{ImageName, ImageRequest, ImageResolver, Options, ResolveError, ResolvedImage};
use distil_oci::{Digest, Platform};
use serde_json::json;

/// Images whose names say what is special about them.
struct Images;

impl ImageResolver for Images {
    fn resolve(&self, requests: &[ImageRequest]) -> Vec<Result<ResolvedImage, ResolveError>> {
        requests.iter().map(image).collect()
    }
}

fn image(request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
    let name = match &request.name {
        ImageName::Named(name) => name.familiar(),
        ImageName::Layout { store, .. } => store.clone(),
    };
    let mut config = json!({"Env": ["FROM_BASE=1"]});
    match name.as_str() {
        "shell:latest" => config["Shell"] = json!(["/bin/bash", "-c"]),
        "triggers:latest" => config["OnBuild"] = json!(["CMD run", "ENV T=$NOPE"]),
        "missing:latest" => {
            return Err(ResolveError {
                message: "`missing` is not there".to_owned(),
                help: None,
            });
        }
        _ => {}
    }
    let architecture = if name == "s390x:latest" { "s390x" } else { "amd64" };
    let layer = Digest::sha256(b"").to_string();
    let image = json!({
        "architecture": architecture, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    });
    Ok(ResolvedImage {
        digest: Digest::sha256(name.as_bytes()),
        config: image.to_string().into_bytes(),
    })
}

/// `Rule:line` of each warning, in the order they come, then the error.
fn found(text: &str, change: impl FnOnce(&mut Options)) -> Vec<String> {
    let file = distil_dockerfile::parse(text.as_bytes()).expect("a valid file");
    let mut options = Options {
        build_platform: Platform::new("linux", "amd64", ""),
        ..Options::default()
    };
    change(&mut options);
    let found = RefCell::new(Vec::new());
    let result = distil_frontend::check(&file, text.as_bytes(), &options, &Images, &|warning| {
        let text = format!("{}:{}", warning.rule.name(), warning.span.first_line);
        found.borrow_mut().push(text);
    });
    let mut found = found.into_inner();
    if let Err(errors) = result {
        found.extend(errors.iter().map(ToString::to_string));
    }
    found
}

#[test]
fn findings_by_file() {
    let nothing: &[&str] = &[];
    for (text, expected) in [
        (
            "FROM --platform=$TARGETPLATFORM a\n",
            &["RedundantTargetPlatform:1"][..],
        ),
        (
            "FROM --platform=${TARGETPLATFORM:-linux/amd64} a\n",
            &["RedundantTargetPlatform:1"],
        ),
        ("FROM --platform=$TARGETOS/$TARGETARCH a\n", nothing),
        ("FROM --platform=$BUILDPLATFORM a\n", nothing),
        ("FROM --platform=linux/amd64 a AS for-amd64\n", nothing),
        ("FROM s390x\n", &["InvalidBaseImagePlatform:1"]),
        ("FROM a AS one\nFROM one\nWORKDIR x\n", &["WorkdirRelativePath:3"]),
        ("FROM a AS one\nWORKDIR /x\nFROM one\nWORKDIR y\n", nothing),
        // A base's variables, shell and triggers count.
        ("FROM a\nENV A=$FROM_BASE B=$FROM_BAES\n", &["UndefinedVar:2"]),
        ("FROM shell\nCMD run\n", nothing),
        (
            "FROM triggers\nCMD [\"x\"]\n",
            &[
                "JSONArgsRecommended:1",
                "UndefinedVar:1",
                "MultipleInstructionsDisallowed:1",
            ],
        ),
        (
            "FROM a AS one\nONBUILD WORKDIR x\nFROM one\n",
            &["WorkdirRelativePath:3"],
        ),
        // A declared argument without value is no mistake, and neither is one of the builder's own.
        ("FROM a\nARG X\nENV A=$X B=$BUILDKIT_SBOM_SCAN_STAGE\n", nothing),
        ("FROM a\nARG X=$Y\n", &["UndefinedVar:2"]),
        ("ARG X\nFROM a:${X:-1}$Z\n", &["UndefinedArgInFrom:2"]),
        ("FROM deb:bookworm/libpq5,tzdata\n", nothing),
        // A comment above an instruction reaches what is found while it is lowered.
        (
            "FROM a\n# check=skip=UndefinedVar\nENV A=$NOPE\nENV B=$NOPE\n",
            &["UndefinedVar:4"],
        ),
        (
            "FROM a\nCMD [\"x\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"y\"]\n",
            nothing,
        ),
        ("# check=skip=UndefinedVar\nFROM a\nENV A=$NOPE\n", nothing),
        // Stages that are not built count, and what is refused there too.
        (
            "FROM a AS unused\nENV A=$NOPE\nFROM scratch\n",
            &["UndefinedVar:2"],
        ),
        (
            "FROM missing AS unused\nFROM scratch\nWORKDIR x\n",
            &["line 1: `missing` is not there"],
        ),
    ] {
        assert_eq!(found(text, |_| {}), expected, "{text}");
    }
}

#[test]
fn options_decide() {
    let text = "FROM a AS unused\nENV A=$NOPE\nFROM scratch AS app\nWORKDIR x\n";
    let target = |options: &mut Options| options.target = Some("app".to_owned());
    assert_eq!(found(text, target), ["WorkdirRelativePath:4"]);
    let checks = |options: &mut Options| {
        let (key, value) = ("BUILDKIT_DOCKERFILE_CHECK", "skip=WorkdirRelativePath");
        options.build_args.insert(key.to_owned(), value.to_owned());
    };
    assert_eq!(found(text, checks), ["UndefinedVar:2"]);
    let foreign = |options: &mut Options| options.target_platform = Some(Platform::new("linux", "arm64", ""));
    assert_eq!(found("FROM a\n", foreign), ["InvalidBaseImagePlatform:1"]);
    let given = |options: &mut Options| drop(options.build_args.insert("IMAGE".to_owned(), "a".to_owned()));
    assert_eq!(
        found("ARG IMAGE\nFROM $IMAGE\n", given),
        ["InvalidDefaultArgInFrom:2"]
    );
}

#[test]
fn ignored_sources_are_told() {
    let ignoring = |patterns: &'static [&'static str]| {
        move |options: &mut Options| {
            let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            options.ignore.insert("context".to_owned(), patterns);
        }
    };
    let text = "FROM a\nCOPY out/x /\nADD x.tmp ./keep /\nCOPY . /\nADD https://example.org/x.tmp /\nCOPY <<x.tmp /\nx.tmp\n";
    assert_eq!(
        found(text, ignoring(&["out", "*.tmp"])),
        ["CopyIgnoredFile:2", "CopyIgnoredFile:3"]
    );
    assert_eq!(found(text, ignoring(&["out", "*.tmp", "!out/x"])), [""; 0]);
    assert_eq!(
        found("FROM a\nCOPY . /\n", ignoring(&["**"])),
        ["CopyIgnoredFile:2"]
    );
    assert_eq!(
        found("FROM a AS b\nFROM a\nCOPY --from=b out /\n", ignoring(&["out"])),
        [""; 0]
    );
}
