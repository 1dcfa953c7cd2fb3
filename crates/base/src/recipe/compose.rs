//! Applying the recipes of a chain one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use distil_oci::Digest;

use super::Recipe;
use super::chain::RecipeChain;
use super::error::{Place, RecipeError};
use super::excludes::exclude;
use super::fields::Lined;
use super::part::{ContentText, DerivedWord, FileText, Part, SourceText, Statement, VARIANTS, VariantWord};
use super::spec::{
    Accounts, Derived, ExtraSource, FileContent, ImageSpec, Layout, Resolve, RunSettings, SpecDirectory,
    SpecFile, SpecSymlink, Variant,
};
use crate::release::DebianRelease;

const BUSYBOX_PACKAGE: &str = "busybox-static";
const BUSYBOX_DIRECTORY: &str = "/busybox";

/// Composes `chain`; the caller has checked that it is for all three.
pub(super) fn compose(
    chain: &RecipeChain,
    release: DebianRelease,
    architecture: &'static str,
    variant: Variant,
) -> Result<ImageSpec, RecipeError> {
    let mut composer = Composer {
        chain,
        architecture,
        paths: BTreeMap::new(),
        accounts: BTreeMap::new(),
        faults: Vec::new(),
        spec: empty(chain, release, architecture, variant),
    };
    for recipe in chain.recipes() {
        composer.apply(recipe, &recipe.part);
    }
    composer.finish()
}

fn empty(chain: &RecipeChain, release: DebianRelease, architecture: &str, variant: Variant) -> ImageSpec {
    let recipe = chain.recipe();
    let name = if chain.is_builtin() {
        format!("{}-debian{}:{}", recipe.name, release.number(), variant.tag())
    } else {
        recipe.name.clone()
    };
    ImageSpec {
        name,
        recipes: chain.recipes().iter().rev().map(|one| one.file.clone()).collect(),
        release,
        architecture: architecture.to_owned(),
        variant,
        debian_suites: true,
        sources: Vec::new(),
        packages: Vec::new(),
        resolve: Resolve::Closure,
        derived: Vec::new(),
        inputs: Vec::new(),
        accounts: Accounts::default(),
        files: Vec::new(),
        directories: Vec::new(),
        symlinks: Vec::new(),
        excludes: Vec::new(),
        run: RunSettings::default(),
        notes: Vec::new(),
        differs: None,
        merged_usr: release != DebianRelease::Bookworm,
        layout: Layout::Merged,
    }
}

/// What stands at a path of the image; the last recipe to name it wins.
enum Entry {
    File(SpecFile),
    Directory(SpecDirectory),
    Symlink(SpecSymlink),
}

/// An account by its kind (whether it is a group) and name.
type Account = (bool, String);

struct Composer<'a> {
    chain: &'a RecipeChain,
    architecture: &'static str,
    paths: BTreeMap<String, (Entry, Place)>,
    accounts: BTreeMap<Account, Place>,
    faults: Vec<RecipeError>,
    spec: ImageSpec,
}

/// Where `line` of a recipe is.
fn place(recipe: &Recipe, line: usize) -> Place {
    Place {
        file: recipe.file.clone(),
        line,
    }
}

