//! Which base image a program needs: the smallest that runs it, found without running anything.
//!
//! [`advise`] looks at a program, a jar, a script or a project folder, says what it needs ([`Need`]) and compares
//! that with what each built-in image has ([`images`]). Of two images that do, the smaller one is named.

mod binary;
mod images;
mod java;
mod native;
mod node;
mod project;
mod python;
#[cfg(test)]
mod tests;
mod versions;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use images::{BaseImage, images};
pub use versions::Versions;

/// What a program needs of its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// A kernel: it is linked statically.
    Nothing,
    /// A C library with its loader, and shared libraries.
    Libraries(Vec<Library>),
    /// A Python of one of these versions (minor numbers of Python 3).
    Python(Versions),
    /// A Java runtime of at least this version.
    Java(u32),
    /// A Node.js of one of these versions (major numbers).
    Node(Versions),
}

/// A shared library that a program loads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Library {
    /// Its name: `libssl.so.3`.
    pub name: String,
    /// Versions of its symbols that must be there: `OPENSSL_3.0.0`.
    pub versions: Vec<String>,
}

impl Library {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            versions: Vec::new(),
        }
    }
}

/// The answer: a base, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The image, such as `gcr.io/distroless/cc-debian12:nonroot`.
    pub base: String,
    /// Bytes of its files, on amd64.
    pub size: u64,
    /// distil's own image of the same kind without what few programs use.
    pub slim: String,
    /// Bytes of the files of that one.
    pub slim_size: u64,
    /// The two lines of the final stage: FROM and COPY.
    pub lines: [String; 2],
    /// The line that starts the program; complete where the base does not start an interpreter by itself.
    pub start: String,
    /// What was found and why it decides.
    pub why: Vec<String>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdviseError {
    /// The file or folder cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the project is not what its name says.
    #[error("`{}`: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing in the folder, or about the file, says what it needs.
    #[error("`{}`: {reason}; name the program that was built, or a folder with go.mod, Cargo.toml, package.json, \
             pyproject.toml, requirements.txt, pom.xml or build.gradle", path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// No built-in image does.
    #[error("`{}`: {reason}; {way_out}", path.display())]
    NoBase {
        /// The path.
        path: PathBuf,
        /// What none has.
        reason: String,
        /// What to do instead.
        way_out: String,
    },
}

/// What was found out about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) need: Need,
    /// The COPY line after `COPY `; `None` for a program that is copied with what it needs.
    pub(crate) copy: String,
    /// The line that starts it; `{program}` stands for the interpreter of the image.
    pub(crate) start: String,
    pub(crate) why: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Names the smallest base that runs the program, jar or script at `path`, or the project in that folder.
///
/// # Errors
/// When nothing says what it needs, or no base has that; see [`AdviseError`].
pub fn advise(path: &Path) -> Result<Advice, AdviseError> {
    let facts = std::fs::metadata(path).map_err(|source| AdviseError::Read {
        path: path.to_owned(),
        source,
    })?;
    let found = if facts.is_dir() {
        project::examine(path)?
    } else if facts.is_file() {
        binary::examine(path)?
    } else {
        return Err(AdviseError::Unknown {
            path: path.to_owned(),
            reason: "it is neither a file nor a folder".to_owned(),
        });
    };
    choose(path, found)
}

fn choose(path: &Path, found: Found) -> Result<Advice, AdviseError> {
    let mut by_size: Vec<&BaseImage> = images().iter().collect();
    by_size.sort_by_key(|image| (image.size, &image.name));
    let Some(at) = by_size
        .iter()
        .position(|image| image.lacks(&found.need).is_none())
    else {
        return without_base(path, found, &by_size);
    };
    let (image, mut found) = (by_size[at], found);
    found
        .why
        .push(format!("`{}` is the smallest base that has this", image.name));
    let smaller = at.checked_sub(1).map(|before| by_size[before]);
    if let Some((smaller, lack)) = smaller.and_then(|image| Some((image, image.lacks(&found.need)?))) {
        found
            .why
            .push(format!("the next smaller one, `{}`, has {lack}", smaller.name));
    }
    Ok(answer(image, found))
}

fn answer(image: &BaseImage, found: Found) -> Advice {
    let base = format!("gcr.io/distroless/{}:nonroot", image.name);
    Advice {
        lines: [format!("FROM {base}"), format!("COPY {}", found.copy)],
        start: found.start,
        size: image.size,
        slim: format!("distil/{}:slim-nonroot", image.name),
        slim_size: image.slim,
        base,
        why: found.why,
        notes: found.notes,
    }
}

/// A program with libraries that no base has is copied together with them; that needs no library of the base.
fn without_base(path: &Path, mut found: Found, by_size: &[&BaseImage]) -> Result<Advice, AdviseError> {
    let lacks: Vec<String> = by_size
        .iter()
        .filter_map(|image| image.lacks(&found.need))
        .collect();
    let nearest = lacks.last().cloned().unwrap_or_default();
    let no_base = |reason: String, way_out: &str| {
        Err(AdviseError::NoBase {
            path: path.to_owned(),
            reason,
            way_out: way_out.to_owned(),
        })
    };
    match &found.need {
        Need::Libraries(libraries) => {
            let missing = images::nowhere(libraries);
            found.why.push(format!(
                "no base has {missing}: `--closure` copies the program with all it loads"
            ));
            found.notes.push(
                "`build` is the stage that the program was built in, or any in which it runs".to_owned(),
            );
            found.copy = format!("--closure --from=build {0} /", copied_path(&found.start));
            let need = Need::Nothing;
            let smallest = by_size.iter().find(|image| image.lacks(&need).is_none());
            match smallest {
                Some(image) => Ok(answer(image, found)),
                None => no_base(
                    format!("no base has {missing}"),
                    "write a recipe: see docs/recipes.md",
                ),
            }
        }
        Need::Nothing => no_base(
            "there is no base".to_owned(),
            "write a recipe: see docs/recipes.md",
        ),
        Need::Python(_) | Need::Java(_) | Need::Node(_) => no_base(
            format!("no base has what it needs; the largest has {nearest}"),
            "write a recipe with an archive from elsewhere (docs/recipes.md), or allow another version",
        ),
    }
}

/// The path in `ENTRYPOINT ["/app"]`.
fn copied_path(start: &str) -> &str {
    start.split('"').nth(1).unwrap_or("/app")
}

/// Reads a text file of a project; `None` where there is none. Nobody writes one over 4 MB.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, AdviseError> {
    use std::io::Read as _;
    let failed = |source| AdviseError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(4 << 20).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

pub(crate) fn malformed(path: &Path, reason: &dyn std::fmt::Display) -> AdviseError {
    AdviseError::Malformed {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
