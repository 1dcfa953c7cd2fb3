//! The cache records of the golden corpus, made again: every case with a `cache.json` is built in a fresh store
//! and its keys compared with what BuildKit's `mode=max` cache config says.
//!
//! An image has two keys, by manifest and by layers. BuildKit links the second only in the first build of a
//! daemon's life, so that either stands for both here. A word on the command line picks the cases whose id
//! contains it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program without libtest, which clippy does not know"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use distil_engine::{
    BuildRequest, DebianArchive, DockerfileText, Engine, EngineConfig, Ephemeral, Secret, cache_map,
};
use distil_fetch::{Client, ClientConfig};
use distil_frontend::Options;
use distil_oci::{Digest, Layout, Platform};
use distil_registry::{DockerConfig, Remote, RemoteConfig};
use distil_snapshot::{SnapshotMode, describe_id_maps};
use distil_solver::{CancelToken, Mode, export_records, output_record};
use distil_sources::BasesPolicy;
use serde_json::Value;

/// Builds at once: they mostly wait for the disk.
const THREADS: usize = 4;

/// A record: its digest, whether it has a result, and the links of each input with their selectors.
type Record = (String, bool, Vec<BTreeSet<(String, String)>>);

fn main() -> ExitCode {
    distil_sandbox::init_entry();
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    if !rustix::process::geteuid().is_root() {
        println!("golden_cache: skipped, needs root");
        return ExitCode::SUCCESS;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let work = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(golden.join("cases.tar.gz"))
        .arg("-C")
        .arg(work.path())
        .status()
        .unwrap();
    assert!(status.success());
    let twins = twins(&golden.join("images"));
    let mut cases = cases(work.path());
    cases.retain(|(id, _)| filter.as_ref().is_none_or(|filter| id.contains(filter.as_str())));
    let (next, passed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((id, case)) = cases.get(next.fetch_add(1, Relaxed)) {
                    match check(&golden, work.path(), case, &twins) {
                        Ok(()) => drop(passed.fetch_add(1, Relaxed)),
                        Err(message) => {
                            println!("{id}: {message}");
                            failed.fetch_add(1, Relaxed);
                        }
                    }
                }
            });
        }
    });
    println!("golden: {} of {} cache", passed.into_inner(), cases.len());
    match failed.into_inner() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The cases that have cache records.
fn cases(work: &Path) -> Vec<(String, PathBuf)> {
    let mut cases = Vec::new();
    for group in ["a", "b", "c"] {
        for entry in std::fs::read_dir(work.join("cases").join(group)).unwrap() {
            let path = entry.unwrap().path();
            if path.join("cache.json").exists() {
                let name = path.file_name().unwrap().to_string_lossy();
                cases.push((format!("{group}/{name}"), path));
            }
        }
    }
    cases.sort();
    cases
}

/// For every image of the layout, the record of its key by manifest and the one of its key by layers.
fn twins(images: &Path) -> BTreeMap<String, String> {
    let layout = Layout::open(images).unwrap();
    let mut twins = BTreeMap::new();
    for entry in &layout.index().manifests {
        for name in ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386"] {
            let platform: Platform = name.parse().unwrap();
            let Ok((_, manifest, _)) = layout.manifest(entry, &platform) else {
                continue;
            };
            let Ok(config) = layout.read_document(&manifest.config) else {
                continue;
            };
            let config: distil_oci::ImageConfig = serde_json::from_slice(&config).unwrap();
            let keys = cache_map::of_image(entry.digest, &platform, &config.rootfs.diff_ids);
            let record = |digest: &Digest| output_record(digest, 0).to_string();
            if let [by_manifest, by_layers] = keys.as_slice() {
                twins.insert(record(by_manifest), record(by_layers));
            }
        }
    }
    twins
}

fn check(golden: &Path, work: &Path, case: &Path, twins: &BTreeMap<String, String>) -> Result<(), String> {
    let store = tempfile::Builder::new().prefix("store").tempdir_in(work).unwrap();
    let engine = engine(store.path(), golden.join("images"));
    let sink = Arc::new(|_event: distil_engine::progress::ProgressEvent| ());
    let built = engine
        .build(&request(case), sink, &CancelToken::new())
        .map_err(|failure| failure.to_string())?;
    let exported = export_records(&built.keys);
    let name = |at: usize| exported[at].digest.to_string();
    let ours: BTreeSet<Record> = exported
        .iter()
        .map(|record| {
            let inputs = record.inputs.iter().map(|links| {
                let text = |selector: Option<Digest>| selector.map_or_else(String::new, |it| it.to_string());
                links
                    .iter()
                    .map(|link| (name(link.record), text(link.selector)))
                    .collect()
            });
            (
                record.digest.to_string(),
                !record.inputs.is_empty(),
                inputs.collect(),
            )
        })
        .collect();
    compare(&unify(ours, twins), &unify(recorded(case), twins))
}

