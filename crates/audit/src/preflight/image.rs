//! The image under check: its tree, its config, what the build brought into it, and what was found so far.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_elf::{Stage, Trail};
use distil_oci::ImageConfig;
use distil_rootfs::users::{self, Identity, UserError};
use distil_rootfs::{DirTree, LayerManifest, MergedTree, Tree, TreeError};

use super::brought::Brought;
use super::libraries::Linkage;
use super::packages::Release;
use crate::{AuditError, Finding, ImageView, Instruction, Severity, instruction};

/// Where programs are looked for when the config does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories that a runtime fills.
const FILLED_LATER: [&str; 3] = ["/dev", "/proc", "/sys"];

const MAX_OS_RELEASE: usize = 64 << 10;

/// A directory of a layer.
#[derive(Debug, Clone)]
pub struct LayerDir {
    /// Index of the layer, 0 the lowest; a layer that adds to another one has two directories.
    pub layer: usize,
    /// Where it is.
    pub path: PathBuf,
    /// What is known of the regular files of the layer as a whole.
    pub files: Option<Arc<LayerManifest>>,
}

/// An image that is finished but for being written.
pub struct Subject<'a> {
    /// Its root file system.
    pub tree: &'a MergedTree,
    /// The directories of its layers, lowest first.
    pub dirs: Vec<LayerDir>,
    /// Its config.
    pub config: &'a ImageConfig,
    /// The instruction of each layer, lowest first, where it is known.
    pub instructions: Vec<Option<Instruction>>,
    /// How many of the lowest layers came with the base image.
    pub base_layers: usize,
}

impl<'a> Subject<'a> {
    /// An image that is being made. Instructions are those of the config's history.
    #[must_use]
    pub fn new(
        tree: &'a MergedTree,
        dirs: Vec<LayerDir>,
        config: &'a ImageConfig,
        base_layers: usize,
    ) -> Self {
        let layers = dirs.last().map_or(0, |dir| dir.layer + 1);
        Self {
            tree,
            dirs,
            config,
            instructions: instruction::of_layers(config, layers),
            base_layers,
        }
    }

    /// An image of the store, of which all layers count as the build's own.
    #[must_use]
    pub fn of_view(view: &'a ImageView) -> Self {
        Self::new(view.tree(), view.dirs(), view.config(), 0)
    }

    /// Opens a regular file, links followed.
    pub(super) fn tree_file(&self, path: &Path) -> Result<File, TreeError> {
        self.tree.open(path)
    }
}

pub(super) struct Image<'s, 't> {
    pub(super) stage: &'s Stage<'t>,
    pub(super) linkage: Linkage<'s, 't>,
    pub(super) subject: &'s Subject<'t>,
    pub(super) brought: Brought,
    pub(super) release: Option<Release>,
    /// Who the program runs as; `None` when that cannot be told.
    pub(super) identity: Option<Identity>,
    pub(super) findings: Vec<Finding>,
}

impl<'s, 't> Image<'s, 't> {
    pub(super) fn new(subject: &'s Subject<'t>, stage: &'s Stage<'t>) -> Result<Self, AuditError> {
        let os_release = stage.read(Path::new("/etc/os-release"), MAX_OS_RELEASE)?;
        let os_release = os_release.unwrap_or_default();
        let identity = match users::identity(subject.tree, &subject.config.config.user) {
            Err(UserError::Tree(error)) => return Err(error.into()),
            other => other.ok(),
        };
        Ok(Self {
            linkage: Linkage::new(stage, &subject.config.config.env)?,
            brought: Brought::of(subject, stage)?,
            release: Release::of_os_release(&String::from_utf8_lossy(&os_release)),
            identity,
            stage,
            subject,
            findings: Vec::new(),
        })
    }

