//! Reading the values of mappings, with errors that say where and what.

use distil_oci::Digest;

use super::error::{Place, RecipeError};
use super::yaml::{Entry, Node, Value};
use crate::nearest;

/// Which mapping of which file is read, for errors.
#[derive(Debug, Clone)]
pub(crate) struct Section<'a> {
    file: &'a str,
    /// Keys from the top: `variants.debug.files`; empty for the top itself.
    path: String,
}

impl<'a> Section<'a> {
    pub(crate) fn top(file: &'a str) -> Section<'a> {
        Section {
            file,
            path: String::new(),
        }
    }

    /// The section of a key of this one.
    pub(crate) fn inside(&self, key: &str) -> Section<'a> {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Section {
            file: self.file,
            path,
        }
    }

    fn shown(&self) -> String {
        if self.path.is_empty() {
            "the recipe".to_owned()
        } else {
            format!("`{}`", self.path)
        }
    }

    pub(crate) fn place(&self, line: usize) -> Place {
        Place {
            file: self.file.to_owned(),
            line,
        }
    }

    /// An error about the value of this section.
    pub(crate) fn wrong(&self, node: &Node, expected: &str) -> RecipeError {
        self.refuse(node.line, &node.shown(), &format!("expected {expected}"))
    }

    pub(crate) fn refuse(&self, line: usize, value: &str, expected: &str) -> RecipeError {
        RecipeError::Value {
            place: self.place(line),
            key: self.path.clone(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }

    pub(crate) fn map<'n>(&self, node: &'n Node) -> Result<&'n [Entry], RecipeError> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            _ if node.is_null() => Ok(&[]),
            _ => Err(self.wrong(node, "a mapping")),
        }
    }

    /// Each item with `read`; a single value counts as a list of it.
    pub(crate) fn list<T>(
        &self,
        node: &Node,
        read: impl Fn(&Section<'a>, &Node) -> Result<T, RecipeError>,
    ) -> Result<Vec<T>, RecipeError> {
        match &node.value {
            Value::List(items) => all(items.iter().map(|item| read(self, item))),
            _ if node.is_null() => Ok(Vec::new()),
            _ => Err(self.wrong(node, "a list")),
        }
    }

    /// As [`Section::list`], with the line of each item.
    pub(crate) fn lined<T>(
        &self,
        node: &Node,
        read: impl Fn(&Section<'a>, &Node) -> Result<T, RecipeError>,
    ) -> Result<Vec<Lined<T>>, RecipeError> {
        self.list(node, |section, node| {
            Ok(Lined {
                line: node.line,
                value: read(section, node)?,
            })
        })
    }

    pub(crate) fn text(&self, node: &Node) -> Result<String, RecipeError> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => Ok(text.clone()),
            _ if node.is_null() => Err(self.refuse(node.line, "", "expected a text")),
            _ => Err(self.wrong(node, "a text")),
        }
    }

    pub(crate) fn number(&self, node: &Node) -> Result<u64, RecipeError> {
        let text = self.text(node)?;
        text.parse().map_err(|_| self.wrong(node, "a whole number"))
    }

    /// A user or group number. The highest stands for "no change" in system calls.
    pub(crate) fn id(&self, node: &Node) -> Result<u32, RecipeError> {
        match self.text(node)?.parse() {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(self.wrong(node, "a number from 0 to 4294967294")),
        }
    }

    /// Permission bits in octal: `0755`, `"1777"`.
    pub(crate) fn mode(&self, node: &Node) -> Result<u32, RecipeError> {
        let text = self.text(node)?;
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if mode <= 0o7777 && digits.len() >= 3 => Ok(mode),
            _ => Err(self.wrong(node, "permission bits in octal, `0755`")),
        }
    }

    pub(crate) fn sha256(&self, node: &Node) -> Result<Digest, RecipeError> {
        let text = self.text(node)?;
        let hex = text.strip_prefix("sha256:").unwrap_or(&text);
        Digest::from_hex(hex).map_err(|_| self.wrong(node, "a sha256: 64 hexadecimal digits"))
    }

    /// One of `words`.
    pub(crate) fn word<T: Copy>(&self, node: &Node, words: &[(&str, T)]) -> Result<T, RecipeError> {
        let text = self.text(node)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(self.refuse(
                node.line,
                &text,
                &hint(&text, words.iter().map(|(word, _)| *word)),
            )),
        }
    }

    /// A key that is one of `words`.
    pub(crate) fn key<T: Copy>(&self, entry: &Entry, words: &[(&str, T)]) -> Result<T, RecipeError> {
        match words.iter().find(|(word, _)| *word == entry.key) {
            Some((_, value)) => Ok(*value),
            None => Err(self.unknown_key(entry, words.iter().map(|(word, _)| *word))),
        }
    }

    fn unknown_key<'w>(&self, entry: &Entry, known: impl Iterator<Item = &'w str> + Clone) -> RecipeError {
        RecipeError::UnknownKey {
            place: self.place(entry.line),
            key: entry.key.clone(),
            section: self.shown(),
            hint: hint(&entry.key, known),
        }
    }

    /// Texts by name, in the order of the file.
    pub(crate) fn texts_by_name(&self, node: &Node) -> Result<Vec<(String, String)>, RecipeError> {
        let pairs = self.map(node)?.iter().map(|entry| {
            let inside = self.inside(&entry.key);
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                return Err(self.refuse(entry.line, &entry.key, "expected a name without `=`"));
            }
            let text = match &entry.node.value {
                Value::Scalar { text, plain: false } => text.clone(),
                _ => inside.text(&entry.node)?,
            };
            Ok((entry.key.clone(), text))
        });
        all(pairs)
    }

    /// A path in the image.
    pub(crate) fn absolute(&self, path: &str, line: usize) -> Result<String, RecipeError> {
        let parts = path.strip_prefix('/').unwrap_or("").split('/');
        let usable = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if path.starts_with('/') && parts.clone().all(usable) {
            Ok(path.to_owned())
        } else {
            Err(self.refuse(
                line,
                path,
                "expected an absolute path without `.`, `..` and doubled slashes",
            ))
        }
    }
}

