//! The golden corpus, run through the `distil` binary: every case is built and its image config and root
//! file system compared with what BuildKit made of it (`tests/golden/README.md` tells the format).
//!
//! Root runs the builds also as an ordinary user: the one that `DISTIL_TEST_USER` names, else one made for it.
//! `DISTIL_GOLDEN_CASE` picks the cases whose id contains it; `DISTIL_GOLDEN_ARGS` adds arguments to every build;
//! `DISTIL_GOLDEN_VERBOSE` shows why a case fails; `DISTIL_GOLDEN_RECORD` writes `passing.txt` anew.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it did"
)]

#[path = "support/ordinary_user.rs"]
mod ordinary_user;
#[path = "support/program.rs"]
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ordinary_user::OrdinaryUser;
use program::copy_distil;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What was compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Refusal,
    RunFailure,
    Config,
    Tree,
    /// Images that the preflight warned about, of which none may run.
    Preflight,
}

struct Corpus {
    golden: PathBuf,
    work: tempfile::TempDir,
    binary: PathBuf,
    images: PathBuf,
    args: Vec<String>,
    user: Option<String>,
    differing: BTreeMap<String, String>,
}

#[derive(Default)]
struct Tally {
    /// Per kind: passed and all.
    counts: BTreeMap<Kind, (usize, usize)>,
    failures: BTreeMap<String, String>,
    passed: BTreeSet<String>,
}

