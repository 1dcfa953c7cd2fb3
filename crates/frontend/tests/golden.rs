//! Every case of the golden corpus: what BuildKit lowers must give the same graph
//! and image config, what it refuses must be refused.
//!
//! `golden-passing.txt` names what passed before; a case that no longer does fails
//! the test. `GOLDEN_UPDATE=1` writes it anew, `GOLDEN_CASE=b/c11` shows the
//! differences of the cases whose name contains the text.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use distil_dockerfile::lint::Warning;
use distil_frontend::{
    Conversion, ImageName, ImageRequest, ImageResolver, Options, ResolveError, ResolvedImage, check_frontend,
    convert,
};
use distil_llb::Definition;
use distil_oci::{Layout, Platform};
use serde_json::{Value, json};

/// Cases that are meant to differ, by kind and name, with the reason.
const DIFFERENT: &[(&str, &str, &str)] = &[];
/// Cases that do not pass yet, by kind and name, with what is missing.
const NOT_YET: &[(&str, &str, &str)] = &[];

/// The files of a case by path.
type Case = BTreeMap<String, Vec<u8>>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn cases() -> BTreeMap<String, Case> {
    let file = std::fs::File::open(golden().join("cases.tar.gz")).expect("the corpus is in the repository");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for entry in tar.entries().expect("a tar archive") {
        let mut entry = entry.expect("a whole archive");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let Some((group, id, rest)) = parts(&path) else {
            continue;
        };
        let case = cases.entry(format!("{group}/{id}")).or_default();
        let is_needed = !rest.contains('/')
            || rest.ends_with(".dockerignore")
            || rest.starts_with("ctx-")
            || !rest.starts_with("context/");
        if !is_needed || rest == "tree.txt" || rest == "cache.json" {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a whole entry");
        case.insert(rest.to_owned(), bytes);
    }
    cases.retain(|_, case| case.contains_key("case.json"));
    cases
}

/// `cases/<group>/<id>/<rest>`
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = path.split_once('/')?;
    let (group, rest) = rest.split_once('/')?;
    let (id, rest) = rest.split_once('/')?;
    Some((group, id, rest)).filter(|(_, _, rest)| !rest.is_empty())
}

/// Images of the layout beside the corpus.
struct Images(Layout);

impl Images {
    fn one(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let error = |message: String| ResolveError { message, help: None };
        let ImageName::Named(reference) = &request.name else {
            return Err(error("no layouts here".to_owned()));
        };
        let entry = self
            .0
            .find(reference)
            .ok_or_else(|| error(format!("`{reference}` is not there")))?;
        let (_, manifest, _) = self
            .0
            .manifest(entry, &request.platform)
            .map_err(|e| error(e.to_string()))?;
        let config = self
            .0
            .read_document(&manifest.config)
            .map_err(|e| error(e.to_string()))?;
        Ok(ResolvedImage {
            digest: entry.digest,
            config,
        })
    }
}

impl ImageResolver for Images {
    fn resolve(&self, requests: &[ImageRequest]) -> Vec<Result<ResolvedImage, ResolveError>> {
        requests.iter().map(|request| self.one(request)).collect()
    }
}

/// The patterns of an ignore file, cleaned as Docker's reader cleans them.
fn ignore_patterns(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut patterns = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (mark, rest) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        let cleaned = if rest.is_empty() {
            String::new()
        } else {
            clean(rest)
        };
        let cleaned = cleaned
            .strip_prefix('/')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&cleaned);
        patterns.push(format!("{mark}{cleaned}"));
    }
    patterns
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    match (path.starts_with('/'), parts.join("/")) {
        (true, body) => format!("/{body}"),
        (false, body) if body.is_empty() => ".".to_owned(),
        (false, body) => body,
    }
}

fn options(case: &Case, session: &str) -> Options {
    let description: Value = serde_json::from_slice(&case["case.json"]).expect("case.json is JSON");
    let mut attrs = BTreeMap::new();
    for (key, value) in description["opts"].as_object().into_iter().flatten() {
        attrs.insert(key.clone(), value.as_str().expect("options are texts").to_owned());
    }
    let mut options = Options::from_attrs(&attrs).expect("options of the corpus are readable");
    options.build_platform = Platform::new("linux", "amd64", "");
    session.clone_into(&mut options.session);
    let beside = case.get(&format!("{}.dockerignore", options.filename));
    if let Some(file) = beside.or_else(|| case.get("context/.dockerignore")) {
        options.ignore.insert("context".to_owned(), ignore_patterns(file));
    }
    for path in case.keys() {
        let Some((name, rest)) = path.strip_prefix("ctx-").and_then(|path| path.split_once('/')) else {
            continue;
        };
        options.contexts.insert(name.to_owned(), format!("local:{name}"));
        if rest == ".dockerignore" {
            options
                .ignore
                .insert(name.to_owned(), ignore_patterns(&case[path]));
        }
    }
    options
}

