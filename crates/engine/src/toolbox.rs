//! A shell and tools for images and failed steps that have none: another image, mounted beside the root file system of
//! a process. Nothing is written to either.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_base::recipe::{Accounts, Derived, ImageSpec, Layout, Resolve, RunSettings, Variant};
use distil_base::{DebianRelease, debian_architecture};
use distil_oci::{ImageConfig, Platform, Reference};
use distil_rootfs::{MergedTree, Tree};
use distil_sandbox::{DEFAULT_PATH, MountSource, ProcessMount, ProcessSpec};
use distil_snapshot::{ReadonlyMount, Snapshotter};
use distil_solver::{OpContext, OpError};
use distil_sources::{ImageRequest, PullPolicy};
use distil_store::LayerId;

use crate::Engine;
use crate::error::BuildError;
use crate::ops::OpEnvironment;
use crate::progress::ProgressSink;

/// Name of the toolbox that distil assembles: Debian's busybox-static, with a link for each of its commands.
pub const DEFAULT_TOOLBOX: &str = "distil/toolbox";
/// Where a toolbox is in the root of a process. Links of the assembled one name it, so that it is the same in its image.
const PLACE: &str = "/.distil-toolbox";
const PACKAGE: &str = "busybox-static";

/// A toolbox, held as long as this lives. Drop it when no process has it mounted any more.
#[derive(Debug)]
pub struct Toolbox {
    mount: ReadonlyMount,
    /// What of the image is mounted.
    subpath: PathBuf,
    /// Directories with its programs, as the process sees them.
    path: Vec<PathBuf>,
    /// Its shell, as the process sees it.
    shell: PathBuf,
}

/// A RUN that failed, and the shell that can be opened in what it left behind.
#[derive(Debug)]
pub struct FailedStep<'a> {
    /// As progress shows it.
    pub name: &'a str,
    /// Why it failed.
    pub reason: String,
    /// Why there are no tools beside those of the root file system, when there are none.
    pub without_tools: Option<String>,
    /// The shell: the step's root, mounts, variables, directory and user.
    pub shell: ProcessSpec,
}

/// Opens a shell where a step has failed. Called in the thread of the step while its file systems are still there; other
/// steps go on meanwhile, and may fail too.
pub trait FailureShell: Send + Sync + std::fmt::Debug {
    /// The image with the tools.
    fn toolbox(&self) -> &Reference;
    /// Runs the shell to its end.
    fn open(&self, step: &FailedStep<'_>);
}

impl Engine {
    /// The toolbox of this name, fetched or assembled where the store lacks it.
    ///
    /// # Errors
    /// When nobody has the image, or it has no shell.
    pub fn toolbox(&self, reference: &Reference, sink: Arc<dyn ProgressSink>) -> Result<Toolbox, BuildError> {
        let request = request(reference);
        let (layers, config) = self.image(&request, sink)?;
        Toolbox::open(&self.snapshotter, reference, &layers, &config)
    }
}

fn request(reference: &Reference) -> ImageRequest {
    ImageRequest {
        reference: reference.clone(),
        platform: Platform::host(),
        layout: None,
    }
}

impl Toolbox {
    /// Mounts nothing yet.
    ///
    /// # Errors
    /// When the image has no shell in its search path, or a layer is missing.
    pub fn open(
        snapshotter: &Snapshotter,
        reference: &Reference,
        layers: &[LayerId],
        config: &ImageConfig,
    ) -> Result<Self, BuildError> {
        let tree = snapshotter.tree(layers)?;
        let problem = |problem: String| BuildError::Toolbox {
            name: reference.familiar(),
            problem,
        };
        let unreadable = |error: distil_rootfs::TreeError| problem(error.to_string());
        let is_ours = is_directory(&tree, Path::new(PLACE)).map_err(unreadable)?;
        let subpath = PathBuf::from(if is_ours { PLACE } else { "/" });
        let variable = config
            .config
            .env
            .iter()
            .find_map(|pair| pair.strip_prefix("PATH="));
        let listed = match is_ours {
            true => PLACE,
            false => variable.unwrap_or(DEFAULT_PATH),
        };
        let (mut path, mut shell) = (Vec::new(), None);
        for directory in listed.split(':').map(Path::new).filter(|path| path.is_absolute()) {
            if !is_directory(&tree, directory).map_err(unreadable)? {
                continue;
            }
            let seen = match directory.strip_prefix(&subpath) {
                Ok(rest) if rest.as_os_str().is_empty() => PathBuf::from(PLACE),
                Ok(rest) => Path::new(PLACE).join(rest),
                Err(_) => continue,
            };
            let program = tree.lookup(&directory.join("sh")).map_err(unreadable)?;
            shell = shell.or_else(|| program.map(|_| seen.join("sh")));
            path.push(seen);
        }
        let shell = shell.ok_or_else(|| problem(format!("it has no `sh` in `{listed}`")))?;
        Ok(Self {
            mount: snapshotter.mount_readonly(layers)?,
            subpath,
            path,
            shell,
        })
    }

