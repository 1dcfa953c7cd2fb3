//! What the commands about lockfiles share: recipes again, packages chosen, the lockfile written.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use distil_base::lock::{Lockfile, Locking, Output};
use distil_base::recipe::{ImageSpec, Layout};
use distil_base::selection::{Selection, select};
use distil_debian::{AcceptedRelease, Archive};
use distil_engine::{BaseRequest, Engine};
use distil_oci::{ImageConfig, Platform};
use distil_solver::CancelToken;
use distil_sources::{ImageError, Transfer};

use super::lock::KeptArgs;
use super::progress::{Progress, ProgressArgs};
use super::target::{self, ChoiceArgs};
use crate::commands::build::BasesArgs;
use crate::error::{CliError, chain};
use crate::session::Session;

/// Where packages are read from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ArchiveArgs {
    /// Debian archive to read packages from
    #[arg(long, env = "DISTIL_MIRROR", value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// Archive of old packages, in the layout of snapshot.debian.org, for those that the mirror has dropped
    #[arg(long, env = "DISTIL_SNAPSHOT_MIRROR", value_name = "URL")]
    pub(crate) snapshot_mirror: Option<String>,
}

impl ArchiveArgs {
    /// The snapshot mirror of the arguments or of the config file.
    pub(crate) fn snapshot<'a>(&'a self, session: &'a Session) -> Option<&'a str> {
        let configured = session.config.snapshot_mirror.as_deref();
        self.snapshot_mirror.as_deref().or(configured)
    }

    pub(crate) fn bases(&self) -> BasesArgs {
        BasesArgs {
            mirror: self.mirror.clone(),
            ..BasesArgs::default()
        }
    }
}

/// An image to lock.
pub(crate) struct Wanted {
    /// What the lockfile calls its recipe.
    pub(crate) recipe: String,
    pub(crate) spec: ImageSpec,
    pub(crate) platform: Platform,
}

impl Wanted {
    pub(crate) fn resolve(target: &str, recipe: String, choice: &ChoiceArgs) -> Result<Self, CliError> {
        let found = target::resolve(target, choice)?;
        Ok(Self {
            recipe,
            spec: found.spec,
            platform: found.platform,
        })
    }
}

/// The lockfile of a single recipe: beside its file, else here under its name.
pub(crate) fn default_path(target: &str) -> PathBuf {
    if target::is_file(target) {
        return Path::new(target).with_extension("lock");
    }
    let name = target.rsplit('/').next().unwrap_or(target);
    PathBuf::from(format!("{}.lock", name.replace(':', "-")))
}

/// How a lockfile calls a recipe: a name as it is, a file by its path from the folder of the lockfile.
pub(crate) fn recipe_name(target: &str, lockfile: &Path) -> Result<String, CliError> {
    if !target::is_file(target) {
        return Ok(target.to_owned());
    }
    let whole = |path: &Path| {
        std::fs::canonicalize(path)
            .map_err(|error| CliError::failed(format!("cannot read `{}`: {error}", path.display())))
    };
    let (from, to) = (whole(folder(lockfile))?, whole(Path::new(target))?);
    let relative = relative(&from, &to);
    let text = relative.to_str().ok_or_else(|| {
        CliError::failed(format!(
            "`{}` is not UTF-8; a lockfile cannot name it",
            relative.display()
        ))
    })?;
    // What is no path at first sight is told from a name by a dot.
    Ok(if target::is_file(text) {
        text.to_owned()
    } else {
        format!("./{text}")
    })
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The way from one absolute folder to a file.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (from.components().collect(), to.components().collect());
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[same..].iter().map(|_| Component::ParentDir);
    up.chain(to[same..].iter().copied()).collect()
}

/// Reads a lockfile.
pub(crate) fn load(path: &Path) -> Result<Lockfile, CliError> {
    Lockfile::load(path).map_err(|error| CliError::failed(chain(&error)))
}

