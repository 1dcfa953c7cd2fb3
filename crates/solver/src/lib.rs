//! Schedules a generic graph and matches cache keys.
//!
//! The caller builds a [`Graph`] of [`Vertex`]es, each with an [`Op`], and asks a [`Solver`] for some of its outputs.
//! The solver knows neither what an op does nor what a result is: results are opaque [`ResultHandle`]s, caches are
//! [`CacheStore`]s, other processes are kept apart by a [`SingleFlight`], and everything worth drawing goes to a
//! [`ProgressSink`].
//!
//! # How a vertex is solved
//! 1. Its [`CacheMap`] gives the digest of what it does. With the keys of its inputs that makes its *definition key*;
//!    a record found under it is loaded, and nothing below the vertex is made real.
//! 2. Otherwise, when a look-up shows that content can still decide, the inputs concerned are made real and their
//!    *content keys* are looked up.
//! 3. Otherwise the inputs are made real and the op runs; what it made is saved under every key known by then.
//!
//! ```
//! use std::sync::Arc;
//! use distil_oci::Digest;
//! use distil_solver::*;
//!
//! struct Constant(u32);
//!
//! impl Op for Constant {
//!     fn cache_map(&self, _: &OpContext) -> Result<CacheMap, OpError> {
//!         let digests = vec![Digest::sha256(&self.0.to_le_bytes())];
//!         Ok(CacheMap { digests, inputs: Vec::new(), private: false })
//!     }
//!
//!     fn resource(&self) -> Resource {
//!         Resource::Cpu
//!     }
//!
//!     fn exec(&self, _: &OpContext, _: &[ResultHandle]) -> Result<Outputs, OpError> {
//!         Ok(Outputs { results: vec![Some(ResultHandle::new(self.0))], content: Vec::new() })
//!     }
//! }
//!
//! let mut graph = Graph::new();
//! let seven = graph.add(Vertex {
//!     digest: Digest::sha256(b"vertex 7"),
//!     name: "seven".to_owned(),
//!     inputs: Vec::new(),
//!     op: Arc::new(Constant(7)),
//!     ignore_cache: false,
//! })?;
//! let solver = Solver::new(SolverConfig { stores: vec![Arc::new(MemoryStore::new())], ..SolverConfig::default() });
//! for cached in [false, true] {
//!     let solved = solver.solve(&graph, &[Edge::new(seven, 0)], &SolveOptions::default())?;
//!     assert_eq!(solved[0].result.downcast_ref(), Some(&7_u32));
//!     assert_eq!(solved[0].cached, cached);
//! }
//! # Ok::<(), SolveError>(())
//! ```
//!
//! Keys, links and record digests are those of BuildKit's cache format, see [`CacheKey`] and [`export_records`].

mod cancel;
mod error;
mod export;
mod flight;
mod graph;
mod key;
mod memory;
mod op;
mod pool;
mod progress;
mod save;
mod scheduler;
mod solver;
mod store;

pub use cancel::{CancelRegistration, CancelToken};
pub use error::{GraphError, SolveError, StoreError};
pub use export::{ExportLink, ExportRecord, export_records};
pub use flight::{FlightGuard, SingleFlight};
pub use graph::{Edge, Graph, Vertex, VertexIndex};
pub use key::{CacheKey, KeyInput, KeyLink, content_record, output_record};
pub use memory::MemoryStore;
pub use op::{CacheMap, Content, InputMap, Op, OpContext, OpError, Outputs, Resource, ResultHandle};
pub use progress::{Event, NoProgress, ProgressSink, Status, Stream, VertexInfo};
pub use save::{KeyWriter, Link, save_entry};
pub use solver::{Mode, SolveOptions, Solved, Solver, SolverConfig};
pub use store::{CacheStore, NodeId, QueryKey, Record, SaveEntry, Source};
