//! The recipes that distil brings along.

use std::sync::OnceLock;

use super::{Recipe, RecipeChain, RecipeError};

/// A built-in recipe file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Name of the recipe: `java17`.
    pub name: &'static str,
    /// The file in the repository.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Whether it makes an image by itself and not only a part of others.
    pub is_image: bool,
}

macro_rules! builtin {
    ($($name:literal: $is_image:literal),* $(,)?) => {
        [$(Builtin {
            name: $name,
            file: concat!($name, ".yaml"),
            text: include_str!(concat!("../../recipes/", $name, ".yaml")),
            is_image: $is_image,
        }),*]
    };
}

/// In the order in which they build on each other.
static BUILTINS: [Builtin; 12] = builtin![
    "static": true,
    "base-nossl": true,
    "base": true,
    "cc": true,
    "python3": true,
    "java-base": false,
    "java17": true,
    "java21": true,
    "java25": true,
    "nodejs18": true,
    "nodejs20": true,
    "nodejs-upstream": false,
];

/// All built-in recipes, in the order in which they build on each other.
#[must_use]
pub fn builtins() -> &'static [Builtin] {
    &BUILTINS
}

/// The parsed recipe of a built-in name.
pub(crate) fn parsed(name: &str) -> Option<Result<Recipe, RecipeError>> {
    let found = BUILTINS.iter().find(|one| one.name == name)?;
    Some(Recipe::parse(found.file, found.text))
}

/// A built-in recipe with what it extends. Each is read when it is asked for, and once; a test proves
/// that all can be read.
pub(crate) fn builtin_chain(name: &str) -> Option<(&'static Builtin, &'static RecipeChain)> {
    static CHAINS: [OnceLock<Option<RecipeChain>>; BUILTINS.len()] =
        [const { OnceLock::new() }; BUILTINS.len()];
    let (one, chain) = BUILTINS.iter().zip(&CHAINS).find(|(one, _)| one.name == name)?;
    let chain = chain.get_or_init(|| RecipeChain::complete(parsed(name)?.ok()?, None).ok());
    Some((one, chain.as_ref()?))
}

/// All built-in recipes with what they extend.
pub fn builtin_chains() -> impl Iterator<Item = (&'static Builtin, &'static RecipeChain)> {
    BUILTINS.iter().filter_map(|one| builtin_chain(one.name))
}
