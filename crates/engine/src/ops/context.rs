//! A folder of the host as an input of operations, and why something is not in it.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use distil_rootfs::ignore::PatternMatcher;
use distil_rootfs::{CopyReport, CopySpec, DirTree, Filter, FilteredTree, Tree, TreeError};
use distil_snapshot::{CommitOptions, Snapshotter};
use distil_solver::OpError;
use distil_store::LayerId;

/// A build context that is read in place. Only when it is the base of something or mounted its files are copied
/// to a layer, once a build.
pub(crate) struct Context {
    /// What operations see of it.
    pub(crate) tree: Arc<dyn Tree>,
    folder: Arc<dyn Tree>,
    name: String,
    exclude: Vec<String>,
    ignore_file: Option<PathBuf>,
    layer: Mutex<Option<LayerId>>,
}

impl Context {
    /// Opens `folder` as the context `name`. `ignore_file` is where the excludes of `filter` were read.
    pub(super) fn open(
        name: &str,
        folder: &Path,
        filter: &Filter,
        ignore_file: Option<PathBuf>,
    ) -> Result<Self, TreeError> {
        let folder: Arc<dyn Tree> = Arc::new(DirTree::open(folder)?.into_context());
        Ok(Self {
            tree: Arc::new(FilteredTree::new(Arc::clone(&folder), filter)?),
            folder,
            name: name.to_owned(),
            exclude: filter.exclude.clone(),
            ignore_file,
            layer: Mutex::new(None),
        })
    }

    /// As its `local://` source is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The files as a layer.
    pub(super) fn layer(&self, snapshotter: &Snapshotter) -> Result<LayerId, OpError> {
        let mut layer = self.layer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = *layer {
            return Ok(layer);
        }
        let active = snapshotter.prepare(&[]).map_err(OpError::failed)?;
        let upper = active.view().map_err(OpError::failed)?;
        let everything = CopySpec::new("/", "/");
        upper
            .copy(self.tree.as_ref(), &everything, &mut CopyReport::default())
            .map_err(OpError::failed)?;
        drop(upper);
        let made = active.commit(CommitOptions::default()).map_err(OpError::failed)?;
        *layer = Some(made.id);
        Ok(made.id)
    }

    /// Says why `path` was not found; `instruction` is the line that asked for it.
    pub(super) fn explain_missing(&self, path: &Path, instruction: &str) -> String {
        let context = if self.name == crate::MAIN_CONTEXT {
            "the build context".to_owned()
        } else {
            format!("the build context `{}`", self.name)
        };
        let mut text = match self.excluded_by(path) {
            Some(pattern) => {
                let file = self.ignore_file.as_deref().unwrap_or(Path::new(".dockerignore"));
                format!(
                    "`{}` is ignored: `{}` excludes it from {context} with `{pattern}`",
                    path.display(),
                    file.display()
                )
            }
            None => match self.folder.read_link(path) {
                Ok(target) => format!(
                    "`{}` is a link to `{}`, which is not in {context}: links cannot leave it",
                    path.display(),
                    target.display()
                ),
                Err(_) => format!("`{}` does not exist in {context}", path.display()),
            },
        };
        if let Some(written) = outside(path, instruction) {
            text.push_str(&format!(
                " (`{written}` cannot leave the context, so it was looked for at its root)"
            ));
        }
        text
    }

    /// The pattern that hides a path which the folder has.
    fn excluded_by(&self, path: &Path) -> Option<&str> {
        self.folder.lookup(path).ok().flatten()?;
        let relative = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
        let matches = |patterns: &[String]| {
            PatternMatcher::new(patterns)
                .is_ok_and(|matcher| matcher.matches_or_parent_matches(relative.as_bytes()))
        };
        if !matches(&self.exclude) {
            return None;
        }
        let decides = |pattern: &&String| matches(std::slice::from_ref(*pattern));
        self.exclude.iter().rev().find(decides).map(String::as_str)
    }
}

/// The source path of `instruction` that climbs above the context's root and was read as `path`.
fn outside<'a>(path: &Path, instruction: &'a str) -> Option<&'a str> {
    let words = instruction.split(|character: char| {
        character.is_whitespace() || matches!(character, '"' | '\'' | '[' | ']' | ',')
    });
    words.into_iter().find(|word| {
        let mut climbs = false;
        let mut clamped = PathBuf::from("/");
        for component in Path::new(word).components() {
            match component {
                Component::ParentDir => climbs |= !clamped.pop(),
                Component::Normal(name) => clamped.push(name),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        climbs && clamped == path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        for name in ["a.log", "logs/b", "kept"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("away")).unwrap();
        let filter = Filter {
            exclude: ["*.txt", "*.log", "logs"].map(String::from).into(),
            ..Filter::default()
        };
        let file = Some(PathBuf::from("app.dockerignore"));
        let context = Context::open("context", directory.path(), &filter, file).unwrap();
        let cases = [
            (
                "/a.log",
                "COPY a.log /",
                "`/a.log` is ignored: `app.dockerignore` excludes it from the build context with `*.log`",
            ),
            (
                "/logs/b",
                "COPY logs/b /",
                "`/logs/b` is ignored: `app.dockerignore` excludes it from the build context with `logs`",
            ),
            (
                "/b.log",
                "COPY b.log /",
                "`/b.log` does not exist in the build context",
            ),
            (
                "/x",
                "COPY [\"../../x\", \"/\"]",
                "`/x` does not exist in the build context (`../../x` cannot leave the context, so it was looked for at its root)",
            ),
            (
                "/away",
                "COPY away /",
                "`/away` is a link to `/etc/passwd`, which is not in the build context: links cannot leave it",
            ),
            ("/x", "COPY a/../x /", "`/x` does not exist in the build context"),
        ];
        for (path, instruction, expected) in cases {
            assert_eq!(context.explain_missing(Path::new(path), instruction), expected);
        }
    }
}
