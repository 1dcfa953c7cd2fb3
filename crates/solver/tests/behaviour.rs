//! One behaviour at a time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::*;
use distil_oci::Digest;
use distil_solver::*;

const PLAIN: Content = Content::Ignored;

/// A store that counts look-ups and loads, and can refuse loads.
#[derive(Default)]
struct Watched {
    inner: MemoryStore,
    queries: AtomicU32,
    loads: AtomicU32,
    refuse: Mutex<Vec<i64>>,
}

impl CacheStore for Watched {
    fn root(&self, record: &Digest) -> Result<Option<NodeId>, StoreError> {
        self.inner.root(record)
    }

    fn knows(&self, record: &Digest) -> Result<bool, StoreError> {
        self.inner.knows(record)
    }

    fn query(&self, record: &Digest, inputs: &[Vec<QueryKey>]) -> Result<Vec<Vec<Vec<NodeId>>>, StoreError> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        self.inner.query(record, inputs)
    }

    fn records(&self, nodes: &[NodeId]) -> Result<Vec<Record>, StoreError> {
        self.inner.records(nodes)
    }

    fn load(&self, record: &Record) -> Result<Option<ResultHandle>, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.refuse.lock().unwrap().contains(&record.id) {
            return Err(StoreError::new("this one is broken"));
        }
        self.inner.load(record)
    }

    fn save(&self, entries: &[SaveEntry]) -> Result<Vec<Vec<NodeId>>, StoreError> {
        self.inner.save(entries)
    }
}

fn solver_of(stores: &[&Arc<Watched>]) -> Solver {
    let stores = stores
        .iter()
        .map(|&store| Arc::clone(store) as Arc<dyn CacheStore>)
        .collect();
    Solver::new(SolverConfig {
        stores,
        flight: None,
        exec_slots: 2,
        cpu_slots: 4,
    })
}

fn chain(len: usize) -> Vec<Spec> {
    let inputs = |at: usize| {
        at.checked_sub(1)
            .map(|input| (input, PLAIN))
            .into_iter()
            .collect::<Vec<_>>()
    };
    (0..len)
        .map(|at| Spec::new(10 + at as u64, &inputs(at)))
        .collect()
}

/// Two contexts whose content, modulo 4, is equal and different from the first's.
fn twin_seeds() -> (u64, u64, u64) {
    let content = |seed| reference(&[Spec::context(seed)])[0][0] % 4;
    let first = 100;
    let equal = (101..).find(|&seed| content(seed) == content(first)).unwrap();
    let other = (101..).find(|&seed| content(seed) != content(first)).unwrap();
    (first, equal, other)
}

#[test]
fn every_vertex_is_announced_and_told_of_when_made_and_when_cached() {
    let store = Arc::new(MemoryStore::new());
    let specs = chain(3);
    let (recorder, options) = Recorder::options();
    assert!(!solve(&solver(&store), &specs, &[2], &options).answer.unwrap()[0].cached);
    let events = recorder.take();
    assert!(
        events[..3]
            .iter()
            .enumerate()
            .all(|(at, line)| line.ends_with(&format!("vertex {at}"))),
        "{events:?}"
    );
    let told: Vec<_> = (0..3)
        .flat_map(|at| [format!("started {at}"), format!("completed {at}")])
        .collect();
    assert_eq!(events[3..], told);

    assert!(solve(&solver(&store), &specs, &[2], &options).answer.unwrap()[0].cached);
    assert_eq!(recorder.take()[3..], ["cached 0", "cached 1", "cached 2"]);
}

#[test]
fn a_cached_chain_loads_its_end_alone() {
    let store = Arc::new(Watched::default());
    let specs = chain(20);
    solve(&solver_of(&[&store]), &specs, &[19], &SolveOptions::default())
        .answer
        .unwrap();
    let queries = store.queries.swap(0, Ordering::SeqCst);
    assert_eq!(
        (store.loads.load(Ordering::SeqCst), queries),
        (0, 0),
        "nothing is known, so nothing is followed"
    );
    solve(&solver_of(&[&store]), &specs, &[19], &SolveOptions::default())
        .answer
        .unwrap();
    assert_eq!(store.loads.load(Ordering::SeqCst), 1);
    assert_eq!(store.queries.load(Ordering::SeqCst), 19);
}