    pub(super) fn config(&self) -> &'t ImageConfig {
        self.subject.config
    }

    /// A variable of the config; the last one of a name counts.
    pub(super) fn variable(&self, name: &str) -> Option<&'t str> {
        let mut entries = self.config().config.env.iter().rev();
        entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// The absolute directories of `PATH`.
    pub(super) fn search_path(&self) -> Vec<PathBuf> {
        let path = self.variable("PATH").unwrap_or(DEFAULT_PATH);
        let directories = path.split(':').filter(|directory| directory.starts_with('/'));
        directories.map(PathBuf::from).collect()
    }

    pub(super) fn working_directory(&self) -> PathBuf {
        Path::new("/").join(&self.config().config.working_dir)
    }

    /// A path that may be relative to WORKDIR, without needless dots.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        self.working_directory().join(path).components().collect()
    }

    /// Follows every link; a loop of them leads nowhere.
    pub(super) fn trail(&self, path: &Path) -> Result<Option<Trail>, TreeError> {
        match self.stage.trail(path) {
            Err(TreeError::TooManyLinks { .. }) => Ok(None),
            other => other.map(|trail| trail.node.is_some().then_some(trail)),
        }
    }

    /// The real path of a regular file.
    pub(super) fn file(&self, path: &Path) -> Result<Option<PathBuf>, TreeError> {
        let trail = self.trail(path)?;
        Ok(trail.filter(Trail::is_file).map(|trail| trail.real))
    }

    pub(super) fn is_dir(&self, path: &Path) -> Result<bool, TreeError> {
        let node = self.trail(path)?.and_then(|trail| trail.node);
        Ok(node.is_some_and(|node| node.kind.is_dir()))
    }

    /// A text file, or nothing where there is none.
    pub(super) fn text(&self, path: &Path, limit: usize) -> Result<Option<String>, TreeError> {
        if self.file(path)?.is_none() {
            return Ok(None);
        }
        let bytes = self.stage.read(path, limit)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether a path is only there once the container runs: a system directory or a declared volume.
    pub(super) fn is_filled_later(&self, path: &Path) -> bool {
        let volumes = self
            .config()
            .config
            .volumes
            .iter()
            .map(|volume| Cow::from(volume.as_str()));
        let system = FILLED_LATER.iter().map(|&directory| Cow::from(directory));
        let mut all = volumes.chain(system);
        all.any(|directory| directory != "/" && path.starts_with(directory.as_ref()))
    }

    /// The last instruction of the history that starts with `keyword`.
    pub(super) fn instruction(&self, keyword: &str) -> Option<Instruction> {
        let history = self.config().history.iter().rev();
        let mut parsed = history.map(|entry| Instruction::parse(&entry.created_by));
        parsed.find(|instruction| instruction.as_str().split_whitespace().next() == Some(keyword))
    }

    /// The topmost layer that has a path.
    fn layer_of(&self, path: &Path) -> Option<usize> {
        let layers = self.subject.tree.layers();
        let has = |layer: &PathBuf| {
            let node = DirTree::open(layer).ok()?.lookup(path).ok()?;
            (!node?.is_whiteout()).then_some(())
        };
        (0..layers.len()).rev().find(|at| has(&layers[*at]).is_some())
    }

    /// A finding about a file of the image, with its layer and instruction.
    pub(super) fn about_file(&self, id: &'static str, path: &Path, message: String) -> Finding {
        let mut finding = Finding::new(id, Severity::Error, message);
        finding.path = Some(path.to_owned());
        finding.layer = self.layer_of(path);
        let instruction = finding
            .layer
            .and_then(|layer| self.subject.instructions.get(layer));
        finding.instruction = instruction.cloned().flatten();
        finding
    }

    /// A finding about a part of the config, with the instruction that set it.
    pub(super) fn about_config(&self, id: &'static str, keyword: &str, message: String) -> Finding {
        let mut finding = Finding::new(id, Severity::Error, message);
        finding.instruction = self.instruction(keyword);
        finding
    }

    pub(super) fn report(&mut self, finding: Finding) {
        let is_known = |known: &Finding| known.id == finding.id && known.message == finding.message;
        if !self.findings.iter().any(is_known) {
            self.findings.push(finding);
        }
    }
}
