//! Dockerfile to LLB.
//!
//! [`convert`] lowers a parsed Dockerfile to the graph that BuildKit's frontend
//! makes of it, byte for byte, and the image config beside it. It does no I/O:
//! base images come from an [`ImageResolver`], ignore files as patterns in
//! [`Options`]. A caller first asks [`check_frontend`], then parses, then converts;
//! the graph is `conversion.definition`, printed by `to_json_text` or `encode`.

mod convert;
mod git;
mod lower;
mod options;
mod outline;
mod paths;
mod resolver;
mod text;
mod values;

pub use convert::{Conversion, StageInfo, check, convert, outline};
pub use lower::check_frontend;
pub use options::{NoCache, Options, OptionsError};
pub use outline::{Outline, OutlineArg, OutlineMount};
pub use resolver::{ImageName, ImageRequest, ImageResolver, ResolveError, ResolveMode, ResolvedImage};