impl Composer<'_> {
    fn apply(&mut self, recipe: &Recipe, part: &Part) {
        for statement in &part.statements {
            match statement {
                Statement::Sources(sources) => self.sources(recipe, sources),
                Statement::Releases(parts) => self.apply_one(recipe, parts.get(&self.spec.release)),
                Statement::Architectures(parts) => self.apply_one(recipe, parts.get(self.architecture)),
                Statement::Variants(parts) => {
                    for (_, word) in VARIANTS {
                        if self.has(word) {
                            self.apply_one(recipe, parts.get(&word));
                        }
                    }
                }
                Statement::Without(packages) => self.without(recipe, packages),
                Statement::Users(_) | Statement::Groups(_) => self.accounts(recipe, statement),
                Statement::Files(files) => self.files(recipe, files),
                Statement::Directories(_) | Statement::Symlinks(_) => self.paths(recipe, statement),
                other => self.set(other),
            }
        }
    }

    fn apply_one(&mut self, recipe: &Recipe, part: Option<&Part>) {
        if let Some(part) = part {
            self.apply(recipe, part);
        }
    }

    fn conflict(&mut self, place: Place, problem: String) {
        self.faults.push(RecipeError::Conflict { place, problem });
    }

    fn has(&self, word: VariantWord) -> bool {
        let variant = self.spec.variant;
        match word {
            VariantWord::Slim => variant.slim,
            VariantWord::Debug => variant.debug,
            VariantWord::Nonroot => variant.nonroot,
        }
    }

    fn set(&mut self, statement: &Statement) {
        let spec = &mut self.spec;
        match statement {
            Statement::Packages(packages) => spec.packages.extend(packages.iter().cloned()),
            Statement::DebianSuites(read) => spec.debian_suites = *read,
            Statement::Resolve(resolve) => spec.resolve = *resolve,
            Statement::Derived(words) => words.iter().for_each(|word| derive(&mut spec.derived, *word)),
            Statement::Inputs(inputs) => {
                for input in inputs {
                    spec.inputs.retain(|one| one.name != input.name);
                    spec.inputs.push(input.clone());
                }
            }
            Statement::Excludes(words) => {
                for word in words {
                    if !spec.excludes.iter().any(|one| one.name == *word) {
                        spec.excludes.push(exclude(word));
                    }
                }
            }
            Statement::Notes(notes) => spec.notes.extend(notes.iter().cloned()),
            Statement::Differs(text) => spec.differs = Some(text.clone()),
            Statement::MergedUsr(merged) => spec.merged_usr = *merged,
            Statement::Layout(layout) => spec.layout = *layout,
            other => set_run(&mut spec.run, other),
        }
    }

    fn without(&mut self, recipe: &Recipe, packages: &[Lined<String>]) {
        for Lined { line, value: name } in packages {
            let before = self.spec.packages.len();
            self.spec.packages.retain(|one| one != name);
            if self.spec.packages.len() == before {
                let problem = format!("`without` names `{name}`, which no recipe above it has in `packages`");
                self.conflict(place(recipe, *line), problem);
            }
        }
    }

    fn sources(&mut self, recipe: &Recipe, sources: &[SourceText]) {
        for source in sources {
            let Some(keyring) = self.chain.beside(recipe, &source.keyring) else {
                let problem = format!(
                    "keyring `{}` can only be read beside a recipe file",
                    source.keyring
                );
                self.conflict(place(recipe, source.line), problem);
                continue;
            };
            self.spec.sources.push(ExtraSource {
                url: source.url.clone(),
                suite: source.suite.clone(),
                components: source.components.clone(),
                keyring_digest: Digest::sha256(keyring),
                keyring: keyring.to_vec(),
            });
        }
    }

    fn accounts(&mut self, recipe: &Recipe, statement: &Statement) {
        let accounts = &mut self.spec.accounts;
        match statement {
            Statement::Users(users) => {
                for Lined { line, value: user } in users {
                    accounts.users.retain(|one| one.name != user.name);
                    accounts.users.push(user.clone());
                    self.accounts
                        .insert((false, user.name.clone()), place(recipe, *line));
                }
            }
            Statement::Groups(groups) => {
                for Lined { line, value: group } in groups {
                    accounts.groups.retain(|one| one.name != group.name);
                    accounts.groups.push(group.clone());
                    self.accounts
                        .insert((true, group.name.clone()), place(recipe, *line));
                }
            }
            _ => {}
        }
    }

    /// A file with its content.
    fn file(&mut self, recipe: &Recipe, line: usize, file: &FileText) -> Option<SpecFile> {
        let content = match &file.content {
            ContentText::Text(text) => FileContent::Text(text.clone()),
            ContentText::Source(source) => {
                let Some(bytes) = self.chain.beside(recipe, source) else {
                    let problem = format!("file `{source}` can only be read beside a recipe file");
                    self.conflict(place(recipe, line), problem);
                    return None;
                };
                FileContent::Source {
                    source: source.clone(),
                    sha256: Digest::sha256(bytes),
                    bytes: Arc::clone(bytes),
                }
            }
        };
        Some(SpecFile {
            path: file.path.clone(),
            mode: file.mode,
            owner: file.owner,
            content,
        })
    }

    fn files(&mut self, recipe: &Recipe, files: &[Lined<FileText>]) {
        for Lined { line, value } in files {
            if let Some(file) = self.file(recipe, *line, value) {
                let entry = (Entry::File(file), place(recipe, *line));
                self.paths.insert(value.path.clone(), entry);
            }
        }
    }

    fn paths(&mut self, recipe: &Recipe, statement: &Statement) {
        let mut put = |path: &str, line: usize, entry: Entry| {
            self.paths.insert(path.to_owned(), (entry, place(recipe, line)));
        };
        match statement {
            Statement::Directories(directories) => {
                for one in directories {
                    put(&one.value.path, one.line, Entry::Directory(one.value.clone()));
                }
            }
            Statement::Symlinks(links) => {
                for one in links {
                    put(&one.value.path, one.line, Entry::Symlink(one.value.clone()));
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Result<ImageSpec, RecipeError> {
        self.check_paths();
        self.check_accounts();
        if !self.spec.debian_suites && self.spec.sources.is_empty() {
            let problem = "`debian-suites: false` leaves no suite; name others in `sources`".to_owned();
            self.conflict(place(self.chain.recipe(), 1), problem);
        }
        for (entry, _) in self.paths.into_values() {
            match entry {
                Entry::File(file) => self.spec.files.push(file),
                Entry::Directory(directory) => self.spec.directories.push(directory),
                Entry::Symlink(link) => self.spec.symlinks.push(link),
            }
        }
        self.spec.packages.sort();
        self.spec.packages.dedup();
        self.spec.run.labels.sort();
        self.spec.run.annotations.sort();
        RecipeError::of(self.faults).map_or(Ok(self.spec), Err)
    }

    /// No path may lie below one that is a file or a link.
    fn check_paths(&mut self) {
        let mut faults = Vec::new();
        for (path, (_, place)) in &self.paths {
            let above = path.match_indices('/').map(|(at, _)| &path[..at]);
            let in_the_way = above.skip(1).find(|parent| {
                let parent = self.paths.get(*parent).map(|(entry, _)| entry);
                matches!(parent, Some(Entry::File(_) | Entry::Symlink(_)))
            });
            if let Some(parent) = in_the_way {
                let problem = format!("`{path}` lies below `{parent}`, which is not a directory");
                faults.push((place.clone(), problem));
            }
        }
        for (place, problem) in faults {
            self.conflict(place, problem);
        }
    }

    /// No number may stand for two accounts.
    fn check_accounts(&mut self) {
        let accounts = &self.spec.accounts;
        let users = accounts.users.iter().map(|one| (one.uid, &one.name));
        let groups = accounts.groups.iter().map(|one| (one.gid, &one.name));
        let users = twice(users).into_iter().map(|found| ("uid", false, found));
        let groups = twice(groups).into_iter().map(|found| ("gid", true, found));
        let found: Vec<(Option<Place>, String)> = users
            .chain(groups)
            .map(|(what, is_group, (id, name))| {
                let place = self.accounts.get(&(is_group, name.clone()));
                let problem = format!("`{name}` has {what} {id}, which another account has too");
                (place.cloned(), problem)
            })
            .collect();
        for (place, problem) in found {
            // Every account has come from a line.
            let place = place.unwrap_or_else(|| self::place(self.chain.recipe(), 1));
            self.conflict(place, problem);
        }
    }
}

/// The accounts whose number an earlier one has.
fn twice<'n>(accounts: impl Iterator<Item = (u32, &'n String)>) -> Vec<(u32, String)> {
    let mut seen = BTreeSet::new();
    accounts
        .filter(|(id, _)| !seen.insert(*id))
        .map(|(id, name)| (id, name.clone()))
        .collect()
}

fn derive(derived: &mut Vec<Derived>, word: DerivedWord) {
    let bundle = derived.iter_mut().find_map(|one| match one {
        Derived::CaBundle { java_keystore } => Some(java_keystore),
        _ => None,
    });
    let new = match (word, bundle) {
        (DerivedWord::CaBundle, Some(_)) => return,
        (DerivedWord::JavaKeystore, Some(keystore)) => {
            *keystore = true;
            return;
        }
        (DerivedWord::CaBundle, None) => Derived::CaBundle { java_keystore: false },
        (DerivedWord::JavaKeystore, None) => Derived::CaBundle { java_keystore: true },
        (DerivedWord::CUtf8Locale, _) => Derived::CUtf8Locale,
        (DerivedWord::LdSoCache, _) => Derived::LdSoCache,
        (DerivedWord::Busybox, _) => Derived::Busybox {
            package: BUSYBOX_PACKAGE.to_owned(),
            directory: BUSYBOX_DIRECTORY.to_owned(),
        },
    };
    if !derived.contains(&new) {
        derived.push(new);
    }
}

fn set_run(run: &mut RunSettings, statement: &Statement) {
    match statement {
        Statement::Environment(pairs) => {
            for (name, value) in pairs {
                let value = expand(value, &run.environment);
                put(&mut run.environment, name, value);
            }
        }
        Statement::Entrypoint(words) => {
            run.entrypoint.clone_from(words);
            // As in Docker: a new entrypoint has no use for the old one's arguments.
            run.cmd.clear();
        }
        Statement::Cmd(words) => run.cmd.clone_from(words),
        Statement::User(user) => run.user.clone_from(user),
        Statement::Workdir(path) => run.workdir.clone_from(path),
        Statement::Labels(pairs) => pairs
            .iter()
            .for_each(|(name, value)| put(&mut run.labels, name, value.clone())),
        Statement::Annotations(pairs) => pairs
            .iter()
            .for_each(|(name, value)| put(&mut run.annotations, name, value.clone())),
        _ => {}
    }
}

fn put(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    match pairs.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => pairs.push((name.to_owned(), value)),
    }
}

/// Puts what is known in place of `${NAME}`; a name that is not set stays as it
/// is written, and so does `${version:PACKAGE}`.
fn expand(value: &str, known: &[(String, String)]) -> String {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        expanded.push_str(before);
        let end = after.find('}').map_or(after.len(), |end| end + 1);
        let reference = &after[..end];
        let name = reference.trim_start_matches("${").trim_end_matches('}');
        match known.iter().find(|(one, _)| one == name) {
            Some((_, value)) => expanded.push_str(value),
            None => expanded.push_str(reference),
        }
        rest = &after[end..];
    }
    expanded.push_str(rest);
    expanded
}
