//! Invariants over random graphs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use distil_solver::*;
use proptest::prelude::*;

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![3 => Just(Content::Ignored), 1 => Just(Content::Computed), 1 => Just(Content::Measured)]
}

/// A graph; inputs are drawn among the vertices before. A private vertex has no inputs, as with a local directory, and
/// is used by content alone.
fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let vertex = (
        any::<bool>(),
        prop::collection::vec((any::<prop::sample::Index>(), 0..2_u32, content()), 0..4),
    );
    prop::collection::vec(vertex, 1..14).prop_map(|vertices| {
        let mut specs: Vec<Spec> = Vec::new();
        for (at, (private, inputs)) in vertices.into_iter().enumerate() {
            let seed = 1000 + at as u64;
            if private && inputs.is_empty() {
                specs.push(Spec::context(seed));
                continue;
            }
            let mut spec = Spec::new(seed, &[]);
            for (input, output, content) in inputs.into_iter().filter(|_| at > 0) {
                let input = input.index(at);
                let content = if specs[input].private {
                    Content::Measured
                } else {
                    content
                };
                spec.inputs.push((input, output, content));
            }
            if at % 3 == 0 {
                spec.resource = Resource::Exec;
            }
            specs.push(spec);
        }
        specs
    })
}

fn reachable(specs: &[Spec], target: usize) -> Vec<bool> {
    let mut reached = vec![false; specs.len()];
    reached[target] = true;
    for at in (0..specs.len()).rev().filter(|&at| at <= target) {
        if reached[at] {
            specs[at]
                .inputs
                .iter()
                .for_each(|&(input, _, _)| reached[input] = true);
        }
    }
    reached
}

