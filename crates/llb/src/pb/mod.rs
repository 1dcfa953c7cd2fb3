//! The wire messages of LLB: BuildKit's field numbers and names.
//!
//! Messages are plain data; what they mean is said where ops are built
//! ([`crate::Graph`]) and run. Maps are ordered, so encoding is deterministic.
#![expect(
    missing_docs,
    reason = "fields carry the names and the meaning of BuildKit's ops.proto"
)]

mod closure;
mod exec;
mod file;

use std::collections::BTreeMap;

use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message, Oneof};

pub use closure::*;
pub use exec::*;
pub use file::*;

/// One vertex of the graph. Its identity is the sha256 of its encoded bytes.
///
/// Encoded by hand: the reference encoder writes the one-of after all other
/// fields, whatever their numbers, and the order is part of the digest.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Op {
    pub inputs: Vec<Input>,
    pub op: Option<op::Kind>,
    pub platform: Option<Platform>,
    pub constraints: Option<WorkerConstraints>,
}

pub mod op {
    //! The kinds of [`super::Op`].
    use super::*;

    /// What an op does.
    #[expect(
        clippy::large_enum_variant,
        reason = "most ops are execs and copies, decoded once"
    )]
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        #[prost(message, tag = "2")]
        Exec(ExecOp),
        #[prost(message, tag = "3")]
        Source(SourceOp),
        #[prost(message, tag = "4")]
        File(FileOp),
        #[prost(message, tag = "5")]
        Build(BuildOp),
        #[prost(message, tag = "6")]
        Merge(MergeOp),
        #[prost(message, tag = "7")]
        Diff(DiffOp),
        #[prost(message, tag = "8")]
        Passthrough(PassthroughOp),
        /// distil's own.
        #[prost(message, tag = "1000")]
        Closure(ClosureOp),
    }
}

impl Message for Op {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for input in &self.inputs {
            encoding::message::encode(1, input, buf);
        }
        if let Some(platform) = &self.platform {
            encoding::message::encode(10, platform, buf);
        }
        if let Some(constraints) = &self.constraints {
            encoding::message::encode(11, constraints, buf);
        }
        if let Some(kind) = &self.op {
            kind.encode(buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::message::merge_repeated(wire_type, &mut self.inputs, buf, ctx),
            2..=8 | 1000 => op::Kind::merge(&mut self.op, tag, wire_type, buf, ctx),
            10 => encoding::message::merge(
                wire_type,
                self.platform.get_or_insert_with(Platform::default),
                buf,
                ctx,
            ),
            11 => encoding::message::merge(
                wire_type,
                self.constraints.get_or_insert_with(WorkerConstraints::default),
                buf,
                ctx,
            ),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        encoding::message::encoded_len_repeated(1, &self.inputs)
            + self
                .platform
                .as_ref()
                .map_or(0, |p| encoding::message::encoded_len(10, p))
            + self
                .constraints
                .as_ref()
                .map_or(0, |c| encoding::message::encoded_len(11, c))
            + self.op.as_ref().map_or(0, op::Kind::encoded_len)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// An edge from an op to an output of another.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Input {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub index: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Platform {
    #[prost(string, tag = "1")]
    pub architecture: String,
    #[prost(string, tag = "2")]
    pub os: String,
    #[prost(string, tag = "3")]
    pub variant: String,
    #[prost(string, tag = "4")]
    pub os_version: String,
    #[prost(string, repeated, tag = "5")]
    pub os_features: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WorkerConstraints {
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SourceOp {
    #[prost(string, tag = "1")]
    pub identifier: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub attrs: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BuildOp {
    #[prost(int64, tag = "1")]
    pub builder: i64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub inputs: BTreeMap<String, BuildInput>,
    #[prost(message, optional, boxed, tag = "3")]
    pub def: Option<Box<Definition>>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub attrs: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BuildInput {
    #[prost(int64, tag = "1")]
    pub input: i64,
}

/// What is known of an op beside its bytes; never part of its digest.
#[derive(Clone, PartialEq, Message)]
pub struct OpMetadata {
    #[prost(bool, tag = "1")]
    pub ignore_cache: bool,
    #[prost(btree_map = "string, string", tag = "2")]
    pub description: BTreeMap<String, String>,
    #[prost(message, optional, tag = "4")]
    pub export_cache: Option<ExportCache>,
    #[prost(btree_map = "string, bool", tag = "5")]
    pub caps: BTreeMap<String, bool>,
    #[prost(message, optional, tag = "6")]
    pub progress_group: Option<ProgressGroup>,
    #[prost(message, optional, tag = "7")]
    pub linux_resources: Option<LinuxResources>,
}

/// Maps op digests to places in source files.
#[derive(Clone, PartialEq, Message)]
pub struct Source {
    #[prost(btree_map = "string, message", tag = "1")]
    pub locations: BTreeMap<String, Locations>,
    #[prost(message, repeated, tag = "2")]
    pub infos: Vec<SourceInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Locations {
    #[prost(message, repeated, tag = "1")]
    pub locations: Vec<Location>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SourceInfo {
    #[prost(string, tag = "1")]
    pub filename: String,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    #[prost(message, optional, boxed, tag = "3")]
    pub definition: Option<Box<Definition>>,
    #[prost(string, tag = "4")]
    pub language: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(int32, tag = "1")]
    pub source_index: i32,
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<Range>,
}

/// Lines count from 1, characters from 0.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Range {
    #[prost(message, optional, tag = "1")]
    pub start: Option<Position>,
    #[prost(message, optional, tag = "2")]
    pub end: Option<Position>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Position {
    #[prost(int32, tag = "1")]
    pub line: i32,
    #[prost(int32, tag = "2")]
    pub character: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ExportCache {
    #[prost(bool, tag = "1")]
    pub value: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProgressGroup {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bool, tag = "3")]
    pub weak: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxResources {
    #[prost(int64, tag = "1")]
    pub memory: i64,
    #[prost(int64, tag = "2")]
    pub memory_swap: i64,
    #[prost(uint64, tag = "3")]
    pub cpu_shares: u64,
    #[prost(uint64, tag = "4")]
    pub cpu_period: u64,
    #[prost(int64, tag = "5")]
    pub cpu_quota: i64,
    #[prost(string, tag = "6")]
    pub cpuset_cpus: String,
    #[prost(string, tag = "7")]
    pub cpuset_mems: String,
}

/// The wire form of [`crate::Definition`].
#[derive(Clone, PartialEq, Message)]
pub struct Definition {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub def: Vec<Vec<u8>>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub metadata: BTreeMap<String, OpMetadata>,
    #[prost(message, optional, tag = "3")]
    pub source: Option<Source>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct MergeOp {
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<MergeInput>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct MergeInput {
    #[prost(int64, tag = "1")]
    pub input: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct DiffOp {
    #[prost(message, optional, tag = "1")]
    pub lower: Option<DiffInput>,
    #[prost(message, optional, tag = "2")]
    pub upper: Option<DiffInput>,
}

/// One side of a [`DiffOp`]; -1 is the empty filesystem.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct DiffInput {
    #[prost(int64, tag = "1")]
    pub input: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PassthroughOp {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(int64, repeated, tag = "2")]
    pub outputs: Vec<i64>,
}
