//! What a recipe says, read from its YAML nodes.

use std::collections::BTreeMap;

use distil_oci::Digest;

use super::error::RecipeError;
use super::fields::{Fields, Lined, Section, absolute_path, all};
use super::spec::{
    GroupAccount, InputMember, Layout, Note, Owner, Resolve, SpecDirectory, SpecSymlink, UpstreamInput,
    UserAccount,
};
use super::yaml::Node;
use crate::release::DebianRelease;

/// The keys of a part, in the order in which they take effect: what holds for all
/// first, then what holds for a release, an architecture, a variant.
pub(crate) const PART_KEYS: [&str; 26] = [
    "sources",
    "debian-suites",
    "packages",
    "without",
    "resolve",
    "derived",
    "inputs",
    "accounts",
    "files",
    "directories",
    "symlinks",
    "excludes",
    "environment",
    "entrypoint",
    "cmd",
    "user",
    "workdir",
    "labels",
    "annotations",
    "notes",
    "differs",
    "merged-usr",
    "layout",
    "releases",
    "architectures",
    "variants",
];

/// The keys of the mappings in a part.
pub(crate) mod keys {
    pub(crate) const SOURCE: &[&str] = &["url", "suite", "components", "keyring"];
    pub(crate) const INPUT: &[&str] = &[
        "name", "version", "url", "size", "sha256", "members", "purl", "license", "supplier",
    ];
    pub(crate) const MEMBER: &[&str] = &["from", "to", "mode"];
    pub(crate) const ACCOUNTS: &[&str] = &["users", "groups"];
    pub(crate) const USER: &[&str] = &["name", "uid", "gid", "comment", "home", "shell"];
    pub(crate) const GROUP: &[&str] = &["name", "gid", "members"];
    pub(crate) const FILE: &[&str] = &["path", "mode", "uid", "gid", "content", "source"];
    pub(crate) const DIRECTORY: &[&str] = &["path", "mode", "uid", "gid"];
    pub(crate) const NOTE: &[&str] = &["what", "why"];
}

/// Something computed from packages, as a recipe names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DerivedWord {
    CaBundle,
    JavaKeystore,
    CUtf8Locale,
    LdSoCache,
    Busybox,
}

/// The words for them, which the schema lists too.
pub(crate) const DERIVED: [(&str, DerivedWord); 5] = [
    ("ca-bundle", DerivedWord::CaBundle),
    ("java-keystore", DerivedWord::JavaKeystore),
    ("c-utf8-locale", DerivedWord::CUtf8Locale),
    ("ld-so-cache", DerivedWord::LdSoCache),
    ("busybox", DerivedWord::Busybox),
];

/// The words of `resolve`.
pub(crate) const RESOLVE: [(&str, Resolve); 2] = [("closure", Resolve::Closure), ("listed", Resolve::Listed)];

/// The words of `layout`.
pub(crate) const LAYOUT: [(&str, Layout); 2] =
    [("merged", Layout::Merged), ("per-package", Layout::PerPackage)];

/// Yes or no.
const BOOLEAN: [(&str, bool); 2] = [("true", true), ("false", false)];

/// The keys of `variants`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VariantWord {
    Slim,
    Debug,
    Nonroot,
}

/// Words and variants, in the order in which they take effect.
pub(crate) const VARIANTS: [(&str, VariantWord); 3] = [
    ("slim", VariantWord::Slim),
    ("debug", VariantWord::Debug),
    ("nonroot", VariantWord::Nonroot),
];

/// The architectures that recipes can be made for, in Debian's words.
pub(crate) const ARCHITECTURES: [(&str, &str); 2] = [("amd64", "amd64"), ("arm64", "arm64")];

/// A source as written: its keyring is still the name of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceText {
    pub(crate) line: usize,
    pub(crate) url: String,
    pub(crate) suite: String,
    pub(crate) components: Vec<String>,
    pub(crate) keyring: String,
}

/// A file as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileText {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) content: ContentText,
}

/// Where its content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentText {
    Text(String),
    /// In the file of this name, beside the recipe.
    Source(String),
}

