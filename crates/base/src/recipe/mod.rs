//! Recipes of distroless images.
//!
//! A [`Recipe`] is a YAML file; `docs/recipes.md` describes its keys and
//! `docs/recipe.schema.json` is its schema. A recipe extends another by name, a
//! built-in one or a file beside it. The [`RecipeChain`] of both is composed for a
//! release, an architecture and a [`Variant`] to an [`ImageSpec`].

mod builtin;
mod chain;
mod compose;
mod error;
mod excludes;
mod fields;
mod part;
mod spec;
mod yaml;

pub(crate) use builtin::builtin_chain;
pub use builtin::{Builtin, builtin_chains, builtins};
pub use chain::{RecipeChain, Request};
pub use error::{Place, RecipeError};
pub use spec::{
    Accounts, Derived, Exclude, ExtraSource, FileContent, GroupAccount, ImageSpec, InputMember, Layout, Note,
    Owner, Resolve, RunSettings, SpecDirectory, SpecFile, SpecSymlink, UpstreamInput, UserAccount, Variant,
};

use crate::release::DebianRelease;
use fields::{Fields, Section};
use part::Part;

/// The keys that only the top of a recipe has.
const TOP_KEYS: [&str; 5] = ["name", "description", "runs", "extends", "release"];

/// One recipe file as it is written, nothing that it extends applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Name of the file, for errors.
    pub file: String,
    /// Name of the image family.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// What programs run on it.
    pub runs: String,
    /// The recipe that it adds to, and the line where that stands.
    pub extends: Option<(String, usize)>,
    /// The only release that it is for; otherwise those of its `releases` part.
    pub release: Option<DebianRelease>,
    part: Part,
}

impl Recipe {
    /// Reads a recipe. `file` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line: no YAML, an unknown key (with the nearest
    /// known one), a value that a key cannot have.
    pub fn parse(file: &str, text: &str) -> Result<Recipe, RecipeError> {
        let (root, twice) = yaml::parse(file, text)?;
        let mut fields = Fields::of(&Section::top(file), &root)?;
        fields.note(twice);
        let extends_line = fields.line_of("extends");
        let extends = fields.optional("extends", Section::text);
        let recipe = Recipe {
            file: file.to_owned(),
            name: fields.required("name", name),
            description: fields.optional("description", Section::text).unwrap_or_default(),
            runs: fields.optional("runs", Section::text).unwrap_or_default(),
            extends: extends.map(|name| (name, extends_line)),
            release: fields.optional("release", |section, node| {
                section.word(node, &part::release_words())
            }),
            part: Part::take(&mut fields),
        };
        let known: Vec<&str> = TOP_KEYS.into_iter().chain(part::PART_KEYS).collect();
        fields.finish(&known, recipe)
    }
}

fn name(section: &Section<'_>, node: &yaml::Node) -> Result<String, RecipeError> {
    let name = section.text(node)?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._/".contains(&byte);
    if !name.is_empty() && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(section.wrong(node, "lower-case letters, digits and `-._/`"))
}

#[cfg(test)]
mod tests;
