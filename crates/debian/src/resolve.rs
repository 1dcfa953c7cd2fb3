//! Which packages must be installed together.
//!
//! Models what `apt-get --no-install-recommends` does on an empty system: of
//! every package only the newest version is a candidate, alternatives are tried
//! in their order, and a virtual package by the priority of its providers.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, Dependencies, DependencyProvider, Interner, KnownDependencies,
    NameId, Problem, Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled,
    VersionSetId, VersionSetUnionId,
};
use thiserror::Error;

use crate::index::{IndexError, Package, PackageId, PackageIndex};
use crate::relation::Relation;

mod explain;

/// A set that cannot be installed.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// A package that was asked for does not exist.
    #[error("package `{name}` is not in the archive")]
    Missing {
        /// Its name.
        name: String,
    },
    /// No choice fulfils everything.
    #[error("the packages cannot be installed together:\n{explanation}")]
    Unsatisfiable {
        /// What needs or excludes what, in several lines.
        explanation: String,
    },
    /// The index itself is wrong.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Finds the packages that `wanted` needs, themselves included, sorted by name.
///
/// # Errors
/// When one does not exist or they cannot be installed together.
pub fn resolve(index: &PackageIndex, wanted: &[&str]) -> Result<Vec<PackageId>, ResolveError> {
    let universe = Universe::new(index);
    let mut requirements = Vec::with_capacity(wanted.len());
    for name in wanted {
        let relation = Relation {
            name,
            architecture: None,
            version: None,
        };
        let choices = universe.choices(&relation)?;
        if choices.is_empty() {
            return Err(ResolveError::Missing {
                name: (*name).to_owned(),
            });
        }
        requirements.push(universe.requirement(&[relation])?.into());
    }
    let mut solver = Solver::new(universe);
    let outcome = solver.solve(Problem::new().requirements(requirements));
    if let Some(error) = solver.provider().failure.take() {
        return Err(error.into());
    }
    match outcome {
        Ok(chosen) => {
            let universe = solver.provider();
            let mut packages: Vec<PackageId> = chosen
                .into_iter()
                .filter_map(|id| universe.real(id.into_raw()))
                .collect();
            packages.sort_by_key(|id| index.package(*id).name());
            Ok(packages)
        }
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let in_words = explain::explain(&Universe::new(index), wanted)?;
            let by_solver = || conflict.display_user_friendly(&solver).to_string();
            let explanation = in_words.unwrap_or_else(by_solver).trim_end().to_owned();
            Err(ResolveError::Unsatisfiable { explanation })
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(ResolveError::Unsatisfiable {
            explanation: "the search was given up".to_owned(),
        }),
    }
}

/// A name known to the solver: a package, or one that nothing is.
enum Name {
    Real(PackageId),
    Unknown(String),
}

/// The only candidate of a name, accepted or not.
struct VersionSet {
    name: u32,
    accepts: bool,
    shown: String,
}

#[derive(Default)]
struct Pool {
    names: Vec<Name>,
    by_package: HashMap<PackageId, u32>,
    version_sets: Vec<VersionSet>,
    unions: Vec<Vec<VersionSetId>>,
}

/// What the solver sees of the index, made as it asks. A name and its only
/// candidate have the same number.
struct Universe<'a> {
    index: &'a PackageIndex,
    pool: RefCell<Pool>,
    failure: RefCell<Option<IndexError>>,
}