/// One key of a recipe with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    Sources(Vec<SourceText>),
    DebianSuites(bool),
    Packages(Vec<String>),
    Without(Vec<Lined<String>>),
    Resolve(Resolve),
    Derived(Vec<DerivedWord>),
    Inputs(Vec<UpstreamInput>),
    Users(Vec<Lined<UserAccount>>),
    Groups(Vec<Lined<GroupAccount>>),
    Files(Vec<Lined<FileText>>),
    Directories(Vec<Lined<SpecDirectory>>),
    Symlinks(Vec<Lined<SpecSymlink>>),
    Excludes(Vec<String>),
    Environment(Vec<(String, String)>),
    Entrypoint(Vec<String>),
    Cmd(Vec<String>),
    User(String),
    Workdir(String),
    Labels(Vec<(String, String)>),
    Annotations(Vec<(String, String)>),
    Notes(Vec<Note>),
    Differs(String),
    MergedUsr(bool),
    Layout(Layout),
    Releases(BTreeMap<DebianRelease, Part>),
    Architectures(BTreeMap<&'static str, Part>),
    Variants(BTreeMap<VariantWord, Part>),
}

/// Statements in the order in which they take effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) statements: Vec<Statement>,
}

impl Part {
    /// Takes the keys of a part out of `fields`; what is left is the caller's.
    pub(crate) fn take(fields: &mut Fields<'_>) -> Part {
        let mut statements = Vec::new();
        for key in PART_KEYS {
            if let Some(node) = fields.take(key) {
                let read = read(fields.section(), key, &node, &mut statements);
                fields.note(read.err());
            }
        }
        Part { statements }
    }

    /// A mapping that is a part and nothing else.
    fn read(section: &Section<'_>, node: &Node) -> Result<Part, RecipeError> {
        let mut fields = Fields::of(section, node)?;
        let part = Part::take(&mut fields);
        fields.finish(&PART_KEYS, part)
    }
}

fn read(
    section: &Section<'_>,
    key: &str,
    node: &Node,
    statements: &mut Vec<Statement>,
) -> Result<(), RecipeError> {
    let section = &section.inside(key);
    let statement = match key {
        "sources" => Statement::Sources(section.list(node, source)?),
        "debian-suites" => Statement::DebianSuites(section.word(node, &BOOLEAN)?),
        "packages" => Statement::Packages(section.list(node, package)?),
        "without" => Statement::Without(section.lined(node, package)?),
        "resolve" => Statement::Resolve(section.word(node, &RESOLVE)?),
        "derived" => Statement::Derived(section.list(node, |section, node| section.word(node, &DERIVED))?),
        "inputs" => Statement::Inputs(section.list(node, input)?),
        "accounts" => return accounts(section, node, statements),
        "files" => Statement::Files(section.lined(node, file)?),
        "directories" => Statement::Directories(section.lined(node, directory)?),
        "symlinks" => Statement::Symlinks(symlinks(section, node)?),
        "excludes" => Statement::Excludes(section.list(node, exclude)?),
        "environment" => Statement::Environment(section.texts_by_name(node)?),
        "entrypoint" => Statement::Entrypoint(section.list(node, Section::text)?),
        "cmd" => Statement::Cmd(section.list(node, Section::text)?),
        "user" => Statement::User(section.text(node)?),
        "workdir" => Statement::Workdir(absolute_path(section, node)?),
        "labels" => Statement::Labels(section.texts_by_name(node)?),
        "annotations" => Statement::Annotations(section.texts_by_name(node)?),
        "notes" => Statement::Notes(section.list(node, note)?),
        "differs" => Statement::Differs(section.text(node)?),
        "merged-usr" => Statement::MergedUsr(section.word(node, &BOOLEAN)?),
        "layout" => Statement::Layout(section.word(node, &LAYOUT)?),
        "releases" => Statement::Releases(parts(section, node, &release_words())?),
        "architectures" => Statement::Architectures(parts(section, node, &ARCHITECTURES)?),
        _ => Statement::Variants(parts(section, node, &VARIANTS)?),
    };
    statements.push(statement);
    Ok(())
}

/// Codenames and numbers.
pub(crate) fn release_words() -> Vec<(&'static str, DebianRelease)> {
    let both = |one: DebianRelease| [(one.codename(), one), (one.number(), one)];
    DebianRelease::ALL.into_iter().flat_map(both).collect()
}

