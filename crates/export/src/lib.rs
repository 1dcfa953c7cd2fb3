//! Images from layers, and images as archives and folders.
//!
//! * [`store_image`] turns layers and a frontend's config into an image in the store, [`make_image`] into one that is
//!   only written out.
//! * [`save_archive`] and [`save_directory`] write images out; [`load_archive`] and [`load_layout`] read them in.
//! * [`write_tree`] and [`write_directory`] write a merged root filesystem out, as a tar and as a folder.
//!
//! Everything that is written depends on the images alone, never on a clock or on the number of cores.

mod config;
mod error;
mod image;
mod install;
mod load;
mod plan;
mod save;
mod time;
mod tree_dir;
mod tree_tar;

/// Directories of an OCI layout, in the order in which an archive has them.
pub(crate) const LAYOUT_DIRECTORIES: [&str; 2] = ["blobs/", "blobs/sha256/"];

pub use config::LayerHistory;
pub use error::ExportError;
pub use image::SavedImage;
pub use install::LoadedImage;
pub use load::{load_archive, load_layout};
pub use plan::{ImagePlan, PlannedLayer, StoredImage, make_image, store_image};
pub use save::{ArchiveFormat, save_archive, save_directory};
pub use tree_dir::{DirectoryOptions, DirectoryReport, write_directory};
pub use tree_tar::{tree_links, write_tree};