#[test]
fn vertices_beside_the_targets_never_run() {
    let mut specs = chain(2);
    specs.push(Spec::new(50, &[(0, PLAIN)]));
    let run = solve(
        &solver(&Arc::new(MemoryStore::new())),
        &specs,
        &[1],
        &SolveOptions::default(),
    );
    assert_eq!(run.runs, [1, 1, 0]);
    let none = solve(
        &solver(&Arc::new(MemoryStore::new())),
        &specs,
        &[],
        &SolveOptions::default(),
    );
    assert_eq!((none.runs, none.answer.unwrap().len()), (vec![0, 0, 0], 0));
}

#[test]
fn slots_limit_what_runs_at_once() {
    for (resource, most) in [
        (Resource::Exec, 2..=2),
        (Resource::Cpu, 3..=4),
        (Resource::Light, 7..=8),
    ] {
        let step = |seed| Spec {
            resource,
            delay: Duration::from_millis(150),
            ..Spec::new(seed, &[])
        };
        let specs: Vec<_> = (0..8).map(step).collect();
        let targets: Vec<_> = (0..8).collect();
        let run = solve(
            &solver(&Arc::new(MemoryStore::new())),
            &specs,
            &targets,
            &SolveOptions::default(),
        );
        assert!(most.contains(&run.most), "{resource:?}: {}", run.most);
    }
}

#[test]
fn equal_content_saves_the_step_that_uses_it() {
    let (first, equal, other) = twin_seeds();
    for kind in [Content::Computed, Content::Measured] {
        let store = Arc::new(MemoryStore::new());
        let with = |seed| {
            vec![
                Spec::context(seed),
                Spec::new(1, &[(0, kind)]),
                Spec::new(2, &[(1, PLAIN)]),
            ]
        };
        let run = |seed| solve(&solver(&store), &with(seed), &[2], &SolveOptions::default()).runs;
        assert_eq!(run(first), [1, 1, 1]);
        assert_eq!(run(equal), [1, 0, 0]);
        assert_eq!(run(other), [1, 1, 1]);
        assert_eq!(run(first), [1, 0, 0]);
    }
}

#[test]
fn an_equal_key_is_noted_for_the_next_build() {
    let (first, equal, _) = twin_seeds();
    let store = Arc::new(Watched::default());
    // Not a context: its definition is a key, too.
    let stage = |seed| Spec {
        resource: Resource::Cpu,
        ..Spec::new(seed, &[])
    };
    let with = |seed| {
        vec![
            stage(seed),
            Spec::new(1, &[(0, Content::Computed)]),
            Spec::new(2, &[(1, PLAIN)]),
        ]
    };
    let run = |seed| solve(&solver_of(&[&store]), &with(seed), &[2], &SolveOptions::default()).runs;
    assert_eq!(run(first), [1, 1, 1]);
    assert_eq!(run(equal), [1, 0, 0]);
    // The copy was needed for its key alone; a build that ends there notes that both stages lead to it.
    let copy = solve(
        &solver_of(&[&store]),
        &with(equal),
        &[1],
        &SolveOptions::default(),
    );
    assert_eq!(copy.runs, [0, 0, 0]);
    store.loads.store(0, Ordering::SeqCst);
    assert_eq!(run(equal), [0, 0, 0]);
    assert_eq!(
        store.loads.load(Ordering::SeqCst),
        1,
        "the stage is not made real for its content"
    );
}

/// Gives a number that the outside world sets.
struct Dial(Arc<AtomicU32>);

impl Op for Dial {
    fn cache_map(&self, _: &OpContext) -> Result<CacheMap, OpError> {
        Ok(CacheMap {
            digests: vec![digest("dial")],
            inputs: vec![],
            private: false,
        })
    }

    fn resource(&self) -> Resource {
        Resource::Exec
    }

    fn exec(&self, _: &OpContext, _: &[ResultHandle]) -> Result<Outputs, OpError> {
        let value = u64::from(self.0.load(Ordering::SeqCst));
        Ok(Outputs {
            results: vec![Some(ResultHandle::new(value))],
            content: vec![],
        })
    }
}

