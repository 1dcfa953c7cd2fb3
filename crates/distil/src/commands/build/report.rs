//! What a user sees of a build that failed.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use distil_dockerfile::lint::Warning;
use distil_dockerfile::{LineIndex, printable};
use distil_engine::progress::{ProgressEvent, ProgressSink, VertexStatus};
use distil_engine::{BuildError, DockerfileText, Failure};
use distil_oci::Digest;

use super::ProgressForm;
use super::network::{self, Trouble};
use crate::error::{CliError, chain};
use crate::progress::Display;

/// Lines of output of a failed step that are shown again.
const LOG_LINES: usize = 20;

/// Lines that are kept to find out why it failed: some programs say much after the reason.
const KEPT_LINES: usize = 200;

/// Draws progress and keeps the last output of each step for a failure report. A first look at the cache
/// holds its events back: they are shown only when the look was all that was needed.
pub(crate) struct Recorder {
    display: Mutex<Option<Display>>,
    held: Mutex<Option<Vec<ProgressEvent>>>,
    form: ProgressForm,
    steps: Mutex<HashMap<Digest, Step>>,
    /// What the build checks found, in that order.
    checks: Mutex<Vec<(Warning, Arc<DockerfileText>)>>,
    /// Facts that are told at the end.
    notes: Mutex<Vec<String>>,
    /// Whether the checks are listed with their descriptions and places.
    expand_checks: bool,
}

#[derive(Default)]
struct Step {
    name: String,
    status: Option<VertexStatus>,
    log: VecDeque<Vec<u8>>,
}

/// Tells what a step has done.
pub(crate) struct StepReport<'a> {
    recorder: &'a Recorder,
    vertex: Digest,
    last: Cell<SystemTime>,
}

impl StepReport<'_> {
    /// One part of the step has ended; the next begins.
    pub(crate) fn done(&self, name: &str) {
        let now = SystemTime::now();
        self.recorder.event(ProgressEvent::Task {
            vertex: self.vertex,
            name: name.to_owned(),
            current: 0,
            total: 0,
            started: self.last.replace(now),
            completed: Some(now),
        });
    }
}

impl Recorder {
    pub(crate) fn new(form: ProgressForm, hold: bool) -> Self {
        Self {
            display: Mutex::new((!hold).then(|| Display::start(form))),
            held: Mutex::new(hold.then(Vec::new)),
            form,
            steps: Mutex::default(),
            checks: Mutex::default(),
            notes: Mutex::default(),
            expand_checks: false,
        }
    }

    /// One that shows nothing.
    pub(crate) fn quiet() -> Self {
        Self::new(ProgressForm::Quiet, false)
    }

    /// Lists what the build checks find with descriptions and places.
    pub(crate) fn expanding_checks(mut self, expand: bool) -> Self {
        self.expand_checks = expand;
        self
    }

