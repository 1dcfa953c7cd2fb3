//! An op of distil's own: `COPY --closure`.

use prost::Message;

use super::ChownOpt;

/// Copies files with everything that they need to run from `source` onto `base`. Each file keeps its path, below
/// `dest`. A builder that does not know the op refuses it by its capability, [`crate::caps::FILE_CLOSURE`].
#[derive(Clone, PartialEq, Message)]
pub struct ClosureOp {
    /// Index of the input that is copied onto; -1 is the empty filesystem.
    #[prost(int64, tag = "1")]
    pub base: i64,
    /// Index of the input that is copied from.
    #[prost(int64, tag = "2")]
    pub source: i64,
    /// Absolute paths or patterns in the source.
    #[prost(string, repeated, tag = "3")]
    pub paths: Vec<String>,
    /// Absolute path of a directory in the base.
    #[prost(string, tag = "4")]
    pub dest: String,
    /// New owner of the files that `paths` name.
    #[prost(message, optional, tag = "5")]
    pub owner: Option<ChownOpt>,
    /// New mode of the files that `paths` name; -1 leaves it.
    #[prost(int32, tag = "6")]
    pub mode: i32,
    /// As `mode`, in symbols; wins when it is not empty.
    #[prost(string, tag = "7")]
    pub mode_str: String,
    /// Patterns of paths that stay behind.
    #[prost(string, repeated, tag = "8")]
    pub exclude_patterns: Vec<String>,
}
