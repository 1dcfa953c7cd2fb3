//! A store, solvers on it in threads and processes, and steps that leave layers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use distil_oci::Digest;
use distil_solver::{
    CacheMap, CancelToken, Content, Edge, Graph, InputMap, Mode, Op, OpContext, OpError, Outputs, Resource,
    ResultHandle, SolveError, SolveOptions, Solved, Solver, SolverConfig, Vertex,
};
use distil_store::{LayerId, LayerInfo, Prune, Store, Timestamp};

use crate::ops::Output;

/// A step that leaves a layer on top of its input's, and a line in a file that counts its runs.
struct Step {
    store: Arc<Store>,
    name: String,
    inputs: usize,
    delay: Duration,
    runs: PathBuf,
}

impl Op for Step {
    fn cache_map(&self, _: &OpContext) -> Result<CacheMap, OpError> {
        let input = InputMap {
            selector: None,
            content: Content::Ignored,
        };
        let digests = vec![Digest::sha256(self.name.as_bytes())];
        Ok(CacheMap {
            digests,
            inputs: vec![input; self.inputs],
            private: false,
        })
    }

    fn maps_inline(&self) -> bool {
        true
    }

    fn resource(&self) -> Resource {
        Resource::Exec
    }

    fn exec(&self, ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        use std::io::Write;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.runs);
        // One write: lines of steps that run at the same time must not mix.
        let line = format!("{}\n", self.name);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(OpError::failed)?;
        if ctx.cancel().wait(self.delay) {
            return Err(OpError::Cancelled);
        }
        let mut layers: Vec<LayerId> = inputs.first().map(layers_of).unwrap_or_default();
        layers.push(layer(&self.store, &self.name).map_err(OpError::failed)?);
        Ok(Outputs {
            results: vec![Some(Output::Layers(layers).into_handle())],
            content: Vec::new(),
        })
    }
}

fn layers_of(result: &ResultHandle) -> Vec<LayerId> {
    match result.downcast_ref::<Output>() {
        Some(Output::Layers(layers)) => layers.clone(),
        _ => Vec::new(),
    }
}

fn layer(store: &Store, text: &str) -> Result<LayerId, distil_store::StoreError> {
    let id = store.layers().create("test")?;
    let directory = store.layers().path(id).join("fs");
    std::fs::create_dir(&directory).expect("layer directory");
    std::fs::write(directory.join("file"), text).expect("file of the layer");
    let info = LayerInfo {
        id,
        diff_id: None,
        tar_size: None,
        size: 1,
        inodes: 1,
        id_map: "test".to_owned(),
        base: None,
        extends: None,
    };
    store.layers().commit(&info)?;
    Ok(id)
}

/// A chain of steps in a store.
struct Bench {
    root: PathBuf,
    runs: PathBuf,
    delay: Duration,
    id_map: String,
}

impl Bench {
    fn new(directory: &Path) -> Self {
        Self {
            root: directory.join("store"),
            runs: directory.join("runs"),
            delay: Duration::ZERO,
            id_map: "test".to_owned(),
        }
    }

    fn solve(&self, steps: &[&str], options: &SolveOptions) -> Result<Vec<Solved>, SolveError> {
        let store = Arc::new(Store::open(&self.root).expect("store opens"));
        self.solve_in(&store, steps, options)
    }

    fn solve_in(
        &self,
        store: &Arc<Store>,
        steps: &[&str],
        options: &SolveOptions,
    ) -> Result<Vec<Solved>, SolveError> {
        let mut graph = Graph::new();
        let mut last: Option<Edge> = None;
        let mut path = String::new();
        for &name in steps {
            path.push_str(name);
            let inputs: Vec<_> = last.into_iter().collect();
            let op = Step {
                store: Arc::clone(store),
                name: name.to_owned(),
                inputs: inputs.len(),
                delay: self.delay,
                runs: self.runs.clone(),
            };
            let digest = Digest::sha256(path.as_bytes());
            let vertex = Vertex {
                digest,
                name: name.to_owned(),
                inputs,
                op: Arc::new(op),
                ignore_cache: false,
            };
            last = Some(Edge::new(graph.add(vertex)?, 0));
        }
        let solver = Solver::new(SolverConfig {
            stores: vec![super::store(Arc::clone(store), &self.id_map, Timestamp(1))],
            flight: Some(super::single_flight(Arc::clone(store))),
            ..SolverConfig::default()
        });
        solver.solve(&graph, &[last.expect("at least one step")], options)
    }

    /// The steps that ran since the last call.
    fn ran(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.runs).unwrap_or_default();
        let _ = std::fs::remove_file(&self.runs);
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_cache_outlives_its_process_and_costs_little() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::new(directory.path());
    let steps = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let first = bench.solve(&steps, &SolveOptions::default()).unwrap();
    assert_eq!(bench.ran(), steps);
    let store = Arc::new(Store::open(&bench.root).unwrap());
    let only = SolveOptions {
        mode: Mode::CacheOnly,
        ..SolveOptions::default()
    };
    let start = Instant::now();
    let second = bench.solve_in(&store, &steps, &only).unwrap();
    println!("10 cached steps: {:?}", start.elapsed());
    assert_eq!((bench.ran().len(), second[0].cached), (0, true));
    assert_eq!(layers_of(&second[0].result), layers_of(&first[0].result));
    // A step more, and one that is another.
    bench
        .solve(&["a", "b", "c", "x"], &SolveOptions::default())
        .unwrap();
    assert_eq!(bench.ran(), ["x"]);
    bench
        .solve(&["a", "y", "c", "x"], &SolveOptions::default())
        .unwrap();
    assert_eq!(bench.ran(), ["y", "c", "x"]);
}