fn recorded(case: &Path) -> BTreeSet<Record> {
    let text = std::fs::read(case.join("cache.json")).unwrap();
    let records: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let links = |input: &Value| {
        let links = input.as_array().unwrap().iter();
        links
            .map(|link| (string(&link["link"]), string(&link["selector"])))
            .collect()
    };
    records
        .iter()
        .map(|record| {
            let inputs = record["inputs"].as_array().unwrap().iter().map(links);
            (
                string(&record["digest"]),
                record["has_result"].as_bool().unwrap(),
                inputs.collect(),
            )
        })
        .collect()
}

/// One key for each image.
fn unify(records: BTreeSet<Record>, twins: &BTreeMap<String, String>) -> BTreeSet<Record> {
    let one = |digest: String| twins.get(&digest).cloned().unwrap_or(digest);
    records
        .into_iter()
        .map(|(digest, result, inputs)| {
            let inputs = inputs.into_iter().map(|links: BTreeSet<(String, String)>| {
                links
                    .into_iter()
                    .map(|(link, selector)| (one(link), selector))
                    .collect()
            });
            (one(digest), result, inputs.collect())
        })
        .collect()
}

fn compare(ours: &BTreeSet<Record>, theirs: &BTreeSet<Record>) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let mut message = String::from("the records differ");
    for (sign, records) in [('+', ours.difference(theirs)), ('-', theirs.difference(ours))] {
        for (digest, result, inputs) in records {
            message.push_str(&format!("\n {sign} {digest} result {result}"));
            for (at, links) in inputs.iter().enumerate() {
                for (link, selector) in links {
                    message.push_str(&format!("\n     {at}: {link} {selector}"));
                }
            }
        }
    }
    Err(message)
}

fn request(case: &Path) -> BuildRequest {
    let description: Value = serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
    let strings = |key: &str| -> BTreeMap<String, String> {
        let entries = description[key].as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    };
    let context = case.join("context");
    std::fs::create_dir_all(&context).unwrap();
    let mut attributes = strings("opts");
    let mut contexts = BTreeMap::from([(distil_engine::MAIN_CONTEXT.to_owned(), context.clone())]);
    for entry in std::fs::read_dir(case).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_prefix("ctx-") {
            attributes.insert(format!("context:{name}"), format!("local:{name}"));
            contexts.insert(name.to_owned(), entry.path());
        }
    }
    let mut options = Options::from_attrs(&attributes).unwrap();
    options.session = "golden".into();
    let file = attributes.get("filename").map_or("Dockerfile", String::as_str);
    BuildRequest {
        dockerfile: DockerfileText::read(&context, Some(&case.join(file))).unwrap(),
        contexts,
        layouts: BTreeMap::new(),
        options,
        ephemeral: Ephemeral {
            secrets: strings("secrets")
                .into_iter()
                .map(|(id, text)| (id, Secret::new(text.into_bytes())))
                .collect(),
            ..Ephemeral::default()
        },
        mode: Mode::Full,
        failure_shell: None,
    }
}

fn engine(root: &Path, images: PathBuf) -> Engine {
    let client = Client::new(ClientConfig::default());
    let remote = Remote::new(
        client.clone(),
        Arc::new(DockerConfig::default()),
        RemoteConfig::default(),
    );
    let config = EngineConfig {
        root: root.to_owned(),
        snapshots: SnapshotMode::Auto,
        id_map: describe_id_maps(&distil_rootfs::IdMap::default(), &distil_rootfs::IdMap::default()),
        in_user_namespace: distil_sandbox::userns::inside(),
        outside_namespace: false,
        exec_slots: 4,
        host: Platform::host(),
        resolv_conf: Vec::new(),
        image_layouts: vec![images],
        bases: BasesPolicy::Registry,
        remote: Arc::new(remote),
        fetcher: Arc::new(client),
        debian: DebianArchive {
            mirror: None,
            host_sources: Vec::new(),
            downloads: root.join("downloads"),
        },
        now: std::time::SystemTime::now().into(),
    };
    Engine::open(config).unwrap()
}
