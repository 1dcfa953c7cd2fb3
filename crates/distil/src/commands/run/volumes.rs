//! `-v` and the image's `VOLUME`s.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use distil_engine::Engine;
use distil_rootfs::{CopyReport, CopySpec, Tree};
use distil_sandbox::{MountSource, ProcessMount};
use distil_snapshot::ActiveSnapshot;
use distil_store::{LayerId, VolumeUse, is_volume_name};

use crate::error::{CliError, chain};

/// Name of the directory in a snapshot that a volume is filled in.
const CONTENT: &str = "volume";

/// Something to mount, as the arguments say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What is known already: a path of the host, memory.
    Known(ProcessMount),
    /// A volume.
    Volume {
        /// Where.
        target: PathBuf,
        /// Its name; without one it goes with the program.
        name: Option<String>,
        /// Whether writing is refused.
        readonly: bool,
        /// Whether a new one starts as what the image has there.
        fill: bool,
    },
}

impl Wanted {
    /// Where it is mounted.
    pub(super) fn target(&self) -> &Path {
        match self {
            Self::Known(mount) => &mount.target,
            Self::Volume { target, .. } => target,
        }
    }
}

/// `[SOURCE:]TARGET[:OPTION,...]`. SOURCE is a path or the name of a volume; a path that does not exist becomes a
/// folder, as in docker.
pub(crate) fn parse(text: &str) -> Result<Wanted, CliError> {
    let wrong = |what: &str| {
        CliError::usage(format!("`-v {text}`: {what}"))
            .hint("write SOURCE:TARGET[:ro], SOURCE a path or a name")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(wrong("this is not SOURCE:TARGET")),
    };
    let target = PathBuf::from(target);
    if !target.is_absolute() {
        return Err(wrong("the target has to be an absolute path"));
    }
    if depth(&target) == 0 {
        return Err(wrong("the target cannot be `/`"));
    }
    let (mut readonly, mut fill) = (false, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => readonly = true,
            "nocopy" => fill = false,
            // As it is anyway; labels of SELinux are not set.
            "rw" | "z" | "Z" => {}
            other => return Err(wrong(&format!("`{other}` is not ro, rw or nocopy"))),
        }
    }
    match source {
        Some(source) if source.starts_with(['/', '.']) => bind(source, target, readonly),
        Some(name) if !is_volume_name(name) => Err(wrong(&format!(
            "`{name}` is neither a path, which begins with `/` or `.`, nor a name of at least two letters, digits, \
             `_`, `.` or `-`"
        ))),
        name => Ok(Wanted::Volume {
            target,
            name: name.map(str::to_owned),
            readonly,
            fill,
        }),
    }
}

fn bind(source: &str, target: PathBuf, readonly: bool) -> Result<Wanted, CliError> {
    let path = std::path::absolute(source)?;
    if !path.exists() {
        std::fs::create_dir_all(&path)
            .map_err(|error| CliError::failed(format!("-v: cannot make `{}`: {error}", path.display())))?;
    }
    Ok(Wanted::Known(ProcessMount {
        target,
        source: MountSource::Bind { path, readonly },
    }))
}

/// Puts outer targets before what lies in them, and refuses two of one target.
pub(crate) fn sort(mounts: &mut [Wanted]) -> Result<(), CliError> {
    mounts.sort_by_key(|mount| depth(mount.target()));
    for (at, mount) in mounts.iter().enumerate() {
        if is_target(&mounts[..at], mount.target()) {
            return Err(CliError::usage(format!(
                "there are two mounts for `{}`",
                mount.target().display()
            )));
        }
    }
    Ok(())
}

fn depth(path: &Path) -> usize {
    plain(path).count()
}

fn plain(path: &Path) -> impl Iterator<Item = Component<'_>> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
}

fn is_target(mounts: &[Wanted], path: &Path) -> bool {
    mounts.iter().any(|mount| plain(mount.target()).eq(plain(path)))
}

/// Adds the volumes that the image declares and nothing else covers.
pub(super) fn add_declared<'a>(mounts: &mut Vec<Wanted>, declared: impl IntoIterator<Item = &'a String>) {
    for path in declared {
        let target = Path::new("/").join(path);
        if depth(&target) > 0 && !is_target(mounts, &target) {
            mounts.push(Wanted::Volume {
                target,
                name: None,
                readonly: false,
                fill: true,
            });
        }
    }
    mounts.sort_by_key(|mount| depth(mount.target()));
}

/// What a program mounts. Volumes without a name are deleted when this is dropped, the others are free again.
#[derive(Default)]
pub(crate) struct Volumes {
    /// The mounts, outer ones first.
    pub(crate) mounts: Vec<ProcessMount>,
    /// Volumes that are new and belong to root, for the image has nothing there.
    pub(crate) empty: Vec<String>,
    used: Vec<VolumeUse>,
    nameless: Vec<ActiveSnapshot>,
}

impl Volumes {
    /// Takes, makes and fills what is wanted beside an image with these layers.
    pub(crate) fn take(engine: &Engine, layers: &[LayerId], wanted: &[Wanted]) -> Result<Self, CliError> {
        let mut volumes = Self::default();
        for one in wanted {
            let mount = match one {
                Wanted::Known(mount) => mount.clone(),
                Wanted::Volume {
                    target,
                    name,
                    readonly,
                    fill,
                } => {
                    let layers = if *fill { layers } else { &[] };
                    let path = match name {
                        Some(name) => volumes.named(engine, layers, name, target)?,
                        None => volumes.nameless(engine, layers, target)?,
                    };
                    ProcessMount {
                        target: target.clone(),
                        source: MountSource::Bind {
                            path,
                            readonly: *readonly,
                        },
                    }
                }
            };
            volumes.mounts.push(mount);
        }
        Ok(volumes)
    }