/// Unpacks the cases. With a user, everything that its builds read lies where it may read it.
fn corpus(args: &[&str], user: Option<String>) -> Corpus {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let work = tempfile::Builder::new()
        .prefix("distil-golden-")
        .tempdir()
        .unwrap();
    run(Command::new("tar")
        .arg("-xzf")
        .arg(golden.join("cases.tar.gz"))
        .arg("-C")
        .arg(work.path()));
    let mut binary = PathBuf::from(env!("CARGO_BIN_EXE_distil"));
    let mut images = golden.join("images");
    if let Some(user) = &user {
        std::fs::create_dir(work.path().join("store")).unwrap();
        run(Command::new("cp").arg("-r").arg(&images).arg(work.path()));
        images = work.path().join("images");
        run(Command::new("chown").args(["-R", user]).arg(work.path()));
        let copy = work.path().join("distil");
        copy_distil(&copy);
        binary = copy;
    }
    let more = std::env::var("DISTIL_GOLDEN_ARGS").unwrap_or_default();
    Corpus {
        differing: list(&golden.join("differs.txt")),
        golden,
        work,
        binary,
        images,
        args: args
            .iter()
            .copied()
            .chain(more.split_whitespace())
            .map(str::to_owned)
            .collect(),
        user,
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

impl Drop for Corpus {
    /// Files of subordinate ids can only be removed by distil itself.
    fn drop(&mut self) {
        let _ = self.distil().args(["reset", "--force"]).output();
    }
}

impl Corpus {
    fn is_ordinary_user(&self) -> bool {
        self.user.is_some() || !rustix::process::geteuid().is_root()
    }

    fn distil(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        command
            .arg("--root")
            .arg(self.work.path().join("store"))
            .env("DISTIL_IMAGE_LAYOUT", &self.images)
            .env("HOME", self.work.path())
            .current_dir(self.work.path());
        for name in [
            "SOURCE_DATE_EPOCH",
            "XDG_RUNTIME_DIR",
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "DISTIL_ROOT",
            "DISTIL_SNAPSHOTTER",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn build(&self, case: &Path, description: &Value) -> Command {
        let mut command = self.distil();
        command.args(["build", "--progress=plain"]).args(&self.args);
        let mut file = "Dockerfile";
        for (key, value) in description["opts"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            match key.split_once(':') {
                Some(("build-arg", name)) => command.arg(format!("--build-arg={name}={value}")),
                Some(("label", name)) => command.arg(format!("--label={name}={value}")),
                Some(("context", name)) => command.arg(format!("--build-context={name}={value}")),
                _ => match key.as_str() {
                    "target" => command.arg(format!("--target={value}")),
                    "platform" => command.arg(format!("--platform={value}")),
                    "force-network-mode" => command.arg(format!("--network={value}")),
                    "add-hosts" => command.args(value.split(',').map(|host| format!("--add-host={host}"))),
                    "filename" => {
                        file = value;
                        &mut command
                    }
                    _ => &mut command,
                },
            };
        }
        for entry in std::fs::read_dir(case).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_prefix("ctx-")) {
                command.arg(format!("--build-context={name}={}", entry.path().display()));
            }
        }
        let secrets = description["secrets"].as_object().into_iter().flatten();
        for (at, (id, value)) in secrets.enumerate() {
            let variable = format!("GOLDEN_SECRET_{at}");
            command.arg(format!("--secret=id={id},env={variable}"));
            command.env(variable, value.as_str().unwrap_or_default());
        }
        command.arg("-f").arg(case.join(file)).arg(context(case));
        command
    }
}

fn context(case: &Path) -> PathBuf {
    let context = case.join("context");
    // The marker keeps the folder: an archive does not hold empty ones for every case.
    let _ = std::fs::create_dir(&context);
    context
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares one case; the error says what differs.
fn check(corpus: &Corpus, case: &Path, id: &str, tally: &Mutex<Tally>) -> Result<(), String> {
    let description: Value = serde_json::from_slice(&std::fs::read(case.join("case.json")).unwrap()).unwrap();
    let count = |kind: Kind, passed: bool| {
        let mut tally = tally.lock().unwrap();
        let entry = tally.counts.entry(kind).or_default();
        entry.0 += usize::from(passed);
        entry.1 += 1;
    };
    let tag = format!("golden/{}", id.replace('/', "-").to_lowercase());
    let mut command = corpus.build(case, &description);
    command.args(["-t", &tag]);
    let output = command.output().unwrap();
    let built = output.status.success();
    for (file, kind) in [("error.txt", Kind::Refusal), ("run-error.txt", Kind::RunFailure)] {
        if case.join(file).exists() {
            let clean = !built && output.status.code() == Some(1) && !text(&output).contains("panicked");
            count(kind, clean);
            let wanted = std::fs::read_to_string(case.join(file)).unwrap();
            return if clean {
                Ok(())
            } else {
                Err(format!("built, but BuildKit says: {wanted}"))
            };
        }
    }
    if !case.join("config.json").exists() {
        return Ok(());
    }
    let reason = corpus.differing.get(id).map_or("", String::as_str);
    if !built && reason.starts_with(NO_IMAGE_REASON) {
        let tree = compare_tree(corpus, case, id, &description);
        count(Kind::Tree, tree.is_ok());
        return tree;
    }
    if !built {
        count(Kind::Config, false);
        count(Kind::Tree, false);
        return Err(text(&output));
    }
    if let Some(runs) = false_alarm(corpus, &tag, &text(&output)) {
        count(Kind::Preflight, runs.is_none());
        if let Some(message) = runs {
            return Err(message);
        }
    }
    let config = compare_config(corpus, case, &tag);
    count(Kind::Config, config.is_ok());
    let tree = compare_tree(corpus, case, id, &description);
    count(Kind::Tree, tree.is_ok());
    config.and(tree)
}

/// Where the preflight warned about an image that was built, whether it runs all the same, and what was told.
fn false_alarm(corpus: &Corpus, tag: &str, told: &str) -> Option<Option<String>> {
    let is_warning = |line: &&str| {
        let text = line.split_once(" WARNING: ").map_or("", |(_, text)| text);
        [
            "command-", "wrong-", "missing-", "old-", "shell-", "user-", "python-", "java-", "node-",
        ]
        .iter()
        .any(|check| text.starts_with(check))
    };
    let warning = told.lines().find(is_warning)?;
    let output = corpus.distil().args(["run", "--rm", tag]).output().unwrap();
    let runs = output.status.success();
    Some(runs.then(|| format!("preflight warns about an image that runs: {warning}")))
}

fn compare_config(corpus: &Corpus, case: &Path, tag: &str) -> Result<(), String> {
    let output = corpus
        .distil()
        .args(["inspect", "--format", "config", tag])
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(text(&output));
    }
    let mut ours: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    ours.as_object_mut().unwrap().remove("created");
    ours["rootfs"].as_object_mut().unwrap().remove("diff_ids");
    for record in ours["history"].as_array_mut().into_iter().flatten() {
        record.as_object_mut().unwrap().remove("created");
    }
    let theirs: Value = serde_json::from_slice(&std::fs::read(case.join("config.json")).unwrap()).unwrap();
    if ours == theirs {
        return Ok(());
    }
    Err(format!("config\n ours   {ours}\n golden {theirs}"))
}

/// Entries that RUN leaves behind in BuildKit's layers because it mounts something there. Where distil has none
/// of them they are not compared, in the cases that are listed for it.
const MOUNT_POINTS: [&[u8]; 3] = [b"/dev d 0755 0:0", b"/proc d 0755 0:0", b"/sys d 0755 0:0"];

/// What stands in the reason of such a case.
const MOUNT_POINTS_REASON: &str = "mount-points:";

/// How the reason of such a case starts that must not become an image, though its tree is right.
const NO_IMAGE_REASON: &str = "no-image:";

/// How the reason of a case starts that differs only for an ordinary user.
const USER_REASON: &str = "ordinary-user:";

fn compare_tree(corpus: &Corpus, case: &Path, id: &str, description: &Value) -> Result<(), String> {
    let output = corpus
        .build(case, description)
        .args(["-o", "type=tar,dest=-"])
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(text(&output));
    }
    let ours = listing(&output.stdout).map_err(|error| error.to_string())?;
    let wanted = std::fs::read(case.join("tree.txt")).unwrap();
    let mut theirs: BTreeSet<&[u8]> = wanted
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let mut ours: BTreeSet<&[u8]> = ours.iter().map(Vec::as_slice).collect();
    if corpus
        .differing
        .get(id)
        .is_some_and(|reason| reason.contains(MOUNT_POINTS_REASON))
    {
        if MOUNT_POINTS
            .iter()
            .all(|line| theirs.contains(line) <= ours.contains(line))
        {
            return Err("the mount points are there: `differs.txt` is out of date".into());
        }
        theirs.retain(|line| !MOUNT_POINTS.contains(line));
        ours.retain(|line| !MOUNT_POINTS.contains(line));
    }
    if corpus.is_ordinary_user() {
        // An ordinary user cannot make devices.
        theirs.retain(|line| !is_device(line));
    }
    if ours == theirs {
        return Ok(());
    }
    let mut message = String::from("tree");
    for (sign, lines) in [("+", ours.difference(&theirs)), ("-", theirs.difference(&ours))] {
        for line in lines.take(12) {
            let _ = write!(message, "\n {sign} {}", String::from_utf8_lossy(line));
        }
    }
    Err(message)
}

/// Whether a line of a `tree.txt` is a device node. Names may hold spaces; the kind stands before the mode.
fn is_device(line: &[u8]) -> bool {
    line.windows(4).any(|part| matches!(part, b" c 0" | b" b 0"))
}

/// The entries of a tar archive as lines of a golden `tree.txt`.
fn listing(archive: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        if path.is_empty() || path == b"." {
            continue;
        }
        let mut attributes = BTreeMap::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            if let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                attributes.insert(name.to_vec(), extension.value_bytes().to_vec());
            }
        }
        let header = entry.header().clone();
        let kind = header.entry_type();
        let letter = match kind {
            kind if kind.is_dir() => 'd',
            kind if kind.is_symlink() => 'l',
            kind if kind.is_hard_link() => 'h',
            kind if kind.is_fifo() => 'p',
            kind if kind.is_character_special() => 'c',
            kind if kind.is_block_special() => 'b',
            _ => 'f',
        };
        let mut line = b"/".to_vec();
        line.extend(&path);
        line.extend(
            format!(
                " {letter} {:04o} {}:{}",
                header.mode()? & 0o7777,
                header.uid()?,
                header.gid()?
            )
            .bytes(),
        );
        match letter {
            'f' => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                let digest = Sha256::digest(&content);
                let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                line.extend(format!(" {} {hex}", content.len()).bytes());
            }
            'l' | 'h' => {
                line.push(b' ');
                line.extend(entry.link_name_bytes().unwrap_or_default().as_ref());
            }
            _ => {}
        }
        for (name, value) in attributes {
            line.push(b' ');
            line.extend(name);
            line.push(b'=');
            line.extend(value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
        }
        lines.push(line);
    }
    Ok(lines)
}

