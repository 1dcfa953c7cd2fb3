//! Build contexts: folders of the host and their ignore files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use distil_rootfs::ignore::{PatternMatcher, read_ignore_file};

use crate::error::BuildError;

/// The Dockerfile of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileText {
    /// Name shown in messages and kept in the source map, relative to its folder.
    pub name: String,
    /// Where it was read from; absent for standard input.
    pub path: Option<PathBuf>,
    /// Its bytes.
    pub text: Vec<u8>,
}

impl DockerfileText {
    /// Reads the Dockerfile that `file` names, else `Dockerfile` or `dockerfile` in the context.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn read(context: &Path, file: Option<&Path>) -> Result<Self, BuildError> {
        let candidates: Vec<PathBuf> = match file {
            Some(file) => vec![file.to_owned()],
            None => vec![context.join("Dockerfile"), context.join("dockerfile")],
        };
        let mut first = None;
        for path in candidates {
            match std::fs::read(&path) {
                Ok(text) => {
                    let name = path
                        .file_name()
                        .map_or_else(|| "Dockerfile".into(), |name| name.to_string_lossy().into_owned());
                    return Ok(Self {
                        name,
                        path: Some(path),
                        text,
                    });
                }
                Err(source) => {
                    first.get_or_insert(BuildError::DockerfileUnreadable {
                        path: path.display().to_string(),
                        source,
                    });
                }
            }
        }
        Err(first.unwrap_or_else(|| BuildError::Definition("no Dockerfile was named".into())))
    }

    /// The ignore file that belongs to this Dockerfile: beside it, with `.dockerignore` appended.
    fn ignore_path(&self) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        let mut name = path.file_name()?.to_owned();
        name.push(".dockerignore");
        Some(path.with_file_name(name))
    }
}

/// Patterns of the ignore files by context name. The main context is called `context`; the Dockerfile's own
/// ignore file, also an empty one, wins over the context's.
pub(crate) fn ignore_patterns(
    dockerfile: &DockerfileText,
    contexts: &BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, Vec<String>>, BuildError> {
    let mut all = BTreeMap::new();
    for (name, folder) in contexts {
        let mut patterns = None;
        if name == crate::MAIN_CONTEXT
            && let Some(path) = dockerfile.ignore_path()
        {
            patterns = read(&path)?;
        }
        if patterns.is_none() {
            patterns = read(&folder.join(".dockerignore"))?;
        }
        all.insert(name.clone(), patterns.unwrap_or_default());
    }
    Ok(all)
}

/// The files that [`ignore_patterns`] reads, by context name.
pub(crate) fn ignore_files(
    dockerfile: &DockerfileText,
    contexts: &BTreeMap<String, PathBuf>,
) -> BTreeMap<String, PathBuf> {
    let file = |(name, folder): (&String, &PathBuf)| {
        let own = (name == crate::MAIN_CONTEXT)
            .then(|| dockerfile.ignore_path())
            .flatten();
        let candidates = own.into_iter().chain([folder.join(".dockerignore")]);
        let found = candidates.into_iter().find(|path| path.exists())?;
        Some((name.clone(), found))
    };
    contexts.iter().filter_map(file).collect()
}

fn read(path: &Path) -> Result<Option<Vec<String>>, BuildError> {
    let problem = |problem: String| BuildError::IgnoreFile {
        path: path.display().to_string(),
        problem,
    };
    match std::fs::read(path) {
        Ok(text) => read_ignore_file(&text)
            .and_then(|patterns| PatternMatcher::new(&patterns).map(|_| Some(patterns)))
            .map_err(|error| problem(error.to_string())),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(problem(error.to_string())),
    }
}

/// Checks that a context is a folder.
pub(crate) fn check(name: &str, folder: &Path) -> Result<(), BuildError> {
    let error = |problem: &str| BuildError::Context {
        name: name.to_owned(),
        path: folder.display().to_string(),
        problem: problem.to_owned(),
    };
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(error("is not a folder")),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => Err(error("does not exist")),
        Err(problem) => Err(error(&format!("cannot be read: {problem}"))),
    }
}