    fn named(
        &mut self,
        engine: &Engine,
        layers: &[LayerId],
        name: &str,
        target: &Path,
    ) -> Result<PathBuf, CliError> {
        // Its directory goes away with the volume; the rest goes here.
        let mut start = None;
        let mut is_empty = false;
        let id_map = engine.snapshotter().id_map();
        let used = engine
            .store()
            .volumes()
            .take(name, id_map, || -> Result<_, CliError> {
                start = content(engine, layers, target)?;
                is_empty = start.is_none();
                Ok(start.as_ref().map(|(_, path)| path.clone()))
            })?;
        if is_empty {
            self.empty.push(name.to_owned());
        }
        let path = used.path.clone();
        self.used.push(used);
        Ok(path)
    }

    fn nameless(&mut self, engine: &Engine, layers: &[LayerId], target: &Path) -> Result<PathBuf, CliError> {
        let (active, path) = match content(engine, layers, target)? {
            Some(found) => found,
            None => empty(engine)?,
        };
        self.nameless.push(active);
        Ok(path)
    }
}

/// A copy of what the image has at `target`, with owner and mode of the directory itself, and where it lies in the
/// snapshot; `None` where there is nothing.
fn content(
    engine: &Engine,
    layers: &[LayerId],
    target: &Path,
) -> Result<Option<(ActiveSnapshot, PathBuf)>, CliError> {
    let wrong = |error: &dyn std::error::Error| {
        CliError::failed(format!("volume at `{}`: {}", target.display(), chain(error)))
    };
    let snapshotter = engine.snapshotter();
    let tree = snapshotter.tree(layers).map_err(|error| wrong(&error))?;
    let source = tree.resolve(target).map_err(|error| wrong(&error))?;
    match tree.lookup(&source).map_err(|error| wrong(&error))? {
        None => return Ok(None),
        Some(node) if node.kind.is_dir() => {}
        Some(_) => {
            return Err(CliError::failed(format!(
                "a volume is a folder, and `{}` of the image is none",
                target.display()
            )));
        }
    }
    let Some(source) = source.to_str() else {
        return Err(CliError::failed(format!("`{}` is no UTF-8", source.display())));
    };
    let active = snapshotter.prepare(&[]).map_err(|error| wrong(&error))?;
    let spec = CopySpec {
        dir_copy_contents: false,
        allow_wildcard: false,
        allow_empty_wildcard: false,
        ..CopySpec::new(source, format!("/{CONTENT}"))
    };
    let upper = active.view().map_err(|error| wrong(&error))?;
    upper
        .copy(&tree, &spec, &mut CopyReport::default())
        .map_err(|error| wrong(&error))?;
    let path = active.upper_dir().join(CONTENT);
    Ok(Some((active, path)))
}

fn empty(engine: &Engine) -> Result<(ActiveSnapshot, PathBuf), CliError> {
    let failed = |error: &dyn std::error::Error| CliError::failed(chain(error));
    let active = engine
        .snapshotter()
        .prepare(&[])
        .map_err(|error| failed(&error))?;
    let path = active.upper_dir().join(CONTENT);
    std::fs::create_dir(&path)?;
    // Whatever the mask is.
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok((active, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_dockers_forms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder");
        let named = |target: &str, name: Option<&str>, readonly, fill| Wanted::Volume {
            target: target.into(),
            name: name.map(str::to_owned),
            readonly,
            fill,
        };
        for (text, wanted) in [
            ("data:/x", named("/x", Some("data"), false, true)),
            ("data:/x:ro", named("/x", Some("data"), true, true)),
            ("data:/x:ro,nocopy,Z", named("/x", Some("data"), true, false)),
            ("/x", named("/x", None, false, true)),
        ] {
            assert_eq!(parse(text).unwrap(), wanted, "{text}");
        }
        parse(&format!("{}:/x:rw", path.display())).unwrap();
        assert!(path.is_dir());
        for text in [
            "",
            ":",
            "x",
            "data:x",
            "data:/",
            "data:/x:wo",
            "a:/x",
            "a/b:/x",
            "data:/x:ro:rw",
            "::",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn outer_mounts_come_first_and_targets_are_unique() {
        let read =
            |texts: &[&str]| -> Vec<Wanted> { texts.iter().map(|text| parse(text).unwrap()).collect() };
        let mut mounts = read(&["inner:/a/b/c", "outer:/a/", "other:/z/z"]);
        sort(&mut mounts).unwrap();
        let targets: Vec<_> = mounts
            .iter()
            .map(|mount| mount.target().to_str().unwrap())
            .collect();
        assert_eq!(targets, ["/a/", "/z/z", "/a/b/c"]);
        assert!(sort(&mut read(&["one:/a", "two:/a/"])).is_err());
        let declared = [
            "/a".to_owned(),
            "/a/b".to_owned(),
            "work".to_owned(),
            "/".to_owned(),
        ];
        add_declared(&mut mounts, &declared);
        let targets: Vec<_> = mounts
            .iter()
            .map(|mount| mount.target().to_str().unwrap())
            .collect();
        assert_eq!(targets, ["/a/", "/work", "/z/z", "/a/b", "/a/b/c"]);
    }
}
