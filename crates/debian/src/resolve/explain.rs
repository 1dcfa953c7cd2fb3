//! Why packages cannot be installed together, in sentences.
//!
//! Only what every solution must have is looked at: the packages asked for, and
//! what they need where there is no choice. That explains nearly all real cases;
//! for the others the solver's own account has to do.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::Universe;
use crate::index::{IndexError, PackageId};
use crate::relation::Relation;

/// Findings beyond these only repeat the first ones.
const SHOWN: usize = 5;

/// Explains what stands against `wanted`; nothing when it takes more than looking
/// at what is needed in any case.
pub(super) fn explain(universe: &Universe<'_>, wanted: &[&str]) -> Result<Option<String>, IndexError> {
    let mut forced = Forced {
        universe,
        needed_by: BTreeMap::new(),
        queue: VecDeque::new(),
    };
    for name in wanted {
        let relation = Relation {
            name,
            architecture: None,
            version: None,
        };
        if let [only] = universe.choices(&relation)?[..] {
            forced.add(only, None);
        }
    }
    let mut findings = forced.follow()?;
    findings.extend(forced.conflicts()?);
    findings.truncate(SHOWN);
    Ok((!findings.is_empty()).then(|| findings.join("\n")))
}

struct Forced<'a, 'b> {
    universe: &'b Universe<'a>,
    /// What cannot be missing, with who needs it; nobody for what is asked for.
    needed_by: BTreeMap<PackageId, Option<PackageId>>,
    queue: VecDeque<PackageId>,
}

impl Forced<'_, '_> {
    fn add(&mut self, id: PackageId, parent: Option<PackageId>) {
        if let Entry::Vacant(entry) = self.needed_by.entry(id) {
            entry.insert(parent);
            self.queue.push_back(id);
        }
    }

    /// Adds what is needed without a choice, and tells what cannot be had at all.
    fn follow(&mut self) -> Result<Vec<String>, IndexError> {
        let mut findings = Vec::new();
        while let Some(id) = self.queue.pop_front() {
            let universe = self.universe;
            for group in universe.index.package(id).depends()? {
                let mut choices = Vec::new();
                for one in &group {
                    choices.extend(universe.choices(one)?);
                }
                choices.sort_unstable();
                choices.dedup();
                match choices[..] {
                    [] => findings.push(self.unmet(id, &group)?),
                    [only] => self.add(only, Some(id)),
                    _ => {}
                }
            }
        }
        Ok(findings)
    }

    fn unmet(&self, id: PackageId, group: &[Relation<'_>]) -> Result<String, IndexError> {
        let index = self.universe.index;
        let needed: Vec<String> = group.iter().map(|one| format!("`{one}`")).collect();
        let mut there = Vec::new();
        for one in group {
            if let Some(id) = index.find(one.name)? {
                let package = index.package(id);
                there.push(format!("`{}` is there as {}", package.name(), package.version()));
            }
        }
        let there = if there.is_empty() {
            "which no suite has".to_owned()
        } else {
            format!("but {}", there.join(", "))
        };
        Ok(format!(
            "{} needs {}, {there}{}",
            self.shown(id),
            needed.join(" or "),
            self.reason(id)
        ))
    }

    /// Pairs that exclude each other.
    fn conflicts(&self) -> Result<Vec<String>, IndexError> {
        let mut findings = Vec::new();
        for id in self.needed_by.keys() {
            for conflict in self.universe.index.package(*id).conflicts()? {
                for other in self.universe.choices(&conflict)? {
                    if other != *id && self.needed_by.contains_key(&other) {
                        findings.push(format!(
                            "{} excludes `{conflict}`, and so {}{}{}",
                            self.shown(*id),
                            self.shown(other),
                            self.reason(*id),
                            self.reason(other)
                        ));
                    }
                }
            }
        }
        Ok(findings)
    }

    fn shown(&self, id: PackageId) -> String {
        let package = self.universe.index.package(id);
        format!("`{}` {}", package.name(), package.version())
    }

    /// How a package comes in: `; `lib` is needed by `app`, which is asked for`.
    fn reason(&self, id: PackageId) -> String {
        let name = |id: PackageId| self.universe.index.package(id).name();
        let mut text = format!("; `{}` is ", name(id));
        let mut at = id;
        // A chain never meets a package twice, since each is added once.
        while let Some(Some(parent)) = self.needed_by.get(&at) {
            text.push_str(&format!("needed by `{}`, which is ", name(*parent)));
            at = *parent;
        }
        text + "asked for"
    }
}
