//! `.note.dlopen`: what a file says that it may load while it runs.
//!
//! The format is the UAPI group's "ELF dlopen() metadata": owner `FDO`, type 0x407c0c0a, a JSON array of objects
//! with `soname` (alternatives, best first), `feature`, `description` and `priority`.

use serde_json::Value;

use crate::read::Numbers;

const TYPE: u32 = 0x407c_0c0a;

/// How much the file needs what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// It fails without.
    Required,
    /// Something that most want is missing without (the default).
    Recommended,
    /// Something that few want is missing without.
    Suggested,
}

impl Priority {
    /// The word in the note.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Required => "required",
            Priority::Recommended => "recommended",
            Priority::Suggested => "suggested",
        }
    }
}

/// One thing that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DlopenNote {
    /// Names of libraries, any of which will do, best first; never empty.
    pub sonames: Vec<String>,
    /// What it is for, one word; may be empty.
    pub feature: String,
    /// How much it is needed.
    pub priority: Priority,
}

/// Adds what the notes in `numbers` say. Damaged ones are passed over: nothing depends on them.
pub(crate) fn collect(numbers: Numbers<'_>, found: &mut Vec<DlopenNote>) {
    let mut at = 0usize;
    while let (Some(name), Some(size), Some(kind)) =
        (numbers.u32(at), numbers.u32(at + 4), numbers.u32(at + 8))
    {
        let name_start = at + 12;
        let start = name_start + padded(name);
        if kind == TYPE
            && numbers.bytes.get(name_start..name_start + name as usize) == Some(b"FDO\0")
            && let Some(text) = numbers.bytes.get(start..start + size as usize)
        {
            parse(text, found);
        }
        at = start + padded(size);
    }
}

fn padded(size: u32) -> usize {
    (size as usize).next_multiple_of(4)
}

fn parse(text: &[u8], found: &mut Vec<DlopenNote>) {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let Ok(Value::Array(items)) = serde_json::from_slice(&text[..end]) else {
        return;
    };
    for item in items {
        let names = item["soname"].as_array().into_iter().flatten();
        let sonames: Vec<String> = names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        if sonames.is_empty() {
            continue;
        }
        found.push(DlopenNote {
            sonames,
            feature: item["feature"].as_str().unwrap_or_default().to_owned(),
            priority: match item["priority"].as_str() {
                Some("required") => Priority::Required,
                Some("suggested") => Priority::Suggested,
                _ => Priority::Recommended,
            },
        });
    }
}
