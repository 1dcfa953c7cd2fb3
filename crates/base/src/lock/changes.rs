//! What differs between two lockfiles.

use std::collections::{BTreeMap, BTreeSet};

use super::{LockedPackage, Lockfile};

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A package.
    Package,
    /// An archive from elsewhere.
    Input,
    /// The recipe of an image, whatever it changed; there are no versions.
    Recipe,
    /// An image that only one of them holds; there are no versions.
    Image,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Version before; `None` for something new.
    pub old: Option<String>,
    /// Version afterwards; `None` for something that is gone.
    pub new: Option<String>,
    /// The suite that the new version comes from, or the old one when it is gone.
    pub suite: String,
    /// Debian's names of the architectures it holds for, sorted.
    pub architectures: Vec<String>,
}

impl Change {
    /// Whether the new version comes from a security suite.
    #[must_use]
    pub fn is_security(&self) -> bool {
        self.suite.ends_with("-security") && self.new.is_some()
    }
}

/// What decides a line of the list; the architectures are gathered.
type Key = (bool, Subject, String, String, Option<String>, Option<String>);

impl Lockfile {
    /// The differences from this lockfile to `new`: what comes from security suites
    /// first, then packages, inputs, recipes and images, each by name. A package that
    /// was rebuilt under the same version counts as changed.
    #[must_use]
    pub fn changes(&self, new: &Lockfile) -> Vec<Change> {
        let mut found: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        let mut add = |change: Change, architecture: &str| {
            let key = (
                !change.is_security(),
                change.subject,
                change.name,
                change.suite,
                change.old,
                change.new,
            );
            found.entry(key).or_default().insert(architecture.to_owned());
        };
        for (name, architecture) in names(self).union(&names(new)) {
            compare_images(self, new, name, architecture, &mut add);
        }
        let change = |((_, subject, name, suite, old, new), architectures): (Key, BTreeSet<String>)| Change {
            subject,
            name,
            old,
            new,
            suite,
            architectures: architectures.into_iter().collect(),
        };
        found.into_iter().map(change).collect()
    }
}

fn names(lockfile: &Lockfile) -> BTreeSet<(String, String)> {
    let images = lockfile.images.iter();
    images
        .map(|image| (image.name.clone(), image.architecture.clone()))
        .collect()
}

fn compare_images(
    old: &Lockfile,
    new: &Lockfile,
    name: &str,
    architecture: &str,
    add: &mut dyn FnMut(Change, &str),
) {
    let plain = |subject, old: Option<&str>, new: Option<&str>| Change {
        subject,
        name: name.to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        suite: String::new(),
        architectures: Vec::new(),
    };
    let (before, after) = match (old.image(name, architecture), new.image(name, architecture)) {
        (Ok(before), Ok(after)) => (before, after),
        (Ok(_), _) => return add(plain(Subject::Image, Some("locked"), None), architecture),
        (_, after) => {
            if after.is_ok() {
                add(plain(Subject::Image, None, Some("locked")), architecture);
            }
            return;
        }
    };
    if before.spec != after.spec {
        add(plain(Subject::Recipe, None, None), architecture);
    }
    let inputs = |image: &super::LockedImage| -> BTreeMap<String, String> {
        let inputs = image.inputs.iter();
        inputs
            .map(|input| (input.name.clone(), input.version.clone()))
            .collect()
    };
    let (old_inputs, new_inputs) = (inputs(before), inputs(after));
    for input in keys(&old_inputs, &new_inputs) {
        let (old, new) = (old_inputs.get(input), new_inputs.get(input));
        if old != new {
            let change = Change {
                name: input.clone(),
                ..plain(Subject::Input, old.map(String::as_str), new.map(String::as_str))
            };
            add(change, architecture);
        }
    }
    let (old_files, new_files) = (files(old, before), files(new, after));
    for package in keys(&old_files, &new_files) {
        if let Some(change) = package_change(old_files.get(package), new_files.get(package)) {
            add(change, architecture);
        }
    }
}

fn keys<'a, V>(old: &'a BTreeMap<String, V>, new: &'a BTreeMap<String, V>) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).collect()
}

fn files<'a>(lockfile: &'a Lockfile, image: &super::LockedImage) -> BTreeMap<String, &'a LockedPackage> {
    let uses = image.packages.iter();
    uses.filter_map(|one| {
        let package = lockfile.package(one, &image.architecture)?;
        Some((one.name.clone(), package))
    })
    .collect()
}

fn package_change(old: Option<&&LockedPackage>, new: Option<&&LockedPackage>) -> Option<Change> {
    let same = |a: &LockedPackage, b: &LockedPackage| a.version == b.version && a.sha256 == b.sha256;
    if let (Some(old), Some(new)) = (old, new)
        && same(old, new)
    {
        return None;
    }
    let one = new.or(old)?;
    Some(Change {
        subject: Subject::Package,
        name: one.name.clone(),
        old: old.map(|package| package.version.clone()),
        new: new.map(|package| package.version.clone()),
        suite: one.suite.clone(),
        architectures: Vec::new(),
    })
}