impl<'a> Universe<'a> {
    fn new(index: &'a PackageIndex) -> Self {
        Universe {
            index,
            pool: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    fn real(&self, number: u32) -> Option<PackageId> {
        match self.pool.borrow().names.get(number as usize) {
            Some(Name::Real(id)) => Some(*id),
            _ => None,
        }
    }

    fn number_of(&self, id: PackageId) -> u32 {
        let mut pool = self.pool.borrow_mut();
        if let Some(number) = pool.by_package.get(&id) {
            return *number;
        }
        let number = pool.names.len() as u32;
        pool.names.push(Name::Real(id));
        pool.by_package.insert(id, number);
        number
    }

    fn version_set(&self, name: u32, accepts: bool, shown: String) -> VersionSetId {
        let mut pool = self.pool.borrow_mut();
        pool.version_sets.push(VersionSet { name, accepts, shown });
        VersionSetId(pool.version_sets.len() as u32 - 1)
    }

    /// The packages that meet `relation`, the preferred one first: the package
    /// of that name, then who provides it, by priority and name.
    fn choices(&self, relation: &Relation<'_>) -> Result<Vec<PackageId>, IndexError> {
        let mut choices = Vec::new();
        if let Some(id) = self.index.find(relation.name)? {
            let package = self.index.package(id);
            if relation.accepts_version(package.version()) && accepts_qualifier(relation, &package) {
                choices.push(id);
            }
        }
        let mut providers: Vec<PackageId> = self
            .index
            .providers(relation.name)?
            .into_iter()
            .filter(|id| !choices.contains(id) && self.provides(*id, relation))
            .collect();
        providers.sort_by_key(|id| provider_rank(&self.index.package(*id)));
        choices.extend(providers);
        Ok(choices)
    }

    fn provides(&self, id: PackageId, relation: &Relation<'_>) -> bool {
        let package = self.index.package(id);
        let Ok(provided) = package.provides() else {
            return false;
        };
        accepts_qualifier(relation, &package)
            && provided.iter().any(|one| {
                one.name == relation.name
                    && relation.accepts_provided(one.version.map(|(_, version)| version))
            })
    }

    fn requirement(&self, alternatives: &[Relation<'_>]) -> Result<Requirement, IndexError> {
        let mut seen = BTreeSet::new();
        let mut sets = Vec::new();
        for relation in alternatives {
            for id in self.choices(relation)? {
                if seen.insert(id) {
                    sets.push(self.version_set(self.number_of(id), true, self.restriction(relation, id)));
                }
            }
        }
        Ok(match sets[..] {
            [] => self.unmet(alternatives).into(),
            [only] => only.into(),
            _ => {
                let mut pool = self.pool.borrow_mut();
                pool.unions.push(sets);
                VersionSetUnionId(pool.unions.len() as u32 - 1).into()
            }
        })
    }

    /// What stands behind a package's name in the solver's account of a requirement:
    /// the version, or the name that it provides.
    fn restriction(&self, relation: &Relation<'_>, id: PackageId) -> String {
        if relation.name != self.index.package(id).name() {
            return format!("as {relation}");
        }
        let shown = relation.to_string();
        shown[relation.name.len()..].trim_start().to_owned()
    }

    /// A version set without candidates, shown as the relation that nothing meets.
    fn unmet(&self, alternatives: &[Relation<'_>]) -> VersionSetId {
        let shown: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
        let number = {
            let mut pool = self.pool.borrow_mut();
            pool.names.push(Name::Unknown(shown.join(" | ")));
            pool.names.len() as u32 - 1
        };
        self.version_set(number, false, String::new())
    }

    fn dependencies(&self, id: PackageId) -> Result<KnownDependencies, IndexError> {
        let package = self.index.package(id);
        let mut known = KnownDependencies::default();
        for group in package.depends()? {
            known.requirements.push(self.requirement(&group)?.into());
        }
        for conflict in package.conflicts()? {
            for other in self.choices(&conflict)? {
                // A package never conflicts with itself (Policy 7.4).
                if other != id {
                    let set =
                        self.version_set(self.number_of(other), false, self.restriction(&conflict, other));
                    known.constrains.push(set);
                }
            }
        }
        Ok(known)
    }
}

/// Whether a relation's architecture qualifier allows `package`. All packages
/// of an index are of one architecture, or `all`.
fn accepts_qualifier(relation: &Relation<'_>, package: &Package<'_>) -> bool {
    match relation.architecture {
        None | Some("native") => true,
        Some("any") => matches!(package.multi_arch(), "allowed" | "foreign"),
        Some(other) => package.architecture() == other,
    }
}

/// Sorts providers of a virtual package, best first.
fn provider_rank<'a>(package: &Package<'a>) -> (bool, usize, &'a str) {
    let priorities = ["required", "important", "standard", "optional"];
    let priority = priorities.iter().position(|one| *one == package.priority());
    (
        !package.is_essential(),
        priority.unwrap_or(priorities.len()),
        package.name(),
    )
}

impl Interner for Universe<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        match self.real(solvable.into_raw()) {
            Some(id) => {
                let package = self.index.package(id);
                format!("{} {}", package.name(), package.version())
            }
            None => String::new(),
        }
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl Display + '_ {
        let shown: Vec<String> = solvables
            .iter()
            .map(|id| self.display_solvable(*id).to_string())
            .collect();
        shown.join(" | ")
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        match self.pool.borrow().names.get(name.into_raw() as usize) {
            Some(Name::Real(id)) => self.index.package(*id).name().to_owned(),
            Some(Name::Unknown(shown)) => shown.clone(),
            None => String::new(),
        }
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        let pool = self.pool.borrow();
        let set = pool.version_sets.get(version_set.0 as usize);
        set.map(|set| set.shown.clone()).unwrap_or_default()
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        ""
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        NameId::from_raw(self.pool.borrow().version_sets[version_set.0 as usize].name)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_raw(solvable.into_raw())
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.borrow().unions[union.0 as usize].clone().into_iter()
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        // No requirement here has a condition, so the solver never asks; the
        // first version set keeps the function total.
        let _ = condition;
        Condition::Requirement(VersionSetId(0))
    }
}

impl DependencyProvider for Universe<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let accepts = self.pool.borrow().version_sets[version_set.0 as usize].accepts;
        if accepts == inverse {
            Vec::new()
        } else {
            candidates.to_vec()
        }
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates<SolvableId>> {
        self.real(name.into_raw())?;
        Some(Candidates {
            candidates: vec![SolvableId::from_raw(name.into_raw())],
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, _: &mut [SolvableId]) {}

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let known = match self.real(solvable.into_raw()) {
            Some(id) => self.dependencies(id),
            None => Ok(KnownDependencies::default()),
        };
        Dependencies::Known(known.unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            KnownDependencies::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(packages: &[(&str, &str)]) -> PackageIndex {
        let text: String = packages
            .iter()
            .map(|(name, extra)| {
                format!("Package: {name}\nVersion: 1\nArchitecture: all\nFilename: f\n{extra}\n\n")
            })
            .collect();
        PackageIndex::from_texts(&[&text]).unwrap()
    }

    fn names(index: &PackageIndex, wanted: &[&str]) -> Result<Vec<String>, ResolveError> {
        let found = resolve(index, wanted)?;
        Ok(found
            .into_iter()
            .map(|id| index.package(id).name().to_owned())
            .collect())
    }

    #[test]
    fn follows_dependencies() {
        let index = index(&[
            ("a", "Depends: b (>= 1), missing | c\nRecommends: unwanted"),
            ("b", "Pre-Depends: d"),
            ("c", ""),
            ("d", ""),
            ("unwanted", ""),
        ]);
        assert_eq!(names(&index, &["a"]).unwrap(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn keeps_the_order_of_alternatives_unless_one_is_wanted() {
        let index = index(&[("a", "Depends: x | y"), ("x", ""), ("y", "")]);
        assert_eq!(names(&index, &["a"]).unwrap(), ["a", "x"]);
        assert_eq!(names(&index, &["a", "y"]).unwrap(), ["a", "y"]);
    }

    #[test]
    fn virtual_packages() {
        let index = index(&[
            ("a", "Depends: v (>= 2)"),
            ("m", "Provides: v"),
            ("n", "Priority: optional\nProvides: v (= 2)"),
            ("o", "Priority: required\nProvides: v (= 3)"),
        ]);
        assert_eq!(names(&index, &["a"]).unwrap(), ["a", "o"]);
    }

    #[test]
    fn conflicts() {
        let index = index(&[
            ("a", "Depends: x | y"),
            ("b", "Conflicts: x"),
            ("x", ""),
            ("y", "Provides: mta\nConflicts: mta"),
        ]);
        assert_eq!(names(&index, &["a", "b"]).unwrap(), ["a", "b", "y"]);
        let error = names(&index, &["b", "x"]).unwrap_err().to_string();
        assert!(
            error.contains("`b` 1 excludes `x`, and so `x` 1; `b` is asked for; `x` is asked for"),
            "{error}"
        );
    }

    #[test]
    fn explains_what_lies_deeper() {
        let index = index(&[
            ("a", "Depends: b"),
            ("b", "Depends: nowhere | nothing"),
            ("c", "Depends: d | e"),
            ("d", "Conflicts: f"),
            ("e", "Conflicts: f"),
            ("f", ""),
        ]);
        let error = names(&index, &["a"]).unwrap_err().to_string();
        assert!(
            error.contains("`b` 1 needs `nowhere` or `nothing`, which no suite has; `b` is needed by `a`, which is asked for"),
            "{error}"
        );
        // Where there is a choice, the solver's tree tells it.
        let error = names(&index, &["c", "f"]).unwrap_err().to_string();
        assert!(
            error.contains("incompatible") && !error.contains("d d"),
            "{error}"
        );
    }

    #[test]
    fn says_what_is_missing() {
        let index = index(&[("a", "Depends: b (>= 2)"), ("b", "")]);
        let error = names(&index, &["a"]).unwrap_err().to_string();
        assert!(
            error.contains("`a` 1 needs `b (>= 2)`, but `b` is there as 1; `a` is asked for"),
            "{error}"
        );
        assert!(matches!(
            names(&index, &["zz"]),
            Err(ResolveError::Missing { .. })
        ));
    }
}
