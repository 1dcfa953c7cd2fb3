//! What can be wrong with a recipe.

use std::fmt;

use thiserror::Error;

/// A place in a recipe file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the file as it was given.
    pub file: String,
    /// The first line is 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A recipe that cannot be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// The text is not YAML, or uses a part of it that recipes have no use for.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        problem: String,
    },
    /// A key that recipes do not have.
    #[error("{place}: unknown key `{key}` in {section}; {hint}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// Which mapping it stands in.
        section: String,
        /// The key that may have been meant, or all that there are.
        hint: String,
    },
    /// A key without which the rest makes no sense.
    #[error("{place}: {section} has no `{key}`")]
    MissingKey {
        /// Where the mapping begins.
        place: Place,
        /// Which mapping.
        section: String,
        /// The key.
        key: &'static str,
    },
    /// A value that a key cannot have.
    #[error("{place}: `{key}` cannot be `{value}`: {expected}")]
    Value {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What stands there; a list or mapping is called so.
        value: String,
        /// What should stand there.
        expected: String,
    },
    /// A recipe to extend that is neither built in nor a file.
    #[error("{place}: there is no recipe `{name}` to extend; {hint}")]
    UnknownRecipe {
        /// Where `extends` stands.
        place: Place,
        /// The name.
        name: String,
        /// The one that may have been meant, or how to name a file.
        hint: String,
    },
    /// Recipes that extend each other.
    #[error("{place}: `{name}` extends itself, directly or through others")]
    Cycle {
        /// Where the last `extends` stands.
        place: Place,
        /// The recipe that comes up twice.
        name: String,
    },
    /// The recipe does not exist for what was asked for.
    #[error("`{name}` is not made for {wanted}; it is for {offered}")]
    NotOffered {
        /// The recipe.
        name: String,
        /// A release or architecture.
        wanted: String,
        /// Those that it has.
        offered: String,
    },
    /// Two parts of a recipe contradict each other.
    #[error("{place}: {problem}")]
    Conflict {
        /// Where the second of them stands.
        place: Place,
        /// What contradicts what.
        problem: String,
    },
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Several things at once, in the order of their lines.
    #[error("{}", lines(.0))]
    Several(Vec<RecipeError>),
}

fn lines(faults: &[RecipeError]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl RecipeError {
    /// One error of all faults; `None` when there are none.
    pub(super) fn of(faults: Vec<RecipeError>) -> Option<RecipeError> {
        let mut flat: Vec<RecipeError> = Vec::with_capacity(faults.len());
        for fault in faults {
            match fault {
                RecipeError::Several(faults) => flat.extend(faults),
                one => flat.push(one),
            }
        }
        flat.sort_by_key(RecipeError::line);
        match flat.len() {
            0 | 1 => flat.pop(),
            _ => Some(RecipeError::Several(flat)),
        }
    }

    /// Where it stands; 0 when it is about the whole recipe.
    fn line(&self) -> usize {
        match self {
            RecipeError::Syntax { place, .. }
            | RecipeError::UnknownKey { place, .. }
            | RecipeError::MissingKey { place, .. }
            | RecipeError::Value { place, .. }
            | RecipeError::UnknownRecipe { place, .. }
            | RecipeError::Cycle { place, .. }
            | RecipeError::Conflict { place, .. } => place.line,
            RecipeError::NotOffered { .. } | RecipeError::Read { .. } | RecipeError::Several(_) => 0,
        }
    }
}
