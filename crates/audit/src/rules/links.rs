//! Links that lead nowhere.

use std::path::{Path, PathBuf};

use super::catalog::DANGLING_LINK;
use super::{Image, quoted};
use crate::view::RealPaths;
use crate::{Entry, Finding, ImageView, printable};

/// What runtimes mount or write in every container.
const OF_THE_RUNTIME: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
const FILES_OF_THE_RUNTIME: [&str; 4] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"];

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) {
    let mut real = image.view.real_paths();
    for entry in image.view.entries() {
        let Some(target) = entry.target.as_ref() else {
            continue;
        };
        if leads_somewhere(image.view, &mut real, entry) {
            continue;
        }
        let path = quoted(&entry.path);
        let message = match circles(image.view, &mut real, entry) {
            true => format!("{path} leads to `{}` and back to itself", printable(target)),
            false => format!("{path} leads to `{}`, which is not there", printable(target)),
        };
        found.push(DANGLING_LINK.at(image, entry, message + &image.owner_text(entry)));
    }
}

/// Where one link leads, the links on the way to the last name followed.
fn step(real: &mut RealPaths<'_>, entry: &Entry) -> Option<PathBuf> {
    let target = Path::new(entry.target.as_ref()?);
    let path = entry.path.parent()?.join(target);
    // `..` after a link is where the link leads, so only plain paths are taken apart by text.
    match path.components().any(|part| part.as_os_str() == "..") {
        true => None,
        false => real.of(&path),
    }
}

fn leads_somewhere(view: &ImageView, real: &mut RealPaths<'_>, entry: &Entry) -> bool {
    // Most links need one look.
    let near = step(real, entry).and_then(|path| view.get(&path));
    if near.is_some_and(|near| near.target.is_none()) || view.resolve(&entry.path, true).is_some() {
        return true;
    }
    is_of_runtime(view, entry)
}

/// Whether a link leads, by others perhaps, to what the runtime brings.
fn is_of_runtime(view: &ImageView, entry: &Entry) -> bool {
    let mut at = entry;
    for _ in 0..40 {
        let Some(target) = at.target.as_ref() else {
            return false;
        };
        let Some(parent) = at.path.parent() else {
            return false;
        };
        let path = plain(&parent.join(target));
        let ours = |known: &&str| path.starts_with(known) && path != entry.path;
        if OF_THE_RUNTIME.iter().any(ours)
            || FILES_OF_THE_RUNTIME.iter().any(|known| path == Path::new(known))
        {
            return true;
        }
        match view.get(&path) {
            Some(next) => at = next,
            None => return false,
        }
    }
    false
}

/// Whether links lead back to the first one.
fn circles(view: &ImageView, real: &mut RealPaths<'_>, entry: &Entry) -> bool {
    let mut at = entry;
    for _ in 0..40 {
        let Some(target) = at.target.as_ref() else {
            return false;
        };
        let path = at.path.parent().map(|parent| plain(&parent.join(target)));
        let Some(next) = path.and_then(|path| view.get(&real.of(&path)?)) else {
            return false;
        };
        at = next;
    }
    true
}

/// A path without `.` and `..`, by its text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}