    /// Shows what was held back and ends the drawing.
    pub(crate) fn finish(&self) {
        let held = lock(&self.held).take();
        let mut display = lock(&self.display);
        if let Some(events) = held {
            let started = display.insert(Display::start(self.form));
            for event in events {
                started.event(event);
            }
        }
        if let Some(mut display) = display.take() {
            display.finish();
        }
        let found = std::mem::take(&mut *lock(&self.checks));
        let notes = std::mem::take(&mut *lock(&self.notes));
        if matches!(self.form, ProgressForm::Quiet | ProgressForm::Rawjson) {
            return;
        }
        for note in notes {
            let _ = writeln!(std::io::stderr(), "NOTE: {note}");
        }
        if !found.is_empty() {
            let text = super::checks::summary(&found, self.expand_checks);
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// Tells something at the end that is no warning.
    pub(crate) fn note(&self, text: String) {
        lock(&self.notes).push(text);
    }

    /// Warns of something that belongs to a step.
    pub(crate) fn warn(&self, step: &str, message: String) {
        self.event(ProgressEvent::Warning {
            vertex: Some(Digest::sha256(step.as_bytes())),
            message,
        });
    }

    /// Shows `work` as a step.
    pub(crate) fn step<T>(
        &self,
        name: &str,
        work: impl FnOnce(&StepReport<'_>) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let started = SystemTime::now();
        let mut status = VertexStatus {
            digest: Digest::sha256(name.as_bytes()),
            name: name.to_owned(),
            inputs: Vec::new(),
            started: Some(started),
            completed: None,
            cached: false,
            error: None,
        };
        self.event(ProgressEvent::Vertex(status.clone()));
        let report = StepReport {
            recorder: self,
            vertex: status.digest,
            last: Cell::new(started),
        };
        let result = work(&report);
        status.completed = Some(SystemTime::now());
        status.error = result.as_ref().err().map(|error| match error.is_silent() {
            true => "standard output was closed".to_owned(),
            // The whole is said at the end.
            false => error.to_string().lines().next().unwrap_or_default().to_owned(),
        });
        self.event(ProgressEvent::Vertex(status));
        result
    }

    /// One line for every step that was begun, in that order: its digest, what became of it and how long it took.
    pub(crate) fn steps(&self) -> Vec<String> {
        let steps = lock(&self.steps);
        let mut begun: Vec<(SystemTime, &VertexStatus)> = steps
            .values()
            .filter_map(|step| step.status.as_ref())
            .filter_map(|status| Some((status.started?, status)))
            .collect();
        begun.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
        let line = |(started, status): (SystemTime, &VertexStatus)| {
            let time = status
                .completed
                .and_then(|completed| completed.duration_since(started).ok())
                .unwrap_or_default();
            let outcome = match (&status.error, status.cached, status.completed) {
                (Some(error), ..) => error.lines().next().unwrap_or_default(),
                (None, true, _) => "found in the cache",
                (None, false, Some(_)) => "done",
                (None, false, None) => "not finished",
            };
            format!(
                "{} {}: {outcome}, {:.3} s",
                status.digest,
                status.name,
                time.as_secs_f64()
            )
        };
        begun.into_iter().map(line).collect()
    }

    /// Name and last output lines of a step.
    fn last_output(&self, vertex: Digest) -> Option<(String, Vec<String>)> {
        let steps = lock(&self.steps);
        let step = steps.get(&vertex)?;
        let lines = step
            .log
            .iter()
            .skip(step.log.len().saturating_sub(LOG_LINES))
            .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
            .collect();
        Some((step.name.clone(), lines))
    }

    /// What the network has to do with the failure, as far as the step's output and exit code say.
    pub(super) fn trouble(&self, failure: &Failure) -> Option<Trouble> {
        let steps = lock(&self.steps);
        let step = failure.error.vertex().and_then(|vertex| steps.get(&vertex))?;
        let said = step.log.iter().filter_map(|line| network::of_line(line)).max();
        said.or_else(|| {
            let text = chain(failure);
            let (_, code) = text.rsplit_once("exit code: ")?;
            network::of_code(&step.name, code.trim().parse().ok()?)
        })
    }

    fn record(&self, event: &ProgressEvent) {
        let mut steps = lock(&self.steps);
        match event {
            ProgressEvent::Vertex(status) => {
                let step = steps.entry(status.digest).or_default();
                step.name.clone_from(&status.name);
                step.status = Some(status.clone());
            }
            ProgressEvent::Log { vertex, data, .. } => {
                let log = &mut steps.entry(*vertex).or_default().log;
                for piece in data.split_inclusive(|byte| *byte == b'\n') {
                    match log.back_mut() {
                        Some(line) if !line.ends_with(b"\n") => line.extend_from_slice(piece),
                        _ => log.push_back(piece.to_vec()),
                    }
                    if log.len() > KEPT_LINES {
                        log.pop_front();
                    }
                }
            }
            ProgressEvent::Check {
                warning, dockerfile, ..
            } => {
                drop(steps);
                lock(&self.checks).push((warning.clone(), Arc::clone(dockerfile)));
            }
            ProgressEvent::Task { .. } | ProgressEvent::Warning { .. } => {}
        }
    }
}

impl ProgressSink for Recorder {
    fn event(&self, event: ProgressEvent) {
        self.record(&event);
        if let Some(held) = lock(&self.held).as_mut() {
            held.push(event);
            return;
        }
        if let Some(display) = lock(&self.display).as_ref() {
            display.event(event);
        }
    }
}

/// Prints the last output of the step that failed and the place in the Dockerfile; gives the error to end
/// with.
pub(crate) fn failure(dockerfile: &DockerfileText, failure: &Failure, recorder: &Recorder) -> CliError {
    if failure.error.is_cancelled() {
        return CliError::failed("the build was cancelled").with_code(crate::interrupt::exit_code());
    }
    let mut text = String::new();
    if let Some((name, lines)) = failure
        .error
        .vertex()
        .and_then(|vertex| recorder.last_output(vertex))
        && !lines.is_empty()
    {
        let _ = writeln!(text, "------\n > {name}:");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "------");
    }
    let source = String::from_utf8_lossy(&dockerfile.text);
    let lines = LineIndex::new(&source);
    let mut message = chain(&failure.error);
    if let BuildError::Dockerfile(diagnostics) = &failure.error {
        let last = diagnostics.len().saturating_sub(1);
        for (at, diagnostic) in diagnostics.iter().enumerate() {
            if let Some(span) = diagnostic.span {
                text.push_str(&lines.excerpt(&dockerfile.name, span.first_line, span.last_line));
            }
            if at < last {
                let _ = writeln!(text, "ERROR: {}", printable(&diagnostic.to_string()));
            } else {
                message = diagnostic.to_string();
            }
        }
    }
    if let Some((first, last)) = failure.lines {
        text.push_str(&lines.excerpt(&dockerfile.name, first, last));
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    CliError::failed(printable(&message))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
