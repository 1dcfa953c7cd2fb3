//! `distil cp`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use distil_audit::printable_path;
use distil_export::{DirectoryOptions, ExportError, write_directory, write_tree};
use distil_layer::LinkGroups;
use distil_rootfs::{Dir, Entry, Node, Tree, TreeError, Xattrs};

use crate::error::{CliError, archive_error};
use crate::session::Session;
use crate::view::{OpenedImage, failed};

/// Arguments of `distil cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Image, and an absolute path in it; `/.` at the end means what is in the directory
    #[arg(value_name = "IMAGE:PATH")]
    pub(crate) source: ImagePath,
    /// Folder to copy into, name of the copy, or `-` for a tar on standard output
    #[arg(value_name = "DEST")]
    pub(crate) target: PathBuf,
    /// Keep owners, set-user-id bits and devices
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what a link leads to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
}

/// An image and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImagePath {
    image: String,
    path: PathBuf,
}

impl FromStr for ImagePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.find(":/") {
            Some(at) if at > 0 => Ok(Self {
                image: text[..at].to_owned(),
                path: PathBuf::from(&text[at + 1..]),
            }),
            _ => Err("write an image, a colon and an absolute path: `app:1.0:/etc/passwd`".to_owned()),
        }
    }
}

/// Copies a file or a directory out of an image. Files that are there are replaced, directories are filled; a
/// directory never replaces a file, nor a file a directory.
pub(crate) fn cp(session: &Session, args: &CpArgs) -> Result<(), CliError> {
    let image = session.open_view(&args.source.image)?;
    let asked = &args.source.path;
    let entry = image.entry(asked, args.follow_link)?;
    let whole = asked.as_os_str().as_encoded_bytes().ends_with(b"/.");
    if let Some(entry) = entry.filter(|entry| whole && !entry.node.kind.is_dir()) {
        let path = printable_path(&entry.path);
        return Err(CliError::failed(format!("`{path}` is not a directory")));
    }
    let real = entry.map_or_else(|| PathBuf::from("/"), |entry| entry.path.clone());
    // The root has no name that a copy of it could have.
    let contents = whole || entry.is_none();
    if args.target == Path::new("-") {
        return to_tar(&image, &real, contents);
    }
    let (folder, name) = destination(&real, contents, &args.target)?;
    let tree = Part::new(&image, &real, name.as_deref());
    check(&tree, &folder)?;
    let options = DirectoryOptions {
        keep_owners: args.archive,
        epoch: None,
    };
    let report = write_directory(&tree, &LinkGroups::default(), options, &folder).map_err(failed)?;
    for device in &report.skipped_devices {
        let path = printable_path(device);
        let _ = writeln!(
            std::io::stderr(),
            "WARNING: `{path}` is a device, which only --archive copies"
        );
    }
    Ok(())
}

fn to_tar(image: &OpenedImage, real: &Path, contents: bool) -> Result<(), CliError> {
    if std::io::stdout().is_terminal() {
        return Err(CliError::usage("an archive is not written to a terminal").hint("redirect it"));
    }
    let name = if contents { None } else { real.file_name() };
    let tree = Part::new(image, real, name);
    let mut out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    write_tree(&tree, &LinkGroups::default(), None, &mut out)
        .map_err(|error: ExportError| archive_error(&error))?;
    Ok(out.flush()?)
}

/// The folder that is written into, and the name of the copy there; none when the folder gets what is in the
/// source.
fn destination(real: &Path, contents: bool, target: &Path) -> Result<(PathBuf, Option<OsString>), CliError> {
    let shown = printable_path(target);
    if contents {
        if target.exists() && !target.is_dir() {
            return Err(CliError::failed(format!("`{shown}` is not a directory")));
        }
        return Ok((target.to_owned(), None));
    }
    // Only the root has no name, and it is copied by its contents.
    let name = real.file_name().unwrap_or_default().to_owned();
    if target.is_dir() {
        return Ok((target.to_owned(), Some(name)));
    }
    let is_folder = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    let parent = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(CliError::failed(format!("`{shown}` is no name for a copy"))),
    };
    match target.file_name() {
        Some(name) if parent.is_dir() && !is_folder => Ok((parent.to_owned(), Some(name.to_owned()))),
        _ => Err(CliError::failed(format!("`{shown}` is not there")).hint("make the folder first")),
    }
}

/// Refuses, before anything is written, a copy in which a file would replace a directory or the reverse.
fn check(tree: &Part, folder: &Path) -> Result<(), CliError> {
    let mut open = vec![(tree.root().map_err(failed)?, folder.to_owned())];
    while let Some((dir, target)) = open.pop() {
        for entry in dir.entries().map_err(failed)? {
            let path = target.join(&entry.name);
            let Ok(there) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            let shown = printable_path(&path);
            match (entry.node.kind.is_dir(), there.is_dir()) {
                (true, true) => open.push((dir.open_dir(&entry.name).map_err(failed)?, path)),
                (true, false) => {
                    return Err(
                        CliError::failed(format!("`{shown}` is there and not a directory"))
                            .hint("remove it, or name another place"),
                    );
                }
                (false, true) => {
                    return Err(CliError::failed(format!("`{shown}` is a directory"))
                        .hint("remove it, or name another place"));
                }
                (false, false) => {}
            }
        }
    }
    Ok(())
}

/// A part of an image as a tree of its own: a directory's contents, or one name under another name.
struct Part {
    image: distil_rootfs::MergedTree,
    folder: PathBuf,
    /// What of the folder is seen, and its name here; everything for none.
    only: Option<(OsString, OsString)>,
}

impl Part {
    /// What is at `real`, seen under `name`; without a name, what is in the directory `real`.
    fn new(image: &OpenedImage, real: &Path, name: Option<&OsStr>) -> Part {
        let only = real.file_name().zip(name);
        Part {
            image: image.tree().clone(),
            folder: match (only, real.parent()) {
                (Some(_), Some(parent)) => parent.to_owned(),
                _ => real.to_owned(),
            },
            only: only.map(|(from, to)| (from.to_owned(), to.to_owned())),
        }
    }
}

impl Tree for Part {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        let dir = self.image.open_dir(&self.folder)?;
        Ok(match &self.only {
            Some((from, to)) => Box::new(Renamed {
                dir,
                from: from.clone(),
                to: to.clone(),
            }),
            None => dir,
        })
    }
}

/// A directory of which one name is seen, as another.
struct Renamed {
    dir: Box<dyn Dir>,
    from: OsString,
    to: OsString,
}

impl Renamed {
    fn inner(&self, name: &OsStr) -> Result<&OsStr, TreeError> {
        if name == self.to {
            return Ok(&self.from);
        }
        let path = self.dir.path().join(name);
        Err(TreeError::NotFound { path })
    }
}

impl Dir for Renamed {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn node(&self) -> Node {
        self.dir.node()
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        let name = self.to.clone();
        let node = self.dir.lookup(&self.from)?;
        Ok(node.map(|node| Entry { name, node }).into_iter().collect())
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        self.dir.lookup(self.inner(name)?)
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        self.dir.open_dir(self.inner(name)?)
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        self.dir.open_file(self.inner(name)?)
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        self.dir.read_link(self.inner(name)?)
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        self.dir.xattrs(self.inner(name)?)
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        self.dir.own_xattrs()
    }
}