/// A path in the image; `/` alone is one too.
pub(crate) fn absolute_path(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let path = section.text(node)?;
    if path == "/" {
        return Ok(path);
    }
    section.absolute(&path, node.line)
}

/// What may have been meant, or all that there is.
fn hint<'w>(word: &str, known: impl Iterator<Item = &'w str> + Clone) -> String {
    if let Some(near) = nearest::of(word, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<String> = known.map(|word| format!("`{word}`")).collect();
    format!("known are {}", all.join(", "))
}

/// What stands at a line of the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lined<T> {
    pub(crate) line: usize,
    pub(crate) value: T,
}

/// All values, or all faults.
pub(crate) fn all<T>(results: impl Iterator<Item = Result<T, RecipeError>>) -> Result<Vec<T>, RecipeError> {
    let mut faults = Vec::new();
    let values: Vec<T> = results
        .filter_map(|result| result.map_err(|fault| faults.push(fault)).ok())
        .collect();
    RecipeError::of(faults).map_or(Ok(values), Err)
}

/// The entries of a mapping, taken one by one so that what nobody takes is noticed. Faults are gathered:
/// [`Fields::finish`] tells them, and no value counts before it has said that there are none.
pub(crate) struct Fields<'a> {
    section: Section<'a>,
    line: usize,
    left: Vec<Entry>,
    faults: Vec<RecipeError>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(section: &Section<'a>, node: &Node) -> Result<Fields<'a>, RecipeError> {
        Ok(Fields {
            section: section.clone(),
            line: node.line,
            left: section.map(node)?.to_vec(),
            faults: Vec::new(),
        })
    }

    pub(crate) fn section(&self) -> &Section<'a> {
        &self.section
    }

    /// The line of a key, or of the mapping when it has none.
    pub(crate) fn line_of(&self, key: &str) -> usize {
        let entry = self.left.iter().find(|entry| entry.key == key);
        entry.map_or(self.line, |entry| entry.line)
    }

    /// Whether the mapping has a key that nobody took.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|entry| entry.key == key)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.left.iter().position(|entry| entry.key == key)?;
        Some(self.left.remove(at).node)
    }

    /// Notes what is wrong, to go on.
    pub(crate) fn note(&mut self, faults: impl IntoIterator<Item = RecipeError>) {
        self.faults.extend(faults);
    }

    /// `None` without the key, and with a value that it cannot have.
    pub(crate) fn optional<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Section<'a>, &Node) -> Result<T, RecipeError>,
    ) -> Option<T> {
        let inside = self.section.inside(key);
        let node = self.take(key)?;
        read(&inside, &node).map_err(|fault| self.note([fault])).ok()
    }

    /// The empty value without the key, and with a value that it cannot have.
    pub(crate) fn required<T: Default>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Section<'a>, &Node) -> Result<T, RecipeError>,
    ) -> T {
        if !self.has(key) {
            self.note([RecipeError::MissingKey {
                place: self.section.place(self.line),
                section: self.section.shown(),
                key,
            }]);
        }
        self.optional(key, read).unwrap_or_default()
    }

    /// Gives `value` when nothing was wrong and all entries were taken; `known` are all keys that there are.
    pub(crate) fn finish<T>(mut self, known: &[&str], value: T) -> Result<T, RecipeError> {
        let unknown = |entry| self.section.unknown_key(entry, known.iter().copied());
        self.faults.extend(self.left.iter().map(unknown));
        RecipeError::of(self.faults).map_or(Ok(value), Err)
    }
}
