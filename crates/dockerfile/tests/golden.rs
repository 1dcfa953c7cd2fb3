//! Every Dockerfile of the golden corpus: what BuildKit lowers must parse, with its command texts and lines; what
//! it refuses while parsing must be refused.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use distil_dockerfile::{Diagnostic, Dockerfile, parse};

/// Errors of BuildKit's parser proper, which do not carry its usual prefix.
const PARSER_ERRORS: [&str; 10] = [
    "dockerfile parse error on line",
    "dockerfile line greater than max allowed size",
    "Syntax error - can't find = in",
    "ENV must have two arguments",
    "when using JSON array syntax",
    "unterminated heredoc",
    "no build stage in current context",
    "dockerfile contains no stages to build",
    "file with no instructions",
    "the Dockerfile cannot be empty",
];

#[derive(Default)]
struct Case {
    dockerfile: Option<Vec<u8>>,
    error: Option<String>,
    llb: Option<serde_json::Value>,
}

fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/cases.tar.gz")
}

fn cases() -> BTreeMap<String, Case> {
    let file = std::fs::File::open(archive()).expect("the corpus is in the repository");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for entry in tar.entries().expect("a tar archive") {
        let mut entry = entry.expect("a whole archive");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let [_, group, id, name] = path.split('/').collect::<Vec<_>>()[..] else {
            continue;
        };
        if !matches!(name, "Dockerfile" | "error.txt" | "llb.json") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a whole entry");
        let case = cases.entry(format!("{group}/{id}")).or_default();
        match name {
            "Dockerfile" => case.dockerfile = Some(bytes),
            "error.txt" => case.error = Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            _ => case.llb = serde_json::from_slice(&bytes).ok(),
        }
    }
    cases
}

#[test]
fn corpus_is_accepted_and_refused_as_by_buildkit() {
    let (mut parsed, mut refused, mut later, mut wrong) = (0, 0, Vec::new(), Vec::new());
    for (name, case) in cases() {
        let Some(text) = &case.dockerfile else { continue };
        let must_fail = |error: &String| PARSER_ERRORS.iter().any(|prefix| error.starts_with(prefix));
        match (parse(text), &case.error) {
            (Ok(file), None) => {
                parsed += 1;
                wrong.extend(
                    case.llb
                        .iter()
                        .flat_map(|llb| differences(&file, llb))
                        .map(|text| format!("{name}: {text}")),
                );
            }
            (Err(errors), Some(error)) => {
                refused += 1;
                println!("{name}\n    BuildKit: {error}");
                errors.iter().for_each(|error| println!("    {error}"));
            }
            (Ok(_), Some(error)) if must_fail(error) => {
                wrong.push(format!("{name}: parsed, but BuildKit says: {error}"));
            }
            (Ok(_), Some(error)) => later.push(format!("{name}: {error}")),
            (Err(errors), None) => wrong.push(format!("{name}: {}", listed(&errors))),
        }
    }
    println!("left to the frontend:\n    {}", later.join("\n    "));
    println!(
        "golden: {parsed} parsed, {refused} refused, {} to be refused later",
        later.len()
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(parsed > 300 && refused > 50);
}

fn listed(errors: &[Diagnostic]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Compares what the recorded graph says of commands and lines with the tree.
fn differences(file: &Dockerfile, llb: &serde_json::Value) -> Vec<String> {
    let mut texts: Vec<(&str, (u64, u64))> = Vec::new();
    for stage in &file.stages {
        let statements =
            std::iter::once(&stage.statement).chain(stage.instructions.iter().map(|i| &i.statement));
        texts.extend(statements.map(|s| {
            (
                s.text.as_str(),
                (s.span.first_line.into(), s.span.last_line.into()),
            )
        }));
    }
    let mut out = Vec::new();
    let Some(metadata) = llb["metadata"].as_object() else {
        return out;
    };
    for (digest, op) in metadata {
        let Some(command) = op["description"]["com.docker.dockerfile.v1.command"]
            .as_str()
            .filter(|text| !text.is_empty())
        else {
            continue;
        };
        let lines = lines_of(&llb["source"]["locations"][digest]);
        // Triggers come from elsewhere and take the line of their FROM.
        let from = |lines| {
            file.stages
                .iter()
                .any(|stage| lines_match(stage.statement.span, lines))
        };
        if lines.iter().any(|lines| from(*lines)) {
            continue;
        }
        if !texts
            .iter()
            .any(|(text, at)| *text == command && lines.contains(at))
        {
            out.push(format!(
                "no instruction `{command}` at lines {lines:?} in {texts:?}"
            ));
        }
    }
    out
}

fn lines_match(span: distil_dockerfile::Span, (first, last): (u64, u64)) -> bool {
    u64::from(span.first_line) == first && u64::from(span.last_line) == last
}

/// The line ranges of all places of an op; BuildKit writes one range for each line.
fn lines_of(locations: &serde_json::Value) -> Vec<(u64, u64)> {
    let places = locations["locations"].as_array().cloned().unwrap_or_default();
    let line = |value: &serde_json::Value| value["line"].as_u64().unwrap_or(0);
    let range = |place: &serde_json::Value| {
        let ranges = place["ranges"].as_array()?;
        let first = ranges.iter().map(|range| line(&range["start"])).min()?;
        let last = ranges.iter().map(|range| line(&range["end"])).max()?;
        Some((first, last))
    };
    places.iter().filter_map(range).collect()
}