    /// Its shell, as a process to which it was attached sees it.
    #[must_use]
    pub fn shell(&self) -> &Path {
        &self.shell
    }

    /// Shows it in the root of a process, with its programs last in the search path.
    pub fn attach(&self, spec: &mut ProcessSpec) {
        spec.mounts.push(ProcessMount {
            target: PathBuf::from(PLACE),
            source: MountSource::Tree {
                mount: self.mount.mount().clone(),
                subpath: self.subpath.clone(),
                readonly: true,
            },
        });
        let own = |pair: &&mut OsString| pair.as_bytes().starts_with(b"PATH=");
        if !spec.env.iter_mut().any(|pair| own(&pair)) {
            spec.env.push(format!("PATH={DEFAULT_PATH}").into());
        }
        for pair in spec.env.iter_mut().filter(own) {
            for directory in &self.path {
                pair.push(":");
                pair.push(directory);
            }
        }
    }
}

fn is_directory(tree: &MergedTree, path: &Path) -> Result<bool, distil_rootfs::TreeError> {
    let real = tree.resolve(path)?;
    Ok(tree.lookup(&real)?.is_some_and(|node| node.kind.is_dir()))
}

/// Offers a shell for a process that has failed, with everything that it had. `spec` describes it.
pub(crate) fn after_failure(
    environment: &OpEnvironment,
    ctx: &OpContext,
    spec: &ProcessSpec,
    error: &OpError,
) {
    let Some(shell) = &environment.failure_shell else {
        return;
    };
    if matches!(error, OpError::Cancelled) || ctx.cancel().is_cancelled() {
        return;
    }
    let toolbox = fetch(environment, ctx, shell.toolbox());
    let mut spec = spec.clone();
    let without_tools = match &toolbox {
        Ok(toolbox) => {
            spec.args = vec![toolbox.shell().as_os_str().to_owned()];
            toolbox.attach(&mut spec);
            None
        }
        Err(error) => {
            spec.args = vec![OsStr::new("/bin/sh").to_owned()];
            Some(error.to_string())
        }
    };
    // Process 1 of a namespace would ignore Ctrl-C.
    spec.init = true;
    shell.open(&FailedStep {
        name: ctx.name(),
        reason: error.to_string(),
        without_tools,
        shell: spec,
    });
}

fn fetch(environment: &OpEnvironment, ctx: &OpContext, reference: &Reference) -> Result<Toolbox, BuildError> {
    let report = |transfer: distil_sources::Transfer| {
        ctx.status(distil_solver::Status {
            id: transfer.name,
            current: transfer.current,
            total: transfer.total,
            done: transfer.done,
        });
    };
    let request = request(reference);
    let image = environment
        .images
        .resolve(&request, PullPolicy::Missing, false, &report)?;
    let layers = environment.images.layers(&request, false, &report)?;
    Toolbox::open(&environment.snapshotter, reference, &layers, &image.config)
}

/// Whether a name is that of the assembled toolbox.
pub(crate) fn is_default(reference: &Reference) -> bool {
    let latest = reference.tag().is_none_or(|tag| tag == "latest");
    let name = (reference.domain(), reference.repository());
    latest && reference.digest().is_none() && name == ("docker.io", DEFAULT_TOOLBOX)
}

/// What the assembled toolbox is made of; none for an architecture that Debian's packages are not read for.
pub(crate) fn spec(platform: &Platform) -> Option<ImageSpec> {
    let path = ("PATH".to_owned(), PLACE.to_owned());
    Some(ImageSpec {
        name: DEFAULT_TOOLBOX.to_owned(),
        recipes: Vec::new(),
        release: DebianRelease::Trixie,
        architecture: debian_architecture(platform)?.to_owned(),
        variant: Variant::default(),
        debian_suites: true,
        sources: Vec::new(),
        packages: Vec::new(),
        resolve: Resolve::Listed,
        derived: vec![Derived::Busybox {
            package: PACKAGE.to_owned(),
            directory: PLACE.to_owned(),
        }],
        inputs: Vec::new(),
        accounts: Accounts::default(),
        files: Vec::new(),
        directories: Vec::new(),
        symlinks: Vec::new(),
        excludes: Vec::new(),
        run: RunSettings {
            environment: vec![path],
            entrypoint: vec![format!("{PLACE}/sh")],
            ..RunSettings::default()
        },
        notes: Vec::new(),
        differs: None,
        merged_usr: true,
        layout: Layout::Merged,
    })
}