fn parts<K: Ord + Copy>(
    section: &Section<'_>,
    node: &Node,
    words: &[(&str, K)],
) -> Result<BTreeMap<K, Part>, RecipeError> {
    let mut parts = BTreeMap::new();
    let taken = section.map(node)?.iter().map(|entry| {
        let key = section.key(entry, words)?;
        let part = Part::read(&section.inside(&entry.key), &entry.node)?;
        match parts.insert(key, part) {
            None => Ok(()),
            Some(_) => Err(section.refuse(
                entry.line,
                &entry.key,
                "it stands here under another name already",
            )),
        }
    });
    all(taken)?;
    Ok(parts)
}

fn package(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let name = section.text(node)?;
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.len() > 1 && name.bytes().all(letters) {
        return Ok(name);
    }
    Err(section.wrong(
        node,
        "the name of a package: lower-case letters, digits and `+-.`, no version",
    ))
}

fn source(section: &Section<'_>, node: &Node) -> Result<SourceText, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let url = fields.required("url", |section, node| {
        let url = section.text(node)?;
        let known = ["http://", "https://", "file:///"]
            .iter()
            .any(|one| url.starts_with(one));
        if known && !url.contains(char::is_whitespace) {
            Ok(url.trim_end_matches('/').to_owned())
        } else {
            Err(section.wrong(node, "the root of an archive: an http, https or file URL"))
        }
    });
    let source = SourceText {
        line: node.line,
        url,
        suite: fields.required("suite", word_of_archive),
        components: match fields.optional("components", |s, n| s.list(n, word_of_archive)) {
            Some(components) => components,
            None => vec!["main".to_owned()],
        },
        keyring: fields.required("keyring", Section::text),
    };
    fields.finish(keys::SOURCE, source)
}

/// A suite or component: it becomes part of an address.
fn word_of_archive(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let text = section.text(node)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._/".contains(&byte);
    if !text.is_empty()
        && text.bytes().all(allowed)
        && !text.split('/').any(|part| part.is_empty() || part == "..")
    {
        return Ok(text);
    }
    Err(section.wrong(node, "a name like `bookworm-security` or `main`"))
}

fn input(section: &Section<'_>, node: &Node) -> Result<UpstreamInput, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let url = fields.required("url", |section, node| {
        let url = section.text(node)?;
        let known = ["http://", "https://", "file:///"]
            .iter()
            .any(|one| url.starts_with(one));
        if known && !url.contains(char::is_whitespace) {
            Ok(url)
        } else {
            Err(section.wrong(node, "an http, https or file URL"))
        }
    });
    let input = UpstreamInput {
        name: fields.required("name", Section::text),
        version: fields.required("version", Section::text),
        url,
        size: fields.optional("size", Section::number),
        sha256: fields
            .required("sha256", |section, node| section.sha256(node).map(Some))
            // Then `finish` fails.
            .unwrap_or(Digest::from_bytes([0; 32])),
        members: fields.required("members", |section, node| section.list(node, member)),
        purl: fields.optional("purl", |section, node| {
            let purl = one_line(section, node)?;
            match purl.starts_with("pkg:") && !purl.contains(' ') {
                true => Ok(purl),
                false => Err(section.wrong(node, "a package URL: `pkg:TYPE/NAME@VERSION`")),
            }
        }),
        license: fields.optional("license", one_line),
        supplier: fields.optional("supplier", one_line),
    };
    fields.finish(keys::INPUT, input)
}

fn one_line(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let text = section.text(node)?;
    if text.is_empty() || text.contains(char::is_control) {
        return Err(section.wrong(node, "a text of one line"));
    }
    Ok(text)
}

fn member(section: &Section<'_>, node: &Node) -> Result<InputMember, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let member = InputMember {
        from: fields.required("from", |section, node| {
            let path = section.text(node)?;
            let path = path.strip_prefix("./").unwrap_or(&path);
            if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "..") {
                return Err(section.wrong(node, "a path in the archive, without leading slash"));
            }
            Ok(path.to_owned())
        }),
        to: fields.required("to", absolute_path),
        mode: fields.optional("mode", Section::mode).unwrap_or(0o644),
    };
    fields.finish(keys::MEMBER, member)
}

fn accounts(section: &Section<'_>, node: &Node, statements: &mut Vec<Statement>) -> Result<(), RecipeError> {
    let mut fields = Fields::of(section, node)?;
    if let Some(users) = fields.optional("users", |section, node| section.lined(node, user)) {
        statements.push(Statement::Users(users));
    }
    if let Some(groups) = fields.optional("groups", |section, node| section.lined(node, group)) {
        statements.push(Statement::Groups(groups));
    }
    fields.finish(keys::ACCOUNTS, ())
}

