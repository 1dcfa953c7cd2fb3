//! Turns the solver's events, which have no time, into those of a build.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use distil_dockerfile::lint::Warning;
use distil_oci::Digest;
use distil_solver::{Event, Stream};

use crate::contexts::DockerfileText;
use crate::progress::{LogStream, ProgressEvent, ProgressSink, VertexStatus};

/// Sends events of the solver and of the engine's own steps to one sink.
pub(crate) struct Adapter {
    sink: Arc<dyn ProgressSink>,
    vertices: Mutex<HashMap<Digest, VertexStatus>>,
    tasks: Mutex<HashMap<(Digest, String), SystemTime>>,
}

impl Adapter {
    pub(crate) fn new(sink: Arc<dyn ProgressSink>) -> Self {
        Self {
            sink,
            vertices: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Begins a step that is no operation; its digest is that of its name.
    pub(crate) fn step(&self, name: &str) -> Step<'_> {
        let digest = Digest::sha256(name.as_bytes());
        let status = VertexStatus {
            digest,
            name: name.to_owned(),
            inputs: Vec::new(),
            started: Some(SystemTime::now()),
            completed: None,
            cached: false,
            error: None,
        };
        self.set(status);
        Step {
            adapter: self,
            digest,
            ended: false,
        }
    }

    pub(crate) fn warn(&self, message: String) {
        self.sink.event(ProgressEvent::Warning {
            vertex: None,
            message,
        });
    }

    /// Tells what a build check found in the Dockerfile that the step `step` has read.
    pub(crate) fn check(&self, step: &str, warning: Warning, dockerfile: &Arc<DockerfileText>) {
        self.sink.event(ProgressEvent::Check {
            vertex: Digest::sha256(step.as_bytes()),
            warning,
            dockerfile: Arc::clone(dockerfile),
        });
    }

    /// Reports a part of a vertex's work.
    pub(crate) fn task(&self, vertex: Digest, name: String, current: u64, total: u64, done: bool) {
        let now = SystemTime::now();
        let started = *lock(&self.tasks).entry((vertex, name.clone())).or_insert(now);
        self.sink.event(ProgressEvent::Task {
            vertex,
            name,
            current,
            total,
            started,
            completed: done.then_some(now),
        });
    }

    fn set(&self, status: VertexStatus) {
        lock(&self.vertices).insert(status.digest, status.clone());
        self.sink.event(ProgressEvent::Vertex(status));
    }

    fn change(&self, vertex: Digest, change: impl FnOnce(&mut VertexStatus, SystemTime)) {
        let changed = {
            let mut vertices = lock(&self.vertices);
            let Some(status) = vertices.get_mut(&vertex) else {
                return;
            };
            change(status, SystemTime::now());
            status.clone()
        };
        self.sink.event(ProgressEvent::Vertex(changed));
    }
}

impl distil_solver::ProgressSink for Adapter {
    fn event(&self, event: &Event) {
        match event {
            Event::Announced(info) => self.set(VertexStatus {
                digest: info.digest,
                name: info.name.clone(),
                inputs: info.inputs.clone(),
                started: None,
                completed: None,
                cached: false,
                error: None,
            }),
            Event::Started(vertex) => self.change(*vertex, |status, now| {
                status.started = Some(now);
                status.completed = None;
                status.cached = false;
            }),
            Event::Cached(vertex) => self.change(*vertex, |status, now| {
                status.started.get_or_insert(now);
                status.completed = Some(now);
                status.cached = true;
            }),
            Event::Completed(vertex) => self.change(*vertex, |status, now| {
                status.completed = Some(now);
            }),
            Event::Failed { vertex, error } => self.change(*vertex, |status, now| {
                status.completed = Some(now);
                status.error = Some(error.clone());
            }),
            Event::Cancelled(vertex) => self.change(*vertex, |status, now| {
                status.completed = Some(now);
                status.error = Some(VertexStatus::CANCELLED.into());
            }),
            Event::Log { vertex, stream, data } => self.sink.event(ProgressEvent::Log {
                vertex: *vertex,
                stream: match stream {
                    Stream::Stdout => LogStream::Stdout,
                    Stream::Stderr => LogStream::Stderr,
                },
                data: data.clone(),
                at: SystemTime::now(),
            }),
            Event::Status { vertex, status } => {
                // Finding out what a source is may take as long as fetching it: its step begins with that.
                let has_begun = lock(&self.vertices)
                    .get(vertex)
                    .is_none_or(|status| status.started.is_some());
                if !has_begun {
                    self.change(*vertex, |status, now| status.started = Some(now));
                }
                self.task(
                    *vertex,
                    status.id.clone(),
                    status.current,
                    status.total,
                    status.done,
                );
            }
        }
    }
}

/// A step of the engine itself. Dropped without an end it counts as cancelled.
pub(crate) struct Step<'a> {
    adapter: &'a Adapter,
    digest: Digest,
    ended: bool,
}

impl Step<'_> {
    pub(crate) fn task(&self, name: String, current: u64, total: u64, done: bool) {
        self.adapter.task(self.digest, name, current, total, done);
    }

    /// Ends it with the outcome of its work.
    pub(crate) fn end<T, E: std::fmt::Display>(mut self, outcome: &Result<T, E>) {
        self.ended = true;
        let error = outcome.as_ref().err().map(ToString::to_string);
        self.adapter.change(self.digest, |status, now| {
            status.completed = Some(now);
            status.error = error;
        });
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.adapter.change(self.digest, |status, now| {
                status.completed = Some(now);
                status.error = Some(VertexStatus::CANCELLED.into());
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
