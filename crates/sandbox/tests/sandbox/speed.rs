//! Many at once, and how long one takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::Case;
use crate::fixture::{Root, run};

pub(crate) const CASES: &[Case] = &[("many_at_once", many_at_once), ("latency", latency)];

/// 200 sandboxes from 8 threads while others allocate: a fork in a process with threads would
/// hang on a lock of the allocator.
fn many_at_once() {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let stop = &stop;
        for seed in 0..4_usize {
            scope.spawn(move || {
                let mut size = seed;
                while !stop.load(Ordering::Relaxed) {
                    size = (size * 31 + 7) % 100_000;
                    std::hint::black_box(vec![1_u8; size]);
                }
            });
        }
        let runners: Vec<_> = (0..8)
            .map(|runner| {
                scope.spawn(move || {
                    for _ in 0..25 {
                        let root = Root::new();
                        assert_eq!(
                            run(&root.shell(&format!("echo {runner}"))).output(),
                            format!("{runner}\n")
                        );
                    }
                })
            })
            .collect();
        let results: Vec<_> = runners.into_iter().map(|runner| runner.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    println!("    200 sandboxes in {} ms", start.elapsed().as_millis());
}

fn latency() {
    let root = Root::new();
    for name in ["dev", "proc", "sys"] {
        std::fs::create_dir(root.path("lower").join(name)).unwrap();
    }
    let mut times: Vec<u128> = (0..60)
        .map(|_| {
            let start = Instant::now();
            run(&root.spec(&["/bin/true"])).output();
            start.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    println!("    trivial RUN: p50 {} us, p90 {} us", times[30], times[54]);
}
