//! A recipe with all that it extends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builtin;
use super::compose::compose;
use super::error::RecipeError;
use super::fields::{Section, all};
use super::part::{ARCHITECTURES, ContentText, Part, Statement};
use super::spec::{ImageSpec, Variant};
use super::yaml::MAX_SIZE;
use super::{Recipe, builtins};
use crate::nearest;
use crate::release::DebianRelease;

/// A longer chain goes round in a circle of paths that are spelled differently.
const MAX_CHAIN: usize = 32;

/// Bytes that a file which a recipe puts into the image may have: all are held in memory.
const MAX_SOURCE: usize = 64 << 20;

/// For what a chain is composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Release; `None` for the newest that the recipe is for.
    pub release: Option<DebianRelease>,
    /// Debian's name of the architecture.
    pub architecture: &'a str,
    /// Variant.
    pub variant: Variant,
}

/// A recipe with all that it extends, and the files beside them that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeChain {
    /// The one that extends none first.
    recipes: Vec<Recipe>,
    /// Contents of files beside recipes, by recipe file and the name that stands in it.
    beside: BTreeMap<(String, String), Arc<Vec<u8>>>,
    is_builtin: bool,
}

impl RecipeChain {
    /// A built-in recipe: `java17`.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn builtin(name: &str) -> Result<RecipeChain, RecipeError> {
        match builtin::builtin_chain(name) {
            Some((_, chain)) => Ok(chain.clone()),
            None => Err(unknown(&Section::top(name), 0, name)),
        }
    }

    /// Reads the recipe file at `path`, those that it extends, and the keyrings and
    /// files that they name, all relative to the file that names them.
    ///
    /// # Errors
    /// A file that cannot be read or is no recipe.
    pub fn open(path: &Path) -> Result<RecipeChain, RecipeError> {
        let recipe = read_recipe(path)?;
        RecipeChain::complete(recipe, Some(path))
    }

    pub(super) fn complete(recipe: Recipe, path: Option<&Path>) -> Result<RecipeChain, RecipeError> {
        let mut chain = RecipeChain {
            recipes: Vec::new(),
            beside: BTreeMap::new(),
            is_builtin: path.is_none(),
        };
        let mut next = Some((recipe, path.map(Path::to_owned)));
        while let Some((recipe, path)) = next {
            chain.read_beside(&recipe, path.as_deref())?;
            next = parent(&recipe, path.as_deref())?;
            if let Some((parent, _)) = &next
                && (chain.recipes.len() >= MAX_CHAIN
                    || parent.file == recipe.file
                    || chain.recipes.iter().any(|one| one.file == parent.file))
            {
                let line = recipe.extends.as_ref().map_or(1, |(_, line)| *line);
                return Err(RecipeError::Cycle {
                    place: Section::top(&recipe.file).place(line),
                    name: parent.name.clone(),
                });
            }
            chain.recipes.push(recipe);
        }
        chain.recipes.reverse();
        Ok(chain)
    }

    /// Reads the files that `recipe` names, those of all its parts.
    fn read_beside(&mut self, recipe: &Recipe, path: Option<&Path>) -> Result<(), RecipeError> {
        let Some(path) = path else { return Ok(()) };
        let section = Section::top(&recipe.file);
        let mut named = Vec::new();
        files_beside(&recipe.part, &mut named);
        let read = named.into_iter().map(|one| {
            let file = beside(path, one.name);
            let bytes = read_limited(&file, one.most).map_err(|source| {
                let expected = format!("`{}` cannot be read: {source}", file.display());
                section.inside(one.key).refuse(one.line, one.name, &expected)
            })?;
            Ok(((recipe.file.clone(), one.name.to_owned()), Arc::from(bytes)))
        });
        self.beside.extend(all(read)?);
        Ok(())
    }

    pub(super) fn recipes(&self) -> &[Recipe] {
        &self.recipes
    }

    /// The content of file `name`, which `recipe` names.
    pub(super) fn beside(&self, recipe: &Recipe, name: &str) -> Option<&Arc<Vec<u8>>> {
        self.beside.get(&(recipe.file.clone(), name.to_owned()))
    }

    /// The recipe that was asked for.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        // `complete`, which makes all chains, puts at least one in.
        &self.recipes[self.recipes.len() - 1]
    }

    /// Whether it came with distil.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.is_builtin
    }

    /// Releases that all of its recipes are for, the oldest first.
    #[must_use]
    pub fn releases(&self) -> Vec<DebianRelease> {
        let offered = |release: &DebianRelease| self.recipes.iter().all(|one| offers(one, *release));
        DebianRelease::ALL.into_iter().filter(offered).collect()
    }

    /// Debian's names of the architectures that it can be composed for.
    #[must_use]
    pub fn architectures(&self) -> Vec<&'static str> {
        ARCHITECTURES.iter().map(|(_, name)| *name).collect()
    }

    /// Applies the recipes one after the other: in each what holds for all first,
    /// then what holds for the release, the architecture and the variant.
    ///
    /// # Errors
    /// A release or architecture that it is not for, or parts that contradict
    /// each other.
    pub fn compose(&self, request: &Request<'_>) -> Result<ImageSpec, RecipeError> {
        let releases = self.releases();
        let release = match request.release {
            Some(release) if releases.contains(&release) => release,
            None if !releases.is_empty() => releases[releases.len() - 1],
            wanted => {
                let wanted = wanted.map_or("any release", DebianRelease::codename);
                let offered: Vec<&str> = releases.iter().map(|one| one.codename()).collect();
                return Err(self.not_offered(wanted, &offered));
            }
        };
        let known = self.architectures();
        let Some(architecture) = known.iter().find(|one| **one == request.architecture) else {
            return Err(self.not_offered(request.architecture, &known));
        };
        compose(self, release, architecture, request.variant)
    }

    fn not_offered(&self, wanted: &str, offered: &[&str]) -> RecipeError {
        RecipeError::NotOffered {
            name: self.recipe().name.clone(),
            wanted: format!("`{wanted}`"),
            offered: if offered.is_empty() {
                "none".to_owned()
            } else {
                format!("`{}`", offered.join("`, `"))
            },
        }
    }
}

