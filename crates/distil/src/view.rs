//! Images that are looked into: from the store, or from an archive or OCI layout that is read for it.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use distil_audit::{Entry, ImageView, Instruction, printable, printable_path, printable_text};
use distil_export::{load_archive, load_layout};
use distil_oci::Platform;
use distil_rootfs::{FileKind, Node};
use distil_snapshot::Snapshotter;
use distil_store::{ImageInfo, Store, StoreError};

use crate::error::{CliError, chain};
use crate::session::{Session, store_error};

/// Values of `--format` where there is no template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ViewFormat {
    /// Text for people.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
}

/// An image that can be looked into, and the store that holds its layers meanwhile.
pub(crate) struct OpenedImage {
    view: ImageView,
    /// The store that the layers are in.
    pub(crate) snapshots: Snapshotter,
    /// As the user named it.
    pub(crate) name: String,
    /// A store for this image alone lies in the scratch space of this one, and goes with it.
    _scratch: Option<Store>,
}

impl Deref for OpenedImage {
    type Target = ImageView;

    fn deref(&self) -> &ImageView {
        &self.view
    }
}

impl OpenedImage {
    /// What is at a path that the user wrote: links on the way are followed, the last one only with `follow`.
    /// The root has no entry, so it is `None`.
    ///
    /// # Errors
    /// When nothing is there. A layer that removed it is named.
    pub(crate) fn entry(&self, path: &Path, follow: bool) -> Result<Option<&Entry>, CliError> {
        match self.resolve(path, follow) {
            Some(real) if real == Path::new("/") => Ok(None),
            Some(real) => self.get(&real).map(Some).ok_or_else(|| self.missing(path)),
            None => Err(self.missing(path)),
        }
    }

    fn missing(&self, path: &Path) -> CliError {
        let (name, text) = (&self.name, printable_path(path));
        let whole = Path::new("/").join(path);
        let mut real = self.real_paths();
        let lost = real.of(&whole).and_then(|real| {
            let mut hidden = self.hidden().iter().rev();
            hidden.find(|hidden| hidden.removed && hidden.path == real)
        });
        if let Some(link) = self.get(&whole).and_then(|entry| entry.target.as_ref()) {
            let target = printable(link);
            return CliError::failed(format!(
                "`{text}` of image `{name}` is a link to `{target}`, which leads nowhere"
            ));
        }
        let error = CliError::failed(format!("image `{name}` has no `{text}`"));
        match lost {
            Some(lost) => error.hint(format!("{} removed it", self.layer_text(lost.by))),
            None => error,
        }
    }

    /// A layer with its instruction, for a message.
    pub(crate) fn layer_text(&self, layer: usize) -> String {
        let instruction = self
            .layers()
            .get(layer)
            .and_then(|layer| layer.instruction.as_ref());
        match instruction {
            Some(instruction) => format!("layer {layer} (`{}`)", one_line(instruction, 100)),
            None => format!("layer {layer}"),
        }
    }
}

impl Session {
    /// Opens an image by name or ID, or by the path of an archive or OCI layout. An ordinary user's process
    /// enters the user namespace for it.
    pub(crate) fn open_view(&self, name: &str) -> Result<OpenedImage, CliError> {
        self.need_owners()?;
        let store = self.store()?;
        let path = Path::new(name);
        match store.images().resolve(name) {
            Ok(image) => self.view(name, &store, &image, None),
            Err(StoreError::ImageMissing { .. }) if path.exists() => self.view_file(name, path, &store),
            Err(error @ StoreError::ImageMissing { .. }) => Err(store_error(error).hint(
                "`distil images` lists what the store has; an archive or OCI layout is named by its path",
            )),
            Err(error) => Err(store_error(error)),
        }
    }

    fn view(
        &self,
        name: &str,
        store: &Store,
        image: &ImageInfo,
        scratch: Option<Store>,
    ) -> Result<OpenedImage, CliError> {
        let snapshots = self.snapshots(store)?;
        let failed = |error| {
            let reason = printable_text(&chain(&error));
            CliError::failed(format!("image `{name}`: {reason}"))
        };
        Ok(OpenedImage {
            view: ImageView::open(&snapshots, image).map_err(failed)?,
            snapshots,
            name: name.to_owned(),
            _scratch: scratch,
        })
    }

    /// Reads an archive or layout into a store of its own, which goes with the image.
    fn view_file(&self, name: &str, path: &Path, store: &Store) -> Result<OpenedImage, CliError> {
        let root: PathBuf = store.temporary().map_err(store_error)?;
        let own = Store::open(&root).map_err(store_error)?;
        let (snapshots, platform, now) = (self.snapshots(&own)?, Platform::host(), self.now());
        let loaded = if path.is_dir() {
            load_layout(&snapshots, path, &platform, now)
        } else {
            let file = File::open(path).map_err(|error| {
                CliError::failed(format!("cannot open `{}`: {error}", printable_path(path)))
            })?;
            load_archive(&snapshots, file, &platform, now)
        };
        let loaded = loaded
            .map_err(|error| CliError::failed(format!("`{}`: {}", printable_path(path), chain(&error))))?;
        let image = match loaded.as_slice() {
            [] => {
                return Err(CliError::failed(format!(
                    "`{}` has no image",
                    printable_path(path)
                )));
            }
            [image] => own.images().get(&image.id).map_err(store_error)?,
            several => {
                let count = several.len();
                return Err(
                    CliError::failed(format!("`{}` has {count} images", printable_path(path)))
                        .hint("`distil load` reads them into the store, where each has its name"),
                );
            }
        };
        let image =
            image.ok_or_else(|| CliError::failed(format!("`{}` has no image", printable_path(path))))?;
        // An image that was built here is known in an archive too.
        distil_audit::origin::copy(store, &own, &image.id).map_err(store_error)?;
        self.view(name, &own, &image, Some(store.clone()))
    }
}

/// An error that may name files of an image, which can have any name.
pub(crate) fn failed<E: std::error::Error + 'static>(error: E) -> CliError {
    CliError::failed(printable_text(&chain(&error)))
}

/// An instruction in one line of at most `width` characters.
pub(crate) fn one_line(instruction: &Instruction, width: usize) -> String {
    let words: Vec<&str> = instruction.as_str().split_whitespace().collect();
    let text = printable_text(&words.join(" "));
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Type and permissions as `ls -l` writes them.
pub(crate) fn mode_text(node: &Node) -> String {
    let kind = match node.kind {
        FileKind::File => '-',
        FileKind::Dir => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
    };
    let mut text = String::from(kind);
    for (shift, special, with, without) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// The type of a file as a word.
pub(crate) fn kind_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Dir => "directory",
        FileKind::Symlink => "link",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
        FileKind::Fifo => "pipe",
        FileKind::Socket => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_ls() {
        let mut node = Node {
            kind: FileKind::File,
            mode: 0o4755,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: distil_rootfs::Timestamp::default(),
            rdev: 0,
            nlink: 1,
            dev: 0,
            ino: 0,
        };
        assert_eq!(mode_text(&node), "-rwsr-xr-x");
        (node.kind, node.mode) = (FileKind::Dir, 0o1777);
        assert_eq!(mode_text(&node), "drwxrwxrwt");
        (node.kind, node.mode) = (FileKind::Symlink, 0o2640);
        assert_eq!(mode_text(&node), "lrw-r-S---");
    }
}
