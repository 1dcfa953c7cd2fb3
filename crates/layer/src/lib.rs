//! Layers as tar streams, and as directories in overlayfs format.
//!
//! * [`settle`] makes a freshly written layer directory canonical: what is the same below is
//!   removed, so that the layer is a function of its directory alone.
//! * [`write_tar`] makes its tar, always the same bytes for the same directory; [`TarWriter`]
//!   makes it entry by entry, [`hash_told`] its diff ID while a copy writes the directory.
//! * [`unpack`] turns a tar of anyone into a layer directory, confined to it.
//! * [`compress`] and [`decompress`] are the compressed forms.

mod chunks;
mod complete;
mod compress;
mod copy;
mod error;
mod header;
mod links;
mod reader;
mod settle;
mod stream;
mod target;
mod tree;
mod unpack;
mod writer;

pub use complete::complete;
pub use compress::{Compression, compress, decompress};
pub use copy::copy_tree;
pub use error::LayerError;
pub use links::LinkGroups;
pub use settle::{Settled, settle, settle_copy};
pub use stream::hash_told;
pub use tree::{write_tar, write_tar_of, write_tree};
pub use unpack::{UnpackOptions, Unpacked, unpack};
pub use writer::{TarOptions, TarSummary, TarWriter};