/// A field of `/etc/passwd` or `/etc/group`.
fn account_field(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let text = section.text(node)?;
    if text.contains([':', ',', '\n', '\0']) {
        return Err(section.wrong(node, "a text without colon, comma and line break"));
    }
    Ok(text)
}

fn account_name(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let name = account_field(section, node)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(section.wrong(node, "a name without spaces"));
    }
    Ok(name)
}

fn user(section: &Section<'_>, node: &Node) -> Result<UserAccount, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let name = fields.required("name", account_name);
    let uid = fields.required("uid", Section::id);
    let user = UserAccount {
        uid,
        gid: fields.optional("gid", Section::id).unwrap_or(uid),
        comment: fields
            .optional("comment", account_field)
            .unwrap_or_else(|| name.clone()),
        home: fields
            .optional("home", account_field)
            .unwrap_or_else(|| "/nonexistent".to_owned()),
        shell: fields
            .optional("shell", account_field)
            .unwrap_or_else(|| "/sbin/nologin".to_owned()),
        name,
    };
    fields.finish(keys::USER, user)
}

fn group(section: &Section<'_>, node: &Node) -> Result<GroupAccount, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let group = GroupAccount {
        name: fields.required("name", account_name),
        gid: fields.required("gid", Section::id),
        members: fields
            .optional("members", |section, node| section.list(node, account_name))
            .unwrap_or_default(),
    };
    fields.finish(keys::GROUP, group)
}

fn owner(fields: &mut Fields<'_>) -> Owner {
    let uid = fields.optional("uid", Section::id).unwrap_or(0);
    let gid = fields.optional("gid", Section::id).unwrap_or(uid);
    Owner { uid, gid }
}

fn file(section: &Section<'_>, node: &Node) -> Result<FileText, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let (has_content, has_source) = (fields.has("content"), fields.has("source"));
    if has_content && has_source {
        let line = fields.line_of("source");
        fields.note([section.refuse(line, "source", "a file has `content` or `source`, not both")]);
        fields.take("content");
    }
    let content = if has_source {
        ContentText::Source(fields.required("source", file_name))
    } else {
        ContentText::Text(fields.required("content", Section::text))
    };
    let file = FileText {
        path: fields.required("path", absolute_path),
        mode: fields.optional("mode", Section::mode).unwrap_or(0o644),
        owner: owner(&mut fields),
        content,
    };
    fields.finish(keys::FILE, file)
}

/// A file beside the recipe.
fn file_name(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let name = section.text(node)?;
    if name.is_empty() || name.contains('\0') {
        return Err(section.wrong(node, "the path of a file, from the folder of the recipe"));
    }
    Ok(name)
}

fn directory(section: &Section<'_>, node: &Node) -> Result<SpecDirectory, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let directory = SpecDirectory {
        path: fields.required("path", absolute_path),
        mode: fields.optional("mode", Section::mode).unwrap_or(0o755),
        owner: owner(&mut fields),
    };
    fields.finish(keys::DIRECTORY, directory)
}

fn symlinks(section: &Section<'_>, node: &Node) -> Result<Vec<Lined<SpecSymlink>>, RecipeError> {
    let links = section.map(node)?.iter().map(|entry| {
        let inside = section.inside(&entry.key);
        let target = inside.text(&entry.node)?;
        if target.is_empty() || target.contains('\0') {
            return Err(inside.wrong(&entry.node, "the target of a link"));
        }
        Ok(Lined {
            line: entry.line,
            value: SpecSymlink {
                path: section.absolute(&entry.key, entry.line)?,
                target,
            },
        })
    });
    all(links)
}

fn exclude(section: &Section<'_>, node: &Node) -> Result<String, RecipeError> {
    let text = section.text(node)?;
    if text.starts_with('/') {
        return Ok(text);
    }
    let words: Vec<(&str, &str)> = super::excludes::SETS
        .iter()
        .map(|set| (set.name, set.name))
        .collect();
    section.word(node, &words).map(str::to_owned)
}

fn note(section: &Section<'_>, node: &Node) -> Result<Note, RecipeError> {
    let mut fields = Fields::of(section, node)?;
    let note = Note {
        what: fields.required("what", Section::text),
        why: fields.required("why", Section::text),
    };
    fields.finish(keys::NOTE, note)
}