/// The ids in a list file, each with what follows it on its line.
fn list(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (id, reason) = line.split_once(' ').unwrap_or((line, ""));
            (id.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

/// The cases whose id contains what `DISTIL_GOLDEN_CASE` says.
fn cases(corpus: &Corpus) -> Vec<(String, PathBuf)> {
    let only = std::env::var("DISTIL_GOLDEN_CASE").unwrap_or_default();
    let mut cases = Vec::new();
    for group in ["a", "b", "c"] {
        for entry in std::fs::read_dir(corpus.work.path().join("cases").join(group)).unwrap() {
            let path = entry.unwrap().path();
            let name = String::from_utf8_lossy(path.file_name().unwrap().as_bytes()).into_owned();
            let id = format!("{group}/{name}");
            if id.contains(&only) {
                cases.push((id, path));
            }
        }
    }
    cases.sort();
    cases
}

/// The run whose passing cases are recorded.
const RECORDED: &str = "overlay";

/// Builds every case, prints the counts, and fails when one that passed before does not.
fn build_all(title: &str, corpus: &Corpus) {
    let cases = cases(corpus);
    let tally = Mutex::new(Tally::default());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((id, path)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = check(corpus, path, id, &tally);
                    let mut tally = tally.lock().unwrap();
                    match result {
                        Ok(()) => drop(tally.passed.insert(id.clone())),
                        Err(message) => drop(tally.failures.insert(id.clone(), message)),
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    let mut text = String::new();
    for (kind, (passed, all)) in &tally.counts {
        let _ = writeln!(text, "golden: {passed} of {all} {kind:?} ({title})");
    }
    let _ = writeln!(
        text,
        "golden: {} of {} cases ({title})",
        tally.passed.len(),
        cases.len()
    );
    let broken = report(corpus, &tally, &mut text);
    print!("{text}");
    if title == RECORDED && std::env::var_os("DISTIL_GOLDEN_RECORD").is_some() {
        let text: String = tally.passed.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(corpus.golden.join("passing.txt"), text).unwrap();
    }
    assert!(
        broken.is_empty(),
        "cases that passed before fail now:\n{}",
        broken.join("\n")
    );
}

/// Names the cases that fail; gives those that must not.
fn report(corpus: &Corpus, tally: &Tally, text: &mut String) -> Vec<String> {
    let passing = list(&corpus.golden.join("passing.txt"));
    let verbose = std::env::var_os("DISTIL_GOLDEN_VERBOSE").is_some();
    let mut broken = Vec::new();
    for (id, message) in &tally.failures {
        let reason = corpus.differing.get(id).map_or("", String::as_str);
        let on_purpose = if reason.starts_with(USER_REASON) {
            corpus.is_ordinary_user()
        } else {
            !reason.is_empty() && !reason.starts_with(MOUNT_POINTS_REASON)
        };
        let _ = match on_purpose {
            true => writeln!(text, "differs on purpose: {id}: {reason}"),
            false if verbose => writeln!(text, "not yet: {id}: {message}"),
            false => writeln!(text, "not yet: {id}"),
        };
        if passing.contains_key(id) && !on_purpose {
            broken.push(format!("{id}: {message}"));
        }
    }
    broken
}

/// Whether RUN can work here for the user that runs the tests; where it cannot, says why.
fn can_run(test: &str, corpus: &Corpus) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let probe = corpus.work.path().join("probe");
    std::fs::create_dir(&probe).unwrap();
    std::fs::write(probe.join("Dockerfile"), "FROM busybox\nRUN true\n").unwrap();
    let output = corpus.distil().arg("build").arg(&probe).output().unwrap();
    if !output.status.success() {
        println!("{test}: skipped, RUN does not work here: {}", text(&output));
    }
    output.status.success()
}

#[test]
fn golden_cases_build_as_recorded() {
    let corpus = corpus(&[], None);
    if can_run("golden_cases_build_as_recorded", &corpus) {
        build_all(RECORDED, &corpus);
    }
}

#[test]
fn golden_cases_build_with_native_snapshots() {
    let corpus = corpus(&["--snapshotter", "native"], None);
    if can_run("golden_cases_build_with_native_snapshots", &corpus) {
        build_all("native", &corpus);
    }
}

#[test]
fn golden_cases_build_as_an_ordinary_user() {
    let Some(user) = OrdinaryUser::new() else {
        return;
    };
    build_all("ordinary user", &corpus(&[], Some(user.name.clone())));
}
