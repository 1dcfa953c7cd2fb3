//! Ops on numbers, and a reference that evaluates the same graph one by one.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use distil_oci::Digest;
use distil_solver::*;

/// The number that a result is.
pub fn number(result: &ResultHandle) -> u64 {
    *result.downcast_ref::<u64>().expect("results are numbers")
}

pub fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

/// What one vertex of a test graph is.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Says what it does; the cache map's digest.
    pub seed: u64,
    /// Input vertex, its output, and whether its content (the number modulo 4) is all that is used of it.
    pub inputs: Vec<(usize, u32, Content)>,
    pub private: bool,
    pub ignore_cache: bool,
    pub fails: bool,
    pub resource: Resource,
    pub delay: Duration,
}

impl Spec {
    pub fn new(seed: u64, inputs: &[(usize, Content)]) -> Self {
        let inputs = inputs
            .iter()
            .map(|&(vertex, content)| (vertex, 0, content))
            .collect();
        Self {
            seed,
            inputs,
            private: false,
            ignore_cache: false,
            fails: false,
            resource: Resource::Cpu,
            delay: Duration::ZERO,
        }
    }

    /// A source whose content matters and whose definition means nothing.
    pub fn context(seed: u64) -> Self {
        Self {
            private: true,
            resource: Resource::Light,
            ..Self::new(seed, &[])
        }
    }

    fn seen(content: Content, value: u64) -> u64 {
        if content == Content::Ignored {
            value
        } else {
            value % 4
        }
    }

    /// The value of an output given what is seen of the inputs.
    fn value(&self, seen: &[u64], output: u32) -> u64 {
        let hash = digest(&format!("{} {seen:?} {output}", self.seed));
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
    }
}

/// Counts what the ops of a graph do.
#[derive(Default)]
pub struct Counters {
    pub runs: Vec<AtomicU32>,
    pub running: AtomicUsize,
    pub most: AtomicUsize,
}

impl Counters {
    pub fn new(len: usize) -> Arc<Self> {
        Arc::new(Self {
            runs: (0..len).map(|_| AtomicU32::new(0)).collect(),
            ..Self::default()
        })
    }

    pub fn counts(&self) -> Vec<u32> {
        self.runs.iter().map(|runs| runs.load(Ordering::SeqCst)).collect()
    }
}

pub struct NumberOp {
    pub at: usize,
    pub spec: Spec,
    pub counters: Arc<Counters>,
}

impl Op for NumberOp {
    fn cache_map(&self, _: &OpContext) -> Result<CacheMap, OpError> {
        let selector = |content| (content != Content::Ignored).then(|| digest("part"));
        let inputs = self.spec.inputs.iter();
        let inputs = inputs
            .map(|&(_, _, content)| InputMap {
                selector: selector(content),
                content,
            })
            .collect();
        let digests = vec![digest(&format!("op {}", self.spec.seed))];
        Ok(CacheMap {
            digests,
            inputs,
            private: self.spec.private,
        })
    }

    fn maps_inline(&self) -> bool {
        self.spec.seed.is_multiple_of(2)
    }

    fn resource(&self) -> Resource {
        self.spec.resource
    }

    fn content_digest(
        &self,
        _: &OpContext,
        _: usize,
        result: &ResultHandle,
    ) -> Result<Option<Digest>, OpError> {
        Ok(Some(content_of(number(result))))
    }

    fn exec(&self, ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        self.counters.runs[self.at].fetch_add(1, Ordering::SeqCst);
        let now = self.counters.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.counters.most.fetch_max(now, Ordering::SeqCst);
        let cancelled = !self.spec.delay.is_zero() && ctx.cancel().wait(self.spec.delay);
        self.counters.running.fetch_sub(1, Ordering::SeqCst);
        if cancelled {
            return Err(OpError::Cancelled);
        }
        if self.spec.fails {
            return Err(OpError::failed(format!("op {} fails", self.spec.seed)));
        }
        let kinds = self.spec.inputs.iter().map(|&(_, _, content)| content);
        let seen: Vec<_> = inputs
            .iter()
            .zip(kinds.clone())
            .map(|(input, content)| Spec::seen(content, number(input)))
            .collect();
        let results = (0..2)
            .map(|output| Some(ResultHandle::new(self.spec.value(&seen, output))))
            .collect();
        // An op may leave it to the solver to compute the digest afterwards.
        let measures = self.spec.seed.is_multiple_of(2);
        let measure = |(value, content): (&u64, Content)| {
            (measures && content == Content::Measured).then(|| content_of(*value))
        };
        Ok(Outputs {
            results,
            content: seen.iter().zip(kinds).map(measure).collect(),
        })
    }
}

fn content_of(value: u64) -> Digest {
    digest(&format!("content {}", value % 4))
}

