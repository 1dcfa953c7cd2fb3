//! Python: `pyproject.toml`, `requirements.txt` and the like.

use std::path::Path;

use super::{AdviseError, Found, Need, Versions, malformed, read_text};

/// Files that only Python projects have, besides `pyproject.toml`.
const MARKS: [&str; 5] = [
    "requirements.txt",
    "setup.py",
    "setup.cfg",
    "Pipfile",
    "manage.py",
];

/// Files that are started, the first that is there.
const STARTED: [&str; 5] = ["main.py", "app.py", "manage.py", "server.py", "__main__.py"];

/// Packages that load a library which their wheels do not bring, and the Debian package that has it.
const LIBRARIES: &[(&str, &str)] = &[
    ("mysqlclient", "libmariadb3"),
    ("psycopg", "libpq5"),
    ("psycopg2", "libpq5"),
    ("pyodbc", "libodbc2"),
    ("python-magic", "libmagic1"),
    ("weasyprint", "libpangoft2-1.0-0"),
];

/// Looks for a Python project.
pub(super) fn project(folder: &Path) -> Result<Option<Found>, AdviseError> {
    let path = folder.join("pyproject.toml");
    let mut texts = Vec::new();
    let mut required = None;
    if let Some(text) = read_text(&path)? {
        let project: toml::Value =
            toml::from_str(&text).map_err(|error| malformed(&path, &error.message()))?;
        required = requires_python(&project).map(|text| (text, "pyproject.toml"));
        texts.push(text);
    }
    for name in MARKS {
        texts.extend(read_text(&folder.join(name))?);
    }
    if texts.is_empty() {
        return Ok(None);
    }
    if required.is_none() {
        required = elsewhere(folder)?;
    }
    let (versions, why) = match required {
        Some((text, file)) => {
            let wrong = || malformed(&folder.join(file), &format!("`{text}` is no version of Python 3"));
            let why = format!("`{file}` asks for Python `{text}`");
            (Versions::python(&text).ok_or_else(wrong)?, why)
        }
        None => (
            Versions::any(),
            "the project is one of Python and names no version".to_owned(),
        ),
    };
    let started = STARTED
        .iter()
        .find(|name| folder.join(name).is_file())
        .unwrap_or(&"main.py");
    let mut notes =
        vec!["`build` is a stage of the same Debian release that has the project in `/app`, and its packages from \
              `pip install --target /app`"
            .to_owned()];
    for (package, library) in LIBRARIES {
        if texts.iter().any(|text| names(text, package)) {
            notes.push(format!("`{package}` loads a library of Debian's `{library}`: add `COPY --from=deb:SUITE/{library} / /`"));
        }
    }
    Ok(Some(Found {
        need: Need::Python(versions),
        copy: "--from=build /app /app".to_owned(),
        start: format!("CMD [\"/app/{started}\"]"),
        why: vec![why],
        notes,
    }))
}

/// `requires-python`, or Poetry's dependency on Python.
fn requires_python(project: &toml::Value) -> Option<String> {
    let standard = project
        .get("project")
        .and_then(|table| table.get("requires-python"));
    let poetry = || {
        project
            .get("tool")?
            .get("poetry")?
            .get("dependencies")?
            .get("python")
    };
    standard.or_else(poetry)?.as_str().map(str::to_owned)
}

/// A version that other files name.
fn elsewhere(folder: &Path) -> Result<Option<(String, &'static str)>, AdviseError> {
    for (file, key) in [
        ("Pipfile", "python_version"),
        ("setup.cfg", "python_requires"),
        ("setup.py", "python_requires"),
    ] {
        let text = read_text(&folder.join(file))?.unwrap_or_default();
        let value = text.split_once(key).and_then(|(_, rest)| {
            let rest = rest.trim_start().strip_prefix('=')?.trim_start();
            let end = |quote| rest[1..].find(quote).map(|end| &rest[1..=end]);
            match rest.chars().next()? {
                quote @ ('"' | '\'') => end(quote),
                _ => rest.lines().next(),
            }
        });
        if let Some(value) = value {
            return Ok(Some((value.trim().to_owned(), file)));
        }
    }
    for file in [".python-version", "runtime.txt"] {
        let text = read_text(&folder.join(file))?.unwrap_or_default();
        let value = text.lines().next().unwrap_or_default().trim();
        let value = value.strip_prefix("python-").unwrap_or(value);
        if value.starts_with("3.") {
            return Ok(Some((value.to_owned(), file)));
        }
    }
    Ok(None)
}

/// Whether a list of requirements names a package.
fn names(text: &str, package: &str) -> bool {
    let is_end = |next: Option<char>| {
        next.is_none_or(|next| !next.is_ascii_alphanumeric() && next != '-' && next != '_')
    };
    let lower = text.to_lowercase();
    lower.match_indices(package).any(|(at, _)| {
        is_end(lower[..at].chars().next_back()) && is_end(lower[at + package.len()..].chars().next())
    })
}
