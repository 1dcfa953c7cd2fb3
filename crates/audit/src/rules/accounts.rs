//! Accounts, home and temporary files of the user that the image runs as.

use std::path::Path;

use super::catalog::{ACCOUNTS, HOME_DIRECTORY, TMP_DIRECTORY};
use super::{Image, quoted};
use crate::{AuditError, Finding, printable_text};

/// Largest account file that is read.
const LIMIT: u64 = 4 << 20;

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let users = lines(image, "/etc/passwd", found)?;
    let groups = lines(image, "/etc/group", found)?;
    let config = image.view.config();
    let user = config.config.user.as_str();
    let (name, group) = user
        .split_once(':')
        .map_or((user, None), |(name, group)| (name, Some(group)));
    let name = if name.is_empty() { "0" } else { name };
    if let Some(users) = &users {
        match users.iter().find(|line| is_of(line, name)) {
            Some(line) => home(image, line, found),
            None => {
                let message = format!("the user `{}` is not in `/etc/passwd`", printable_text(name));
                found.push(ACCOUNTS.of_config(image, "USER", message));
            }
        }
    }
    if let (Some(groups), Some(group)) = (&groups, group.filter(|group| !group.is_empty()))
        && !groups.iter().any(|line| is_of(line, group))
    {
        let message = format!("the group `{}` is not in `/etc/group`", printable_text(group));
        found.push(ACCOUNTS.of_config(image, "USER", message));
    }
    temporary(image, found);
    Ok(())
}

/// The lines of an account file; a finding when there is none.
fn lines(image: &Image<'_>, path: &str, found: &mut Vec<Finding>) -> Result<Option<Vec<String>>, AuditError> {
    let entry = image.view.find(Path::new(path), true);
    let Some(entry) = entry.filter(|entry| entry.node.kind.is_file()) else {
        found.push(ACCOUNTS.missing(image, path, format!("there is no `{path}`")));
        return Ok(None);
    };
    let bytes = image.view.read_start(entry, LIMIT)?;
    Ok(Some(
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect(),
    ))
}

/// Whether a line is that of a user or group by name or number.
fn is_of(line: &str, wanted: &str) -> bool {
    let mut fields = line.split(':');
    let (name, number) = (fields.next(), fields.nth(1));
    name == Some(wanted) || number == Some(wanted)
}

fn home(image: &Image<'_>, line: &str, found: &mut Vec<Finding>) {
    let fields: Vec<&str> = line.split(':').collect();
    let (Some(uid), Some(home)) = (fields.get(2), fields.get(5).filter(|home| !home.is_empty())) else {
        return;
    };
    let Some(path) = image.view.resolve(Path::new(home), true) else {
        let message = format!(
            "the home `{}` of user {} is not there",
            printable_text(home),
            printable_text(uid)
        );
        found.push(HOME_DIRECTORY.missing(image, home, message));
        return;
    };
    let Some(entry) = image.view.get(&path) else {
        return;
    };
    if !entry.node.kind.is_dir() || entry.node.uid.to_string() != *uid {
        let message = format!(
            "the home {} of user {} belongs to user {}",
            quoted(&path),
            printable_text(uid),
            entry.node.uid
        );
        found.push(HOME_DIRECTORY.at(image, entry, message));
    }
}

fn temporary(image: &Image<'_>, found: &mut Vec<Finding>) {
    match image.view.find(Path::new("/tmp"), true) {
        None => found.push(TMP_DIRECTORY.missing(image, "/tmp", "there is no `/tmp`")),
        Some(entry) if !entry.node.kind.is_dir() || entry.node.mode & 0o7777 != 0o1777 => {
            let message = format!(
                "`/tmp` is not for everybody: its mode is {:04o} instead of 1777",
                entry.node.mode
            );
            found.push(TMP_DIRECTORY.at(image, entry, message));
        }
        Some(_) => {}
    }
}
