//! Licences of packages as SPDX expressions.
//!
//! Only what is sure becomes an SPDX identifier. Everything else keeps its own name as a `LicenseRef-`, with the
//! words that the package has for it.

mod debian;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::manifests::in_parallel;
use crate::{AuditError, Ecosystem, ImageView, Inventory, Package};

/// What a package says about its licence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Licence {
    /// A valid SPDX expression.
    pub expression: String,
    /// Each `LicenseRef-` in it with the text of that licence, or where there is none the name that it has in
    /// the package.
    pub references: BTreeMap<String, String>,
}

impl Licence {
    /// The licence of each package of the inventory, in its order; none where nothing is known. Debian packages
    /// have theirs in `/usr/share/doc/PACKAGE/copyright`, links followed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of_packages(view: &ImageView, inventory: &Inventory) -> Result<Vec<Option<Self>>, AuditError> {
        in_parallel(inventory.packages(), |package| Self::of(view, package))
    }

    fn of(view: &ImageView, package: &Package) -> Result<Option<Self>, AuditError> {
        match package.ecosystem {
            Ecosystem::Deb => match debian::licence(view, package)? {
                Some(licence) => Ok(Some(licence)),
                None => Ok(package.licence.as_deref().and_then(Self::declared)),
            },
            _ => Ok(package.licence.as_deref().and_then(Self::declared)),
        }
    }

    /// Reads a Debian package's copyright file; none when it tells nothing that can be understood.
    #[must_use]
    pub fn of_copyright(text: &str) -> Option<Self> {
        debian::read(text)
    }

    /// Reads what a manifest says: an SPDX expression, a well-known name or address, or anything.
    #[must_use]
    pub fn declared(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || matches!(text, "UNLICENSED" | "UNKNOWN" | "NONE" | "NOASSERTION") {
            return None;
        }
        if let Some(expression) = names::expression(text) {
            return Some(Self {
                expression,
                references: BTreeMap::new(),
            });
        }
        let mut terms = Terms::default();
        let alternatives: Vec<String> = text.split(" OR ").map(|part| terms.named(part, None)).collect();
        Some(terms.finish(&alternatives.join(" OR ")))
    }
}

/// Collects the terms of an expression.
#[derive(Debug, Default)]
struct Terms {
    references: BTreeMap<String, String>,
}

impl Terms {
    /// The identifier of a licence that has this name; `text` is what it says.
    fn named(&mut self, name: &str, text: Option<&str>) -> String {
        let name = name.trim();
        if let Some(id) = names::identifier(name) {
            return id;
        }
        let own = name.strip_prefix("LicenseRef-").unwrap_or(name);
        let reference = format!("LicenseRef-{}", names::slug(own));
        let text = text.map_or(name, str::trim);
        self.references
            .entry(reference.clone())
            .or_insert_with(|| text.to_owned());
        reference
    }

    fn finish(self, expression: &str) -> Licence {
        Licence {
            expression: expression.to_owned(),
            references: self.references,
        }
    }
}

/// All of `expressions` together; each that has an `OR` in it gets parentheses.
fn all_of(expressions: &BTreeSet<String>) -> String {
    if let [only] = expressions.iter().collect::<Vec<_>>().as_slice() {
        return (*only).clone();
    }
    let parts = expressions.iter().map(|expression| {
        if expression.contains(" OR ") && !is_in_parentheses(expression) {
            format!("({expression})")
        } else {
            expression.clone()
        }
    });
    parts.collect::<Vec<_>>().join(" AND ")
}

/// Whether the first parenthesis is closed by the last one.
fn is_in_parentheses(expression: &str) -> bool {
    let mut depth = 0_usize;
    for (at, letter) in expression.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at > 0 && at + 1 == expression.len();
        }
    }
    false
}