#[test]
fn a_step_that_gives_another_result_does_not_mix_up_its_users() {
    let (store, dial) = (Arc::new(MemoryStore::new()), Arc::new(AtomicU32::new(0)));
    let run = |value: u32, anew: bool| {
        dial.store(value, Ordering::SeqCst);
        let counters = Counters::new(2);
        let spec = Spec::new(1, &[(0, Content::Measured)]);
        let copy = NumberOp {
            at: 1,
            spec,
            counters: Arc::clone(&counters),
        };
        let mut graph = Graph::new();
        let mut add = |name: &str, inputs: Vec<Edge>, op: Arc<dyn Op>, ignore_cache| {
            graph
                .add(Vertex {
                    digest: digest(name),
                    name: name.to_owned(),
                    inputs,
                    op,
                    ignore_cache,
                })
                .unwrap()
        };
        let stage = add("stage", vec![], Arc::new(Dial(Arc::clone(&dial))), anew);
        let copy = add("copy", vec![Edge::new(stage, 0)], Arc::new(copy), false);
        let solved = solver(&store)
            .solve(&graph, &[Edge::new(copy, 0)], &SolveOptions::default())
            .unwrap();
        (number(&solved[0].result), counters.counts()[1])
    };
    let (zero, one) = (run(0, false), run(1, true));
    assert!(zero.0 != one.0 && zero.1 == 1 && one.1 == 1);
    assert_eq!(
        run(0, true),
        (zero.0, 0),
        "found by its content, and not the newer one"
    );
    assert_eq!(run(1, true), (one.0, 0));
}

