//! What an image is audited for.
//!
//! [`audit`] looks at every path of an [`ImageView`] once; contents are read by one thread a core, and only where a
//! rule needs them: the start of programs, small programs whole (for a BusyBox under another name), small files
//! that no package owns (for keys). A finding is made once for a file, whatever number of names it has.

mod accounts;
mod batches;
mod catalog;
mod certificates;
mod command;
mod config;
mod contents;
mod leftovers;
mod libraries;
mod links;
mod names;
mod packages;
mod permissions;
mod programs;
mod runtime;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub use catalog::{RULES, Rule, rule};

use self::contents::Contents;
use crate::{AuditError, Entry, Finding, ImageView, Instruction, Inventory, printable_path};

/// Everything that the rules find in an image, before any policy: by rule in the order of [`RULES`], then by path.
/// `now` is the present time in seconds since 1970.
///
/// # Errors
/// When a file of the image cannot be read.
pub fn audit(view: &ImageView, inventory: &Inventory, now: i64) -> Result<Vec<Finding>, AuditError> {
    let image = Image {
        view,
        inventory,
        contents: contents::read(view, inventory)?,
        now,
    };
    let mut found = Vec::new();
    programs::check(&image, &mut found);
    permissions::check(&image, &mut found)?;
    secrets::check(&image, &mut found)?;
    links::check(&image, &mut found);
    libraries::check(&image, &mut found)?;
    accounts::check(&image, &mut found)?;
    runtime::check(&image, &mut found)?;
    certificates::check(&image, &mut found)?;
    config::check(&image, &mut found);
    packages::check(&image, &mut found)?;
    leftovers::check(&image, &mut found);
    let place: HashMap<&str, usize> = RULES.iter().enumerate().map(|(at, rule)| (rule.id, at)).collect();
    found.sort_by(|a, b| {
        let key = |finding: &Finding| place.get(finding.id).copied();
        (key(a), &a.path, a.layer).cmp(&(key(b), &b.path, b.layer))
    });
    Ok(found)
}

/// An image with what was read of it.
struct Image<'v> {
    view: &'v ImageView,
    inventory: &'v Inventory,
    contents: Contents,
    /// Seconds since 1970.
    now: i64,
}

impl Rule {
    /// A finding about a file.
    fn at(&self, image: &Image<'_>, entry: &Entry, message: impl Into<String>) -> Finding {
        self.about(message).at(image.view, entry)
    }

    /// A finding about no file.
    fn about(&self, message: impl Into<String>) -> Finding {
        Finding::new(self.id, self.severity, message).fix(self.fix)
    }

    /// A finding about what should be at `path`. The layer is the one that removed it, if one did.
    fn missing(&self, image: &Image<'_>, path: &str, message: impl Into<String>) -> Finding {
        let mut finding = self.about(message);
        finding.path = Some(path.into());
        let mut hidden = image.view.hidden().iter().rev();
        let remover = hidden.find(|hidden| hidden.removed && hidden.path == Path::new(path));
        if let Some(hidden) = remover {
            finding.layer = Some(hidden.by);
            finding.instruction = image.instruction(hidden.by);
        }
        finding
    }

    /// A finding about a part of the config, which the instruction named `keyword` sets.
    fn of_config(&self, image: &Image<'_>, keyword: &str, message: impl Into<String>) -> Finding {
        let mut finding = self.about(message);
        let prefix = format!("{keyword} ");
        let mut history = image.view.config().history.iter().rev();
        finding.instruction = history.find_map(|entry| {
            Some(Instruction::parse(&entry.created_by)).filter(|found| found.as_str().starts_with(&prefix))
        });
        finding
    }
}

impl Image<'_> {
    fn instruction(&self, layer: usize) -> Option<Instruction> {
        self.view.layers().get(layer)?.instruction.clone()
    }

    /// `, of package NAME VERSION` where one owns the file.
    fn owner_text(&self, entry: &Entry) -> String {
        match self.inventory.owner(&entry.path) {
            Some(package) => format!(", of package `{}`", crate::printable_text(&package.name)),
            None => String::new(),
        }
    }
}

/// Name of a file without its directory.
fn file_name(entry: &Entry) -> &[u8] {
    entry.path.file_name().map_or(b"", |name| name.as_bytes())
}

/// Whether anybody may execute it, and it is a regular file.
fn is_executable(entry: &Entry) -> bool {
    entry.node.kind.is_file() && entry.node.mode & 0o111 != 0
}

/// A path in backticks, safe to print.
fn quoted(path: &Path) -> String {
    format!("`{}`", printable_path(path))
}