/// The recipes of a lockfile as they are now.
pub(crate) fn wanted_again(lockfile: &Lockfile, path: &Path) -> Result<Vec<Wanted>, CliError> {
    let images = lockfile.images.iter().map(|image| {
        let target = if target::is_file(&image.recipe) {
            folder(path).join(&image.recipe).to_string_lossy().into_owned()
        } else {
            image.recipe.clone()
        };
        let choice = ChoiceArgs {
            platform: vec![format!("linux/{}", image.architecture)],
            release: Some(image.release.codename().to_owned()),
            variant: Some(image.variant.tag()),
            layers: (image.layout == Layout::PerPackage).then(|| "per-package".to_owned()),
        };
        Wanted::resolve(&target, image.recipe.clone(), &choice)
    });
    images.collect()
}

/// A lockfile that is not written yet.
pub(crate) struct Made {
    pub(crate) lockfile: Lockfile,
    selections: Vec<Selection>,
    /// Names and contents for the folder beside it.
    files: Vec<(String, Vec<u8>)>,
}

/// Chooses packages of recipes.
pub(crate) struct Maker<'a> {
    session: &'a Session,
    args: &'a ArchiveArgs,
    engine: Engine,
    cancel: CancelToken,
}

impl<'a> Maker<'a> {
    pub(crate) fn open(session: &'a Session, args: &'a ArchiveArgs) -> Result<Self, CliError> {
        Ok(Self {
            session,
            args,
            engine: session.engine(&args.bases(), None)?,
            cancel: crate::interrupt::token()?,
        })
    }

    /// Works with the archives of these recipes.
    pub(crate) fn read<T>(
        &mut self,
        specs: &[&ImageSpec],
        work: impl FnOnce(&Archive<'_>) -> Result<T, String>,
    ) -> Result<T, CliError> {
        self.engine
            .read_archives(specs, &self.cancel, work)
            .map_err(|error| failed(&error))
    }

    /// Chooses the packages of all images; no suite may be older than in `old`.
    pub(crate) fn choose(
        &mut self,
        wanted: &[Wanted],
        old: Option<&Lockfile>,
        keep_indexes: bool,
    ) -> Result<Made, CliError> {
        let now = self.session.now().0 / 1_000_000_000;
        let mut chosen: Vec<Option<(Selection, Vec<AcceptedRelease>)>> =
            wanted.iter().map(|_| None).collect();
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        // Images of one release and architecture share their indexes.
        while let Some(first) = chosen.iter().position(Option::is_none) {
            let spec = &wanted[first].spec;
            let together = |other: &ImageSpec| {
                other.release == spec.release
                    && other.architecture == spec.architecture
                    && other.debian_suites == spec.debian_suites
                    && other.sources == spec.sources
            };
            let group: Vec<usize> = (first..wanted.len())
                .filter(|number| chosen[*number].is_none() && together(&wanted[*number].spec))
                .collect();
            let (selections, releases, kept) = self.read(&[spec], |archive| {
                let indexes = archive
                    .update(&spec.architecture, now)
                    .map_err(|error| chain(&error))?;
                if let Some(old) = old {
                    old.check_not_before(&indexes.releases)
                        .map_err(|error| chain(&error))?;
                }
                let selections: Result<Vec<Selection>, String> = group
                    .iter()
                    .map(|number| {
                        let one = &wanted[*number];
                        select(&one.spec, &one.platform, &indexes).map_err(|error| chain(&error))
                    })
                    .collect();
                let kept = if keep_indexes {
                    read_indexes(archive, &indexes.releases)?
                } else {
                    Vec::new()
                };
                Ok((selections?, indexes.releases, kept))
            })?;
            files.extend(kept);
            for (number, selection) in group.into_iter().zip(selections) {
                chosen[number] = Some((selection, releases.clone()));
            }
        }
        let chosen: Vec<_> = chosen.into_iter().flatten().collect();
        let locking: Vec<Locking<'_>> = wanted
            .iter()
            .zip(&chosen)
            .map(|(wanted, (selection, releases))| Locking {
                recipe: &wanted.recipe,
                selection,
                releases,
            })
            .collect();
        let mut lockfile = Lockfile::of(&locking).map_err(|error| CliError::failed(chain(&error)))?;
        if let Some(old) = old {
            lockfile.keep_unchanged(old);
        }
        files.extend(release_files(&lockfile, &chosen));
        Ok(Made {
            lockfile,
            selections: chosen.into_iter().map(|(selection, _)| selection).collect(),
            files: named(files),
        })
    }

    /// Records what the images come out as where that is wanted, and writes the lockfile.
    pub(crate) fn finish(
        &mut self,
        mut made: Made,
        kept: &KeptArgs,
        progress: &ProgressArgs,
        path: &Path,
    ) -> Result<Lockfile, CliError> {
        if kept.digests {
            let progress = Progress::start(self.session, progress, false)?;
            for selection in &made.selections {
                let name = &selection.spec.name;
                let architecture = &selection.spec.architecture;
                // The epoch of the lockfile may be that of an earlier one.
                let locked = made.lockfile.selection(&selection.spec, &selection.platform);
                let locked = locked.map_err(|error| CliError::failed(chain(&error)))?;
                let step = format!("make {name} for {architecture}");
                let output = progress.step(&step, |report| self.output(&locked, &made.lockfile, report))?;
                let set = made.lockfile.set_output(name, architecture, output);
                set.map_err(|error| CliError::failed(chain(&error)))?;
            }
        }
        let files: Vec<(String, &[u8])> = made
            .files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.as_slice()))
            .collect();
        made.lockfile
            .save(path, &files)
            .map_err(|error| CliError::failed(chain(&error)))?;
        Ok(made.lockfile)
    }

    fn output(
        &self,
        selection: &Selection,
        lockfile: &Lockfile,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Output, CliError> {
        let snapshot = self
            .args
            .snapshot(self.session)
            .map(|url| lockfile.snapshot_mirror(url));
        let request = BaseRequest {
            selection,
            names: &[],
            snapshot: snapshot.as_ref(),
            hidden: true,
        };
        let made = self
            .engine
            .make_base(&request, &self.cancel, report)
            .map_err(|error| failed(&error))?;
        let config = ImageConfig::from_json(&made.config).map_err(|error| CliError::failed(chain(&error)))?;
        Ok(Output {
            manifest: made.digest(),
            layers: config.rootfs.diff_ids.iter().map(|diff_id| diff_id.0).collect(),
        })
    }
}

