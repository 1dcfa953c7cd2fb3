//! The LLB operation graph and its exact wire bytes.
//!
//! [`Graph`] builds ops and gives a [`Definition`]: encoded ops whose identity is
//! the sha256 of their bytes, names and capabilities beside them, and a source
//! map. [`Definition::load`] is the way back, for engines.

pub mod caps;
mod deb;
mod definition;
mod digest;
mod graph;
mod json;
pub mod pb;
mod state;

pub use deb::{DEB_RESOLVE_MODE, DebSource, DebSourceError};
pub use definition::{Definition, DefinitionError, LoadedGraph, OpNode, OutputRef};
pub use digest::OpDigest;
pub use graph::{
    ClosureCopy, Constraints, Edge, Exec, FileAction, Graph, Mount, MountKind, Owner, OwnerId, Secret,
    SourceMap, SourceMapId, SshSocket,
};
pub use pb::OpMetadata;
pub use state::{EnvList, State};