/// The session id that the recorded digests hold for.
fn session(llb: &Value) -> String {
    let recorded = llb.to_string();
    let data = llb["source"]["infos"][0]["definition"]["def"][0]
        .as_str()
        .unwrap_or_default();
    let decoded = decode_base64(data);
    let text = String::from_utf8_lossy(&decoded).into_owned() + &recorded;
    let Some(at) = text.find("local.session") else {
        return String::new();
    };
    let rest = &text[at + "local.session".len()..];
    let start = rest.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(0);
    rest[start..].chars().take(25).collect()
}

fn decode_base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'=').map(value).collect();
    let mut bytes = Vec::new();
    for chunk in digits.chunks(4) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len().max(1)]);
    }
    bytes
}

fn shown(errors: &[distil_dockerfile::Diagnostic]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n    ")
}

fn run(case: &Case, session: &str, images: &Images) -> Result<Conversion, String> {
    let options = options(case, session);
    let source = case.get(&options.filename).map_or(&[][..], Vec::as_slice);
    check_frontend(source, &options).map_err(|error| shown(&[error]))?;
    let dockerfile = distil_dockerfile::parse(source).map_err(|errors| shown(&errors))?;
    convert(&dockerfile, source, &options, images, &|_| {}).map_err(|errors| shown(&errors))
}

/// The stages that are not built cannot be, which only the checks notice.
const CHECK_FAILS: &str = "c/f04-unused-broken-stage";

/// What the checks find, in the shape of `lint.json`.
fn warnings(name: &str, case: &Case, images: &Images) -> Result<Value, String> {
    let options = options(case, "");
    let source = case.get(&options.filename).map_or(&[][..], Vec::as_slice);
    let dockerfile = distil_dockerfile::parse(source).map_err(|errors| shown(&errors))?;
    let found = std::cell::RefCell::new(Vec::new());
    let keep = |warning: Warning| {
        found.borrow_mut().push(json!({
            "rule": warning.rule.name(), "detail": warning.detail, "line": warning.span.first_line,
        }));
    };
    let checked = distil_frontend::check(&dockerfile, source, &options, images, &keep);
    if let (Err(errors), true) = (checked, name != CHECK_FAILS) {
        return Err(shown(&errors));
    }
    Ok(in_order(Value::from(found.into_inner())))
}

/// By line: within one, BuildKit's order is not always the same.
fn in_order(mut warnings: Value) -> Value {
    if let Some(list) = warnings.as_array_mut() {
        let text = |warning: &Value, key: &str| warning[key].as_str().unwrap_or_default().to_owned();
        list.sort_by_cached_key(|warning| {
            (
                warning["line"].as_u64(),
                text(warning, "rule"),
                text(warning, "detail"),
            )
        });
    }
    warnings
}

/// Progress groups have random ids in BuildKit.
fn without_group_ids(mut llb: Value) -> Value {
    for (_, metadata) in llb["metadata"].as_object_mut().into_iter().flatten() {
        if let Some(group) = metadata.get_mut("progress_group") {
            group["id"] = json!("");
        }
    }
    llb
}

/// A config without what only a built image has.
fn without_layers(mut config: Value) -> Value {
    if let Some(config) = config.as_object_mut() {
        config.remove("created");
    }
    if let Some(rootfs) = config["rootfs"].as_object_mut() {
        rootfs.remove("diff_ids");
    }
    if let Some(history) = config["history"].as_array_mut() {
        history.retain(|entry| entry["comment"] != "buildkit.exporter.image.v0");
        for entry in history {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("created");
            }
        }
        if config["history"] == json!([]) {
            config.as_object_mut().expect("an object").remove("history");
        }
    }
    config
}

fn difference(path: &str, wanted: &Value, found: &Value, out: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                );
                difference(&format!("{path}.{key}"), a, b, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                difference(&format!("{path}[{at}]"), a, b, out);
            }
        }
        _ if wanted != found => out.push(format!("{path}: wanted {wanted}, found {found}")),
        _ => {}
    }
}

/// What an engine relies on: the wire form loses nothing, and the graph loads with
/// inputs before their users.
fn loading_problems(definition: &Definition) -> Vec<String> {
    let mut problems = Vec::new();
    let decoded = Definition::decode(&definition.encode());
    if decoded.as_ref().ok() != Some(definition) {
        problems.push("the wire form reads back differently".to_owned());
    }
    let graph = match definition.load() {
        Ok(graph) => graph,
        Err(error) => return vec![error.to_string()],
    };
    let mut seen = BTreeSet::new();
    for node in graph.nodes() {
        if !node.inputs.iter().all(|input| seen.contains(&input.op)) {
            problems.push(format!("`{}` comes before its inputs", node.display_name()));
        }
        seen.insert(node.digest);
    }
    if let Some(result) = graph.result
        && graph.get(result.op).is_none()
    {
        problems.push("the result is not in the graph".to_owned());
    }
    problems
}