/// A failure of the engine; a build that was stopped says nothing.
pub(crate) fn failed(error: &ImageError) -> CliError {
    match error {
        ImageError::Cancelled => CliError::silent(crate::interrupt::exit_code()),
        error => CliError::failed(chain(error)),
    }
}

/// The packed indexes of suites, by suite, path and hash as one name.
fn read_indexes(
    archive: &Archive<'_>,
    releases: &[AcceptedRelease],
) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = Vec::new();
    for release in releases {
        for (path, file) in &release.indexes {
            let packed = archive
                .download_index(release, path, file)
                .map_err(|error| chain(&error))?;
            let bytes = std::fs::read(&packed)
                .map_err(|error| format!("cannot read `{}`: {error}", packed.display()))?;
            let name = distil_base::lock::file_name(&release.source.suite, &file.sha256, path);
            files.push((name, bytes));
        }
    }
    Ok(files)
}

fn release_files(
    lockfile: &Lockfile,
    chosen: &[(Selection, Vec<AcceptedRelease>)],
) -> Vec<(String, Vec<u8>)> {
    let suites = lockfile.suites.iter().filter_map(|suite| {
        let mut releases = chosen.iter().flat_map(|(_, releases)| releases);
        let release = releases.find(|release| release.digest == suite.in_release)?;
        Some((suite.file_name(), release.bytes.clone()))
    });
    suites.collect()
}

/// Each name once.
fn named(mut files: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    files.sort();
    files.dedup_by(|a, b| a.0 == b.0);
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (from, to, expected) in [
            ("/a/b", "/a/b/x.yaml", "x.yaml"),
            ("/a/b", "/a/c/x.yaml", "../c/x.yaml"),
            ("/", "/x.yaml", "x.yaml"),
            ("/a", "/x/y/z.yaml", "../x/y/z.yaml"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(expected));
        }
        for (target, expected) in [
            ("dir/my.yaml", "dir/my.lock"),
            ("./my", "./my.lock"),
            ("java17-debian12:nonroot", "java17-debian12-nonroot.lock"),
            ("gcr.io/distroless/static", "static.lock"),
        ] {
            assert_eq!(default_path(target), Path::new(expected));
        }
    }
}
