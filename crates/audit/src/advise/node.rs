//! Node.js: `package.json`.

use std::path::Path;

use serde_json::Value;

use super::{AdviseError, Found, Need, Versions, malformed, read_text};

/// Files that pin a version for developers.
const PINS: [&str; 2] = [".nvmrc", ".node-version"];

/// Looks for a project of Node.js.
pub(super) fn project(folder: &Path) -> Result<Option<Found>, AdviseError> {
    let path = folder.join("package.json");
    let Some(text) = read_text(&path)? else {
        return Ok(None);
    };
    let package: Value = serde_json::from_str(&text).map_err(|error| malformed(&path, &error))?;
    let mut why = Vec::new();
    let versions = match package["engines"]["node"].as_str() {
        Some(range) => {
            why.push(format!("`package.json` asks for Node.js `{range}`"));
            let wrong = || {
                malformed(
                    &path,
                    &format!("`engines.node` is `{range}`, which is no range of versions"),
                )
            };
            Versions::npm(range).ok_or_else(wrong)?
        }
        None => pinned(folder, &mut why)?,
    };
    let main = started(&package).unwrap_or_else(|| "index.js".to_owned());
    let mut notes = vec!["`build` is the stage in which `npm ci --omit=dev` was run in `/app`".to_owned()];
    if folder.join("binding.gyp").exists() {
        notes.push("the addon has to be built with the same major version of Node.js".to_owned());
    }
    Ok(Some(Found {
        need: Need::Node(versions),
        copy: "--from=build /app /app".to_owned(),
        start: format!("CMD [\"/app/{main}\"]"),
        why,
        notes,
    }))
}

fn pinned(folder: &Path, why: &mut Vec<String>) -> Result<Versions, AdviseError> {
    for name in PINS {
        let Some(text) = read_text(&folder.join(name))? else {
            continue;
        };
        // Names such as `lts/iron` say nothing that can be compared.
        if let Some(versions) = Versions::npm(text.trim()) {
            why.push(format!("`{name}` pins Node.js `{}`", text.trim()));
            return Ok(versions);
        }
    }
    why.push("`package.json` is a project of Node.js that names no version".to_owned());
    Ok(Versions::any())
}

/// The file that is started: that of `npm start` where it is plain, else `main`.
fn started(package: &Value) -> Option<String> {
    let script = package["scripts"]["start"].as_str().unwrap_or_default();
    let words: Vec<&str> = script.split_whitespace().collect();
    let file = match words.as_slice() {
        ["node", .., last] if !last.starts_with('-') => Some(*last),
        _ => package["main"].as_str(),
    };
    file.map(|file| file.trim_start_matches("./").to_owned())
}