/// A recipe that names releases is for these alone.
fn offers(recipe: &Recipe, release: DebianRelease) -> bool {
    if let Some(only) = recipe.release {
        return only == release;
    }
    let parts = recipe.part.statements.iter().find_map(|one| match one {
        Statement::Releases(parts) => Some(parts),
        _ => None,
    });
    parts.is_none_or(|parts| parts.contains_key(&release))
}

/// The recipe that `recipe` extends; a file when the name has a slash or ends in `.yaml`.
fn parent(recipe: &Recipe, path: Option<&Path>) -> Result<Option<(Recipe, Option<PathBuf>)>, RecipeError> {
    let Some((name, line)) = &recipe.extends else {
        return Ok(None);
    };
    if let Some(found) = builtin::parsed(name) {
        return Ok(Some((found?, None)));
    }
    let is_file = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml");
    match path {
        Some(path) if is_file => {
            let path = beside(path, name);
            Ok(Some((read_recipe(&path)?, Some(path))))
        }
        _ => Err(unknown(&Section::top(&recipe.file), *line, name)),
    }
}

fn unknown(section: &Section<'_>, line: usize, name: &str) -> RecipeError {
    let names = || builtins().iter().map(|one| one.name);
    let hint = match nearest::of(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let all: Vec<&str> = names().collect();
            format!(
                "built in are `{}`; a file is named with its path, `./{name}.yaml`",
                all.join("`, `")
            )
        }
    };
    RecipeError::UnknownRecipe {
        place: section.place(line),
        name: name.to_owned(),
        hint,
    }
}

/// A file that a recipe names.
struct Beside<'a> {
    key: &'static str,
    line: usize,
    name: &'a str,
    /// Bytes that it may have.
    most: usize,
}

fn files_beside<'a>(part: &'a Part, found: &mut Vec<Beside<'a>>) {
    for statement in &part.statements {
        match statement {
            Statement::Sources(list) => found.extend(list.iter().map(|source| Beside {
                key: "sources.keyring",
                line: source.line,
                name: &source.keyring,
                most: MAX_SIZE,
            })),
            Statement::Files(files) => found.extend(files.iter().filter_map(|file| {
                let ContentText::Source(name) = &file.value.content else {
                    return None;
                };
                Some(Beside {
                    key: "files.source",
                    line: file.line,
                    name,
                    most: MAX_SOURCE,
                })
            })),
            Statement::Releases(parts) => parts.values().for_each(|part| files_beside(part, found)),
            Statement::Architectures(parts) => parts.values().for_each(|part| files_beside(part, found)),
            Statement::Variants(parts) => parts.values().for_each(|part| files_beside(part, found)),
            _ => {}
        }
    }
}

/// `name` relative to the directory of `file`.
fn beside(file: &Path, name: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    // Without `./`, so that a file has one name in errors.
    folder.join(name).components().collect()
}

fn read_recipe(path: &Path) -> Result<Recipe, RecipeError> {
    let file = path.display().to_string();
    let bytes = read_limited(path, MAX_SIZE).map_err(|source| RecipeError::Read {
        path: file.clone(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|_| RecipeError::Syntax {
        place: Section::top(&file).place(1),
        problem: "the file is not UTF-8 text".to_owned(),
    })?;
    Recipe::parse(&file, &text)
}

/// Reads a file of at most `most` bytes, so that a wrong path to something huge costs nothing.
fn read_limited(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // A pipe would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