#[test]
fn pruning_takes_results_and_the_next_build_makes_them_again() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::new(directory.path());
    let steps = ["a", "b"];
    bench.solve(&steps, &SolveOptions::default()).unwrap();
    bench.ran();
    // In use by a handle that lives: nothing goes.
    let store = Arc::new(Store::open(&bench.root).unwrap());
    let all = Prune::Unused {
        all: true,
        before: None,
    };
    let held = bench.solve_in(&store, &steps, &SolveOptions::default()).unwrap();
    store.collect(all).unwrap();
    for id in layers_of(&held[0].result) {
        assert!(store.layers().path(id).exists());
    }
    drop(store);
    let store = Arc::new(Store::open(&bench.root).unwrap());
    store.collect(all).unwrap();
    assert_eq!(std::fs::read_dir(store.snapshots_dir()).unwrap().count(), 0);
    bench.solve_in(&store, &steps, &SolveOptions::default()).unwrap();
    assert_eq!(bench.ran(), steps);
}

#[test]
fn a_record_without_its_layer_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::new(directory.path());
    let solved = bench.solve(&["a", "b"], &SolveOptions::default()).unwrap();
    bench.ran();
    let store = Arc::new(Store::open(&bench.root).unwrap());
    let top = *layers_of(&solved[0].result).last().unwrap();
    store
        .db()
        .with_write(|tx| Ok(tx.execute("DELETE FROM layers WHERE id = ?1", [top.to_string()])?))
        .unwrap();
    let again = bench
        .solve_in(&store, &["a", "b"], &SolveOptions::default())
        .unwrap();
    assert_eq!(bench.ran(), ["b"]);
    assert_ne!(layers_of(&again[0].result).last(), Some(&top));
    assert_eq!(
        store
            .db()
            .with_read(|tx| Ok(tx.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?))
            .ok(),
        Some(2)
    );
}

#[test]
fn layers_of_another_user_namespace_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(directory.path());
    bench.solve(&["a"], &SolveOptions::default()).unwrap();
    bench.ran();
    bench.id_map = "another".to_owned();
    bench.solve(&["a"], &SolveOptions::default()).unwrap();
    assert_eq!(bench.ran(), ["a"]);
    // The fixture's layers are always written under the first map; they are still there for it.
    bench.id_map = "test".to_owned();
    bench.solve(&["a"], &SolveOptions::default()).unwrap();
    assert_eq!(bench.ran().len(), 0);
}

#[test]
fn equal_builds_in_threads_run_a_step_once_and_others_beside() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench {
        delay: Duration::from_millis(500),
        ..Bench::new(directory.path())
    };
    Store::open(&bench.root).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for steps in [["a", "b"], ["a", "b"], ["c", "b"]] {
            let bench = &bench;
            // Each with a store of its own, as processes have.
            scope.spawn(move || bench.solve(&steps, &SolveOptions::default()).unwrap());
        }
    });
    let took = start.elapsed();
    let mut ran = bench.ran();
    ran.sort();
    assert_eq!(ran, ["a", "b", "b", "c"]);
    // One after the other, the four would take two seconds.
    assert!(took < Duration::from_millis(1900), "{took:?}");
}

#[test]
fn a_waiting_build_can_be_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&directory.path().join("store")).unwrap());
    let flight = super::single_flight(store);
    let key = Digest::sha256(b"key");
    let held = flight.try_acquire(&key).unwrap();
    assert!(held.is_some() && flight.try_acquire(&key).unwrap().is_none());
    let cancel = CancelToken::new();
    let waits = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            waits.store(1, Ordering::SeqCst);
            flight.acquire(&key, &cancel).unwrap().is_none()
        });
        while waits.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        cancel.cancel();
        assert!(waiter.join().unwrap());
    });
    drop(held);
    assert!(flight.acquire(&key, &CancelToken::new()).unwrap().is_some());
}

const STORE_FOR_CHILD: &str = "DISTIL_TEST_CACHE_DIRECTORY";

/// Not a test of its own: what the other process does in the test below.
#[test]
fn child_that_takes_long() {
    let Some(directory) = std::env::var_os(STORE_FOR_CHILD) else {
        return;
    };
    let bench = Bench {
        delay: Duration::from_secs(60),
        ..Bench::new(Path::new(&directory))
    };
    let _ = bench.solve(&["a"], &SolveOptions::default());
}

#[test]
fn a_waiter_takes_over_from_a_killed_process() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::new(directory.path());
    Store::open(&bench.root).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "cache::tests::child_that_takes_long",
            "--test-threads=1",
        ])
        .env(STORE_FOR_CHILD, directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !bench.runs.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let solved = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| bench.solve(&["a"], &SolveOptions::default()));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiter.is_finished());
        child.kill().unwrap();
        child.wait().unwrap();
        waiter.join().unwrap()
    });
    assert!(!solved.unwrap()[0].cached);
    assert_eq!(bench.ran(), ["a", "a"]);
}