#[derive(Default)]
struct Tally {
    passed: BTreeSet<String>,
    total: BTreeMap<&'static str, usize>,
    failures: Vec<(String, String)>,
}

impl Tally {
    fn add(&mut self, kind: &'static str, case: &str, problems: &[String]) {
        *self.total.entry(kind).or_default() += 1;
        if problems.is_empty() {
            self.passed.insert(format!("{kind} {case}"));
        } else {
            self.failures
                .push((format!("{kind} {case}"), problems.join("\n    ")));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the comparison is read by people")]
fn check(name: &str, case: &Case, images: &Images, tally: &mut Tally) {
    let read = |file: &str| -> Option<Value> { serde_json::from_slice(case.get(file)?).ok() };
    let llb = read("llb.json");
    let session = llb.as_ref().map(session).unwrap_or_default();
    let result = run(case, &session, images);
    if let Some(error) = case.get("error.txt") {
        let error = String::from_utf8_lossy(error);
        let problems = match &result {
            Ok(_) => vec![format!("accepted; BuildKit says: {}", error.trim())],
            Err(text) => {
                if std::env::var_os("GOLDEN_ERRORS").is_some() {
                    println!("{name}\n    BuildKit: {}\n    {text}", error.trim());
                }
                Vec::new()
            }
        };
        tally.add("refusal", name, &problems);
        return;
    }
    let conversion = match result {
        Ok(conversion) => conversion,
        Err(error) => {
            let kind = if llb.is_some() { "llb" } else { "config" };
            tally.add(kind, name, &[format!("refused: {error}")]);
            return;
        }
    };
    if let Some(wanted) = read("lint.json") {
        let problems = match warnings(name, case, images) {
            Ok(found) if found == in_order(wanted.clone()) => Vec::new(),
            Ok(found) => vec![format!("wanted {wanted}\n    found {found}")],
            Err(error) => vec![format!("refused: {error}")],
        };
        tally.add("lint", name, &problems);
    }
    if let Some(llb) = llb {
        let ours = conversion.definition.to_json().expect("our own ops decode");
        let mut problems = Vec::new();
        difference(
            "",
            &without_group_ids(llb),
            &without_group_ids(ours),
            &mut problems,
        );
        problems.extend(loading_problems(&conversion.definition));
        tally.add("llb", name, &problems);
    }
    if let Some(config) = read("config.json") {
        let ours: Value =
            serde_json::from_slice(&conversion.image.to_json()).expect("our own config is JSON");
        let mut problems = Vec::new();
        difference("", &without_layers(config), &without_layers(ours), &mut problems);
        tally.add("config", name, &problems);
    }
}

#[test]
fn corpus_lowers_as_by_buildkit() {
    let images = Images(Layout::open(&golden().join("images")).expect("the images are in the repository"));
    let mut tally = Tally::default();
    let wanted = std::env::var("GOLDEN_CASE").unwrap_or_default();
    for (name, case) in cases().iter().filter(|(name, _)| name.contains(&wanted)) {
        check(name, case, &images, &mut tally);
    }
    let limit = if wanted.is_empty() { 400 } else { 100_000 };
    let mut unlisted = Vec::new();
    for (id, problems) in &tally.failures {
        let problems: String = problems.chars().take(limit).collect();
        let note = match (reason(DIFFERENT, id), reason(NOT_YET, id)) {
            (Some(reason), _) => format!("meant to differ: {reason}"),
            (None, Some(reason)) => format!("not yet: {reason}"),
            (None, None) => {
                unlisted.push(id);
                "fails".to_owned()
            }
        };
        println!("{id} ({note})\n    {problems}");
    }
    for (kind, total) in &tally.total {
        let passed = tally.passed.iter().filter(|id| id.starts_with(kind)).count();
        let meant = DIFFERENT.iter().filter(|(k, ..)| k == kind).count();
        println!("golden: {passed} of {total} ({kind}, {meant} meant to differ)");
    }
    if !wanted.is_empty() {
        return;
    }
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-passing.txt");
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        let lines: String = tally.passed.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(&list, lines).expect("the list is writable");
    }
    let known = std::fs::read_to_string(&list).unwrap_or_default();
    let lost: Vec<&str> = known.lines().filter(|id| !tally.passed.contains(*id)).collect();
    assert!(lost.is_empty(), "passed before: {lost:#?}");
    assert!(unlisted.is_empty(), "in no list: {unlisted:#?}");
}

fn reason(list: &[(&str, &str, &'static str)], id: &str) -> Option<&'static str> {
    let mut found = list
        .iter()
        .filter(|(kind, case, _)| id == format!("{kind} {case}"));
    found.next().map(|(_, _, reason)| *reason)
}
