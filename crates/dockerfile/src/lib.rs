//! Parses Dockerfiles to a tree with spans and expands words, without I/O.
//!
//! [`parse`] turns text into a [`Dockerfile`] or into every error of the file at once. Words stay unexpanded;
//! [`expand`] evaluates them once the values are known.

pub mod ast;
pub mod csv;
mod diagnostic;
mod duration;
pub mod expand;
pub mod lint;
mod mount;
mod parse;
mod source;
mod span;
mod suggest;

pub use ast::{
    Add, ArgInstruction, ArgPair, Command, CommandLine, Copy, Device, Directives, Dockerfile, Escape, Flag,
    Healthcheck, HealthcheckCmd, Heredoc, InlineFile, Instruction, Network, Onbuild, Pair, Run, Security,
    Sources, Stage, Statement,
};
pub use diagnostic::Diagnostic;
pub use mount::{Mount, MountField, MountFlag, MountKind, Sharing};
pub use parse::{directives, parse, parse_trigger};
pub use source::{LineIndex, printable};
pub use span::{Span, Spanned, Word};
