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
