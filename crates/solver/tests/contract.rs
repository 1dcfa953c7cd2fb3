//! What the solver refuses: ops and graphs that break the rules.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::*;
use distil_solver::*;

const PLAIN: Content = Content::Ignored;

/// An op that breaks its contract in some way.
struct Broken(&'static str);

impl Op for Broken {
    fn cache_map(&self, _: &OpContext) -> Result<CacheMap, OpError> {
        match self.0 {
            "map panics" => panic!("no map today"),
            "no digest" => Ok(CacheMap {
                digests: vec![],
                inputs: vec![],
                private: false,
            }),
            "inputs" => {
                let input = InputMap {
                    selector: None,
                    content: PLAIN,
                };
                Ok(CacheMap {
                    digests: vec![digest("a")],
                    inputs: vec![input],
                    private: false,
                })
            }
            _ => Ok(CacheMap {
                digests: vec![digest("a")],
                inputs: vec![],
                private: false,
            }),
        }
    }

    fn maps_inline(&self) -> bool {
        true
    }

    fn resource(&self) -> Resource {
        Resource::Light
    }

    fn exec(&self, _: &OpContext, _: &[ResultHandle]) -> Result<Outputs, OpError> {
        match self.0 {
            "exec panics" => panic!("no luck today"),
            "cancels" => Err(OpError::Cancelled),
            "refuses" => Err(OpError::NeedsExecution),
            _ => Ok(Outputs::default()),
        }
    }
}

#[test]
fn broken_ops_fail_their_build() {
    let cases = [
        ("map panics", "`odd`: its operation panicked: `no map today`"),
        ("exec panics", "`odd`: its operation panicked: `no luck today`"),
        (
            "no digest",
            "`odd`: its operation gave a cache map with `0` digests for `0` inputs, expected at least `1` for `0`",
        ),
        (
            "inputs",
            "`odd`: its operation gave a cache map with `1` digests for `1` inputs, expected at least `1` for `0`",
        ),
        (
            "no output",
            "`odd`: its operation made no output `4294967295`, which is needed",
        ),
        ("cancels", "`odd`: it was cancelled"),
        ("refuses", "`odd`: it has to be executed"),
    ];
    for (case, message) in cases {
        let mut graph = Graph::new();
        let op = Arc::new(Broken(case));
        let vertex = Vertex {
            digest: digest(case),
            name: "odd".to_owned(),
            inputs: vec![],
            op,
            ignore_cache: false,
        };
        let index = graph.add(vertex).unwrap();
        let solver = Solver::new(SolverConfig::default());
        let error = solver
            .solve(&graph, &[Edge::new(index, u32::MAX)], &SolveOptions::default())
            .unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn graphs_with_holes_are_refused() {
    let (graph, indices) = graph(&pair(), &Counters::new(2));
    let mut small = Graph::new();
    let vertex = graph.get(indices[1]).unwrap().clone();
    let error = small.add(vertex).unwrap_err();
    assert_eq!(
        error,
        GraphError::UnknownInput {
            vertex: "vertex 1".to_owned(),
            index: 0
        }
    );
    let solver = Solver::new(SolverConfig::default());
    let error = solver
        .solve(&small, &[Edge::new(indices[1], 0)], &SolveOptions::default())
        .unwrap_err();
    assert_eq!(error.to_string(), "target vertex number `1` is not in the graph");
}

fn pair() -> [Spec; 2] {
    [Spec::new(1, &[]), Spec::new(2, &[(0, PLAIN)])]
}