/// The graph of `specs`. A vertex's digest covers its own spec and its inputs'.
pub fn graph(specs: &[Spec], counters: &Arc<Counters>) -> (Graph, Vec<VertexIndex>) {
    let mut graph = Graph::new();
    let mut digests: Vec<Digest> = Vec::new();
    let mut indices = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let inputs = spec
            .inputs
            .iter()
            .map(|&(input, output, kind)| (digests[input], output, kind));
        let text = format!("{} {:?} {}", spec.seed, inputs.collect::<Vec<_>>(), spec.private);
        digests.push(digest(&text));
        let op = NumberOp {
            at,
            spec: spec.clone(),
            counters: Arc::clone(counters),
        };
        let vertex = Vertex {
            digest: digests[at],
            name: format!("vertex {at}"),
            inputs: spec
                .inputs
                .iter()
                .map(|&(input, output, _)| Edge::new(indices[input], output))
                .collect(),
            op: Arc::new(op),
            ignore_cache: spec.ignore_cache,
        };
        indices.push(graph.add(vertex).unwrap());
    }
    (graph, indices)
}

/// The values of every vertex's two outputs, evaluated one by one.
pub fn reference(specs: &[Spec]) -> Vec<[u64; 2]> {
    let mut values: Vec<[u64; 2]> = Vec::new();
    for spec in specs {
        let seen: Vec<_> = (spec.inputs.iter())
            .map(|&(input, output, content)| Spec::seen(content, values[input][output as usize]))
            .collect();
        values.push([spec.value(&seen, 0), spec.value(&seen, 1)]);
    }
    values
}

/// A solved test graph.
pub struct Run {
    pub answer: Result<Vec<Solved>, SolveError>,
    pub runs: Vec<u32>,
    pub most: usize,
}

impl Run {
    pub fn values(&self) -> Vec<u64> {
        self.answer
            .as_ref()
            .unwrap()
            .iter()
            .map(|solved| number(&solved.result))
            .collect()
    }

    /// Which vertices ran.
    pub fn ran(&self) -> Vec<usize> {
        (0..self.runs.len()).filter(|&at| self.runs[at] > 0).collect()
    }
}

pub fn solver(store: &Arc<MemoryStore>) -> Solver {
    Solver::new(SolverConfig {
        stores: vec![Arc::clone(store) as Arc<dyn CacheStore>],
        exec_slots: 2,
        cpu_slots: 4,
        flight: None,
    })
}

pub fn solve(solver: &Solver, specs: &[Spec], targets: &[usize], options: &SolveOptions) -> Run {
    let counters = Counters::new(specs.len());
    let (graph, indices) = graph(specs, &counters);
    let targets: Vec<_> = targets
        .iter()
        .map(|&target| Edge::new(indices[target], 0))
        .collect();
    let answer = solver.solve(&graph, &targets, options);
    Run {
        answer,
        runs: counters.counts(),
        most: counters.most.load(Ordering::SeqCst),
    }
}

/// Collects the events of a build as short texts.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<String>>);

impl Recorder {
    pub fn options() -> (Arc<Self>, SolveOptions) {
        let recorder = Arc::new(Self::default());
        let progress = Arc::clone(&recorder) as Arc<dyn ProgressSink>;
        (
            recorder,
            SolveOptions {
                progress,
                ..SolveOptions::default()
            },
        )
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl ProgressSink for Recorder {
    fn event(&self, event: &Event) {
        let mut events = self.0.lock().unwrap();
        // Digests are told apart by the order in which they were announced.
        let name = |digest: &Digest| {
            let text = digest.to_string();
            let at = events.iter().filter(|line| line.starts_with("announced"));
            at.map(|line| line.split(' ').nth(1).unwrap().to_owned())
                .position(|known| known == text)
        };
        let line = match event {
            Event::Announced(info) => format!("announced {} {}", info.digest, info.name),
            Event::Started(vertex) => format!("started {}", name(vertex).unwrap()),
            Event::Cached(vertex) => format!("cached {}", name(vertex).unwrap()),
            Event::Completed(vertex) => format!("completed {}", name(vertex).unwrap()),
            Event::Failed { vertex, error } => format!("failed {}: {error}", name(vertex).unwrap()),
            Event::Cancelled(vertex) => format!("cancelled {}", name(vertex).unwrap()),
            Event::Log { vertex, data, .. } => {
                format!("log {}: {}", name(vertex).unwrap(), String::from_utf8_lossy(data))
            }
            Event::Status { vertex, status } => format!("status {}: {}", name(vertex).unwrap(), status.id),
        };
        events.push(line);
    }
}

/// Locks for tasks and solvers of one process.
#[derive(Default)]
pub struct LocalFlight(Arc<(Mutex<HashMap<Digest, ()>>, Condvar)>);

struct LocalGuard(Arc<(Mutex<HashMap<Digest, ()>>, Condvar)>, Digest);

impl Drop for LocalGuard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().remove(&self.1);
        self.0.1.notify_all();
    }
}

impl SingleFlight for LocalFlight {
    fn try_acquire(&self, key: &Digest) -> Result<Option<FlightGuard>, StoreError> {
        let mut held = self.0.0.lock().unwrap();
        if held.insert(*key, ()).is_some() {
            return Ok(None);
        }
        Ok(Some(Box::new(LocalGuard(Arc::clone(&self.0), *key))))
    }

    fn acquire(&self, key: &Digest, cancel: &CancelToken) -> Result<Option<FlightGuard>, StoreError> {
        loop {
            if let Some(guard) = self.try_acquire(key)? {
                return Ok(Some(guard));
            }
            if cancel.wait(Duration::from_millis(1)) {
                return Ok(None);
            }
        }
    }
}