/// `start` and everything that uses it.
fn cone(specs: &[Spec], start: usize) -> Vec<bool> {
    let mut within = vec![false; specs.len()];
    within[start] = true;
    for at in start + 1..specs.len() {
        within[at] = specs[at].inputs.iter().any(|&(input, _, _)| within[input]);
    }
    within
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn cold_then_cached_then_changed(specs in specs(), pick in any::<prop::sample::Index>()) {
        let store = Arc::new(MemoryStore::new());
        let target = specs.len() - 1;
        let wanted = reachable(&specs, target);
        let options = SolveOptions::default();

        let cold = solve(&solver(&store), &specs, &[target], &options);
        prop_assert_eq!(cold.values(), vec![reference(&specs)[target][0]]);
        prop_assert_eq!(&cold.runs, &wanted.iter().map(|&wanted| u32::from(wanted)).collect::<Vec<_>>());
        prop_assert!(cold.most <= 2 + 4 + specs.len());

        let again = solve(&solver(&store), &specs, &[target], &options);
        prop_assert_eq!(again.values(), cold.values());
        let ran_again: Vec<_> = again.ran().into_iter().filter(|&at| !specs[at].private).collect();
        prop_assert_eq!(ran_again, Vec::<usize>::new());
        let only = SolveOptions { mode: Mode::CacheOnly, ..SolveOptions::default() };
        prop_assert_eq!(solve(&solver(&store), &specs, &[target], &only).values(), cold.values());

        let changed = pick.index(specs.len());
        let mut specs = specs;
        specs[changed].seed += 100;
        let within = cone(&specs, changed);
        let third = solve(&solver(&store), &specs, &[target], &options);
        prop_assert_eq!(third.values(), vec![reference(&specs)[target][0]]);
        for at in third.ran() {
            prop_assert!(third.runs[at] == 1 && wanted[at]);
            prop_assert!(within[at] || specs[at].private, "vertex {} ran without need", at);
        }
    }

    #[test]
    fn ignoring_the_cache_runs_a_vertex_again(specs in specs(), pick in any::<prop::sample::Index>()) {
        let store = Arc::new(MemoryStore::new());
        let target = specs.len() - 1;
        let first = solve(&solver(&store), &specs, &[target], &SolveOptions::default());
        let anew = pick.index(specs.len());
        let mut specs = specs;
        specs[anew].ignore_cache = true;
        let second = solve(&solver(&store), &specs, &[target], &SolveOptions::default());
        prop_assert_eq!(second.values(), first.values());
        let within = cone(&specs, anew);
        for at in second.ran() {
            prop_assert!(within[at] || specs[at].private);
        }
        if target == anew {
            prop_assert_eq!(second.runs[anew], 1);
        }
        // It was recorded all the same.
        specs[anew].ignore_cache = false;
        let third = solve(&solver(&store), &specs, &[target], &SolveOptions::default());
        prop_assert!(third.ran().into_iter().all(|at| specs[at].private));
    }

    #[test]
    fn lost_results_are_made_again(specs in specs()) {
        let store = Arc::new(MemoryStore::new());
        let target = specs.len() - 1;
        let first = solve(&solver(&store), &specs, &[target], &SolveOptions::default());
        store.forget_results();
        let second = solve(&solver(&store), &specs, &[target], &SolveOptions::default());
        prop_assert_eq!(second.values(), first.values());
        prop_assert_eq!(second.runs, first.runs);
        let third = solve(&solver(&store), &specs, &[target], &SolveOptions::default());
        prop_assert!(third.ran().into_iter().all(|at| specs[at].private));
    }

    #[test]
    fn several_builds_at_once_run_each_vertex_once(specs in specs(), targets in prop::collection::vec(any::<prop::sample::Index>(), 2..5)) {
        let store = Arc::new(MemoryStore::new());
        let one = solver(&store);
        let counters = Counters::new(specs.len());
        let (graph, indices) = graph(&specs, &counters);
        let values = reference(&specs);
        std::thread::scope(|scope| {
            for target in &targets {
                let (one, graph, values, target) = (&one, &graph, &values, target.index(specs.len()));
                let edge = Edge::new(indices[target], 1);
                scope.spawn(move || {
                    let solved = one.solve(graph, &[edge], &SolveOptions::default()).unwrap();
                    assert_eq!(number(&solved[0].result), values[target][1]);
                });
            }
        });
        for (at, runs) in counters.counts().into_iter().enumerate() {
            prop_assert!(runs <= 1 || specs[at].private, "vertex {} ran {} times", at, runs);
        }
    }

    #[test]
    fn solvers_that_share_a_cache_run_each_vertex_once(specs in specs()) {
        let store = Arc::new(MemoryStore::new());
        let flight = Arc::new(LocalFlight::default());
        let target = specs.len() - 1;
        let counters = Counters::new(specs.len());
        let (graph, indices) = graph(&specs, &counters);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let config = SolverConfig {
                    stores: vec![Arc::clone(&store) as Arc<dyn CacheStore>],
                    flight: Some(Arc::clone(&flight) as Arc<dyn SingleFlight>),
                    exec_slots: 2,
                    cpu_slots: 2,
                };
                let (graph, edge) = (&graph, Edge::new(indices[target], 0));
                scope.spawn(move || Solver::new(config).solve(graph, &[edge], &SolveOptions::default()).unwrap());
            }
        });
        let shared = |at: usize| {
            // What is measured while it runs cannot be known to be equal before.
            let measured = |&(input, _, content): &(usize, u32, Content)| specs[input].private && content == Content::Measured;
            !specs[at].private && !specs[at].inputs.iter().any(measured)
        };
        for (at, runs) in counters.counts().into_iter().enumerate() {
            prop_assert!(runs <= 1 || !shared(at), "vertex {} ran {} times", at, runs);
        }
    }

    #[test]
    fn cancelling_ends_a_build_soon(specs in specs(), after in 0..8_u64) {
        let mut specs = specs;
        for spec in &mut specs {
            spec.delay = Duration::from_millis(2);
        }
        specs.push(Spec { delay: Duration::from_secs(60), ..Spec::new(1, &[(specs.len() - 1, Content::Ignored)]) });
        let options = SolveOptions::default();
        let cancel = options.cancel.clone();
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            cancel.cancel();
        });
        let run = solve(&solver(&Arc::new(MemoryStore::new())), &specs, &[specs.len() - 1], &options);
        thread.join().unwrap();
        prop_assert!(matches!(run.answer, Err(SolveError::Cancelled)));
        prop_assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn cancelling_one_build_leaves_the_others_alone(
        specs in specs(),
        builds in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(0..6_u64)), 2..6),
    ) {
        let mut specs = specs;
        for spec in &mut specs {
            spec.delay = Duration::from_millis(spec.seed % 3);
        }
        let values = reference(&specs);
        let one = solver(&Arc::new(MemoryStore::new()));
        std::thread::scope(|scope| {
            for (target, cancelled) in builds {
                let target = target.index(specs.len());
                let (specs, one, expected) = (&specs, &one, values[target][0]);
                scope.spawn(move || {
                    let options = SolveOptions::default();
                    let cancel = options.cancel.clone();
                    let canceller = cancelled.map(|after| std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(after));
                        cancel.cancel();
                    }));
                    match solve(one, specs, &[target], &options).answer {
                        Ok(solved) => assert_eq!(number(&solved[0].result), expected),
                        Err(error) => assert!(matches!(error, SolveError::Cancelled) && cancelled.is_some(), "{error}"),
                    }
                    if let Some(thread) = canceller {
                        thread.join().unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_failure_is_told_and_ends_only_what_needs_it(specs in specs(), bad in any::<prop::sample::Index>()) {
        let mut specs = specs;
        let bad = bad.index(specs.len());
        specs[bad].fails = true;
        let target = specs.len() - 1;
        let run = solve(&solver(&Arc::new(MemoryStore::new())), &specs, &[target], &SolveOptions::default());
        if reachable(&specs, target)[bad] {
            let name = format!("vertex {bad}");
            let failed = matches!(&run.answer, Err(SolveError::Vertex { name: at, .. }) if *at == name);
            prop_assert!(failed, "{:?}", run.answer);
            let within = cone(&specs, bad);
            prop_assert!(run.ran().into_iter().all(|at| at == bad || !within[at]));
        } else {
            prop_assert_eq!(run.values(), vec![reference(&specs)[target][0]]);
        }
    }

    #[test]
    fn every_vertex_is_settled_in_the_end(specs in specs(), changed in any::<prop::sample::Index>()) {
        let store = Arc::new(MemoryStore::new());
        let target = specs.len() - 1;
        let mut specs = specs;
        for round in 0..3 {
            if round == 2 {
                let changed = changed.index(specs.len());
                specs[changed].seed += 100;
            }
            let (recorder, options) = Recorder::options();
            solve(&solver(&store), &specs, &[target], &options).answer.unwrap();
            let events = recorder.take();
            let announced = reachable(&specs, target).into_iter().filter(|&wanted| wanted).count();
            prop_assert!(events[..announced].iter().all(|line| line.starts_with("announced")));
            let settled = |line: &&String| line.starts_with("cached") || line.starts_with("completed");
            let mut told: Vec<_> = events.iter().filter(settled).map(|line| line.split(' ').nth(1).unwrap()).collect();
            told.sort_unstable();
            prop_assert_eq!(told.len(), announced, "{:?}", &events);
            told.dedup();
            prop_assert_eq!(told.len(), announced, "{:?}", &events);
        }
    }
}