#[test]
fn another_store_gives_what_the_first_lacks_and_the_first_takes_it_over() {
    let (local, remote) = (Arc::new(Watched::default()), Arc::new(Watched::default()));
    let specs = chain(4);
    solve(&solver_of(&[&remote]), &specs, &[3], &SolveOptions::default())
        .answer
        .unwrap();
    let run = solve(
        &solver_of(&[&local, &remote]),
        &specs,
        &[3],
        &SolveOptions::default(),
    );
    assert_eq!((run.ran().len(), remote.loads.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(
        solve(&solver_of(&[&local]), &specs, &[3], &SolveOptions::default())
            .ran()
            .len(),
        0
    );
    // A step on top is recorded under the key that came from elsewhere.
    let mut longer = specs;
    longer.push(Spec::new(77, &[(3, PLAIN)]));
    let run = |solver: Solver| solve(&solver, &longer, &[4], &SolveOptions::default()).ran();
    assert_eq!(run(solver_of(&[&local, &remote])), [4]);
    assert_eq!(run(solver_of(&[&local])), [0_usize; 0]);
}

#[test]
fn a_record_that_does_not_load_gives_way_to_the_next() {
    let store = Arc::new(Watched::default());
    let mut specs = chain(2);
    let run = |specs: &[Spec]| solve(&solver_of(&[&store]), specs, &[1], &SolveOptions::default()).ran();
    assert_eq!(run(&specs), [0, 1]);
    specs[1].ignore_cache = true;
    assert_eq!(run(&specs), [1]);
    specs[1].ignore_cache = false;
    let all = 0..100;
    // The newest record alone: the older one is loaded.
    let newest = all
        .clone()
        .rev()
        .find(|&id| matches!(store.inner.load(&Record { id, created_at: 0 }), Ok(Some(_))));
    store.refuse.lock().unwrap().extend(newest);
    assert_eq!(run(&specs), [0_usize; 0]);
    store.refuse.lock().unwrap().extend(all);
    assert_eq!(run(&specs), [0, 1]);
}

#[test]
fn cache_only_ends_before_anything_runs() {
    let store = Arc::new(MemoryStore::new());
    let mut specs = vec![
        Spec::context(1),
        Spec::new(2, &[]),
        Spec::new(3, &[(1, PLAIN), (0, Content::Measured)]),
    ];
    specs.push(Spec::new(4, &[(2, PLAIN)]));
    let only = SolveOptions {
        mode: Mode::CacheOnly,
        ..SolveOptions::default()
    };
    let run = solve(&solver(&store), &specs, &[3], &only);
    let Err(SolveError::NeedsExecution { name, .. }) = &run.answer else {
        panic!("{:?}", run.answer)
    };
    assert_eq!((name.as_str(), run.ran()), ("vertex 3", vec![]));
    let full = SolveOptions::default();
    solve(&solver(&store), &specs, &[3], &full).answer.unwrap();
    assert_eq!(
        solve(&solver(&store), &specs, &[3], &only).ran(),
        [0],
        "a context is read"
    );
    // At the same time as a build that may execute, the vertices are shared.
    specs[1].seed = 5;
    let one = solver(&store);
    std::thread::scope(|scope| {
        scope.spawn(|| solve(&one, &specs, &[3], &full).answer.unwrap());
        let _ = solve(&one, &specs, &[3], &only);
    });
}

#[test]
fn the_first_failure_stops_the_rest_and_names_its_vertex() {
    let slow = Spec {
        delay: Duration::from_secs(60),
        resource: Resource::Exec,
        ..Spec::new(1, &[])
    };
    let fails = Spec {
        fails: true,
        ..Spec::new(2, &[])
    };
    let specs = [slow, fails, Spec::new(3, &[(0, PLAIN), (1, PLAIN)])];
    let (recorder, options) = Recorder::options();
    let start = Instant::now();
    let run = solve(&solver(&Arc::new(MemoryStore::new())), &specs, &[2], &options);
    let error = run.answer.unwrap_err();
    assert_eq!(error.to_string(), "`vertex 1`: op 2 fails");
    assert!(error.vertex().is_some() && start.elapsed() < Duration::from_secs(10));
    let events = recorder.take();
    assert!(events.contains(&"failed 1: op 2 fails".to_owned()), "{events:?}");
    assert_eq!(run.runs[2], 0);
}

#[test]
fn a_shared_vertex_survives_the_build_that_began_it() {
    let one = solver(&Arc::new(MemoryStore::new()));
    let specs = [Spec {
        delay: Duration::from_millis(300),
        ..Spec::new(1, &[])
    }];
    let options = SolveOptions::default();
    let counters = Counters::new(1);
    let (graph, indices) = graph(&specs, &counters);
    let edge = [Edge::new(indices[0], 0)];
    std::thread::scope(|scope| {
        let first = scope.spawn(|| one.solve(&graph, &edge, &options));
        while counters.running.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let second = scope.spawn(|| one.solve(&graph, &edge, &SolveOptions::default()));
        std::thread::sleep(Duration::from_millis(50));
        options.cancel.cancel();
        assert!(matches!(first.join().unwrap(), Err(SolveError::Cancelled)));
        assert_eq!(
            number(&second.join().unwrap().unwrap()[0].result),
            reference(&specs)[0][0]
        );
    });
    assert_eq!(counters.counts(), [1]);
}

#[test]
fn a_waiter_takes_over_or_takes_what_was_made() {
    for made_elsewhere in [false, true] {
        let (store, flight) = (Arc::new(MemoryStore::new()), Arc::new(LocalFlight::default()));
        let specs = [Spec {
            delay: Duration::from_millis(1),
            ..Spec::new(1, &[])
        }];
        let held = Arc::new(Mutex::new(None));
        let spy = Arc::new(Spy {
            flight: Arc::clone(&flight),
            held: Arc::clone(&held),
        });
        let config = SolverConfig {
            stores: vec![Arc::clone(&store) as Arc<dyn CacheStore>],
            flight: Some(spy),
            ..SolverConfig::default()
        };
        let run = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| solve(&Solver::new(config), &specs, &[0], &SolveOptions::default()));
            while held.lock().unwrap().is_none() {
                std::thread::yield_now();
            }
            if made_elsewhere {
                solve(&solver(&store), &specs, &[0], &SolveOptions::default())
                    .answer
                    .unwrap();
            }
            held.lock().unwrap().take();
            waiter.join().unwrap()
        });
        assert_eq!(run.runs, [u32::from(!made_elsewhere)]);
        assert_eq!(run.answer.unwrap()[0].cached, made_elsewhere);
    }
}

/// Takes every key for itself at the first attempt, as another process would.
struct Spy {
    flight: Arc<LocalFlight>,
    held: Arc<Mutex<Option<FlightGuard>>>,
}

impl SingleFlight for Spy {
    fn try_acquire(&self, key: &Digest) -> Result<Option<FlightGuard>, StoreError> {
        *self.held.lock().unwrap() = self.flight.try_acquire(key)?;
        Ok(None)
    }

    fn acquire(&self, key: &Digest, cancel: &CancelToken) -> Result<Option<FlightGuard>, StoreError> {
        self.flight.acquire(key, cancel)
    }
}

/// Not a benchmark: only says when the solver has become slow by an order of magnitude.
#[test]
fn a_thousand_vertices_are_quick() {
    let store = Arc::new(MemoryStore::new());
    let specs = chain(1000);
    for (what, limit) in [("cold", 5000), ("cached", 2000)] {
        let start = Instant::now();
        solve(&solver(&store), &specs, &[999], &SolveOptions::default())
            .answer
            .unwrap();
        let took = start.elapsed();
        println!("1000 vertices {what}: {took:?}");
        assert!(took < Duration::from_millis(limit), "{what}: {took:?}");
    }
}
