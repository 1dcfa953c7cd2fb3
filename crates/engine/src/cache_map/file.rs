//! Cache map of file operations.

use std::collections::{BTreeMap, BTreeSet};

use distil_llb::pb;
use distil_llb::pb::file_action::Kind;
use distil_oci::Digest;
use distil_rootfs::content::{Selector, SelectorPath};
use distil_rootfs::ignore::contains_wildcards;

use super::go_json::{Object, array, base64_json};
use super::{InputKey, OpKey};

/// The key of file operations: each action as JSON, a copy's source cut to its last name, and for each input
/// that is only read the paths that matter (BuildKit `fileOp.CacheMap`).
pub(super) fn key(file: &pb::FileOp, inputs: usize) -> Result<OpKey, String> {
    let mut read: BTreeMap<usize, Vec<SelectorPath>> = BTreeMap::new();
    let mut written = BTreeSet::new();
    let mut actions = Vec::new();
    for action in &file.actions {
        if let Ok(input) = usize::try_from(action.input) {
            written.insert(input);
        }
        actions.push(action_json(action, inputs, &mut read)?);
    }
    let mut object = Object::new().always_string("Type", "buildkit.file.v0").raw(
        "Actions",
        &array(actions.iter().map(|json| base64_json(json.as_bytes()))),
    );
    let indexes: Vec<[i64; 3]> = file
        .actions
        .iter()
        .map(|action| [action.input, action.secondary_input, action.output])
        .collect();
    if !is_default_chain(&indexes) {
        object = object.list("indexes", &indexes, |[input, secondary, output]| {
            format!("[{input},{secondary},{output}]")
        });
    }
    let digest = Digest::sha256(object.finish().as_bytes());
    let mut keys = vec![InputKey::default(); inputs];
    for (input, selectors) in read {
        let Some(key) = keys.get_mut(input) else {
            return Err(format!("a file operation names input {input} of {inputs}"));
        };
        if !written.contains(&input) {
            *key = input_key(selectors);
        }
    }
    Ok(OpKey { digest, inputs: keys })
}

/// An input that is only read: its content may stand for it.
fn input_key(paths: Vec<SelectorPath>) -> InputKey {
    let selector = Selector { paths };
    InputKey {
        selector: Some(Digest::from_bytes(selector.id())),
        content: Some(selector.deduplicated()),
    }
}

/// Whether the actions are one chain from input 0 to output 0, which the key does not spell out.
fn is_default_chain(indexes: &[[i64; 3]]) -> bool {
    let count = indexes.len() as i64;
    !indexes.is_empty()
        && (0i64..).zip(indexes).all(|(at, [input, secondary, output])| {
            let previous = if at == 0 { 0 } else { count + at - 1 };
            let result = if at == count - 1 { 0 } else { -1 };
            *input == previous && matches!(secondary, -1 | 1) && *output == result
        })
}

fn action_json(
    action: &pb::FileAction,
    inputs: usize,
    read: &mut BTreeMap<usize, Vec<SelectorPath>>,
) -> Result<String, String> {
    match &action.action {
        Some(Kind::Copy(copy)) => {
            add_owner(copy.owner.as_ref(), read)?;
            let source = usize::try_from(action.secondary_input)
                .ok()
                .filter(|input| *input < inputs);
            let mut src = copy.src.as_str();
            if let Some(source) = source {
                read.entry(source).or_default().push(SelectorPath {
                    path: copy.src.clone(),
                    wildcard: copy.allow_wildcard && contains_wildcards(&copy.src),
                    follow_links: copy.follow_symlink,
                    include_patterns: copy.include_patterns.clone(),
                    exclude_patterns: copy.exclude_patterns.clone(),
                    required_paths: copy.required_paths.clone(),
                });
                src = super::base_name(src);
            }
            Ok(copy_json(copy, src))
        }
        Some(Kind::Mkfile(file)) => {
            add_owner(file.owner.as_ref(), read)?;
            Ok(Object::new()
                .string("path", &file.path)
                .number("mode", file.mode)
                .bytes("data", &file.data)
                .optional("owner", file.owner.as_ref(), owner_json)
                .number("timestamp", file.timestamp)
                .finish())
        }
        Some(Kind::Mkdir(directory)) => {
            add_owner(directory.owner.as_ref(), read)?;
            Ok(Object::new()
                .string("path", &directory.path)
                .number("mode", directory.mode)
                .boolean("makeParents", directory.make_parents)
                .optional("owner", directory.owner.as_ref(), owner_json)
                .number("timestamp", directory.timestamp)
                .finish())
        }
        Some(Kind::Rm(rm)) => Ok(Object::new()
            .string("path", &rm.path)
            .boolean("allowNotFound", rm.allow_not_found)
            .boolean("allowWildcard", rm.allow_wildcard)
            .finish()),
        Some(Kind::Symlink(link)) => Ok(Object::new()
            .string("oldpath", &link.oldpath)
            .string("newpath", &link.newpath)
            .optional("owner", link.owner.as_ref(), owner_json)
            .number("timestamp", link.timestamp)
            .finish()),
        None => Err("a file operation has no action that distil knows".into()),
    }
}

fn copy_json(copy: &pb::FileActionCopy, src: &str) -> String {
    Object::new()
        .string("src", src)
        .string("dest", &copy.dest)
        .optional("owner", copy.owner.as_ref(), owner_json)
        .number("mode", copy.mode)
        .boolean("followSymlink", copy.follow_symlink)
        .boolean("dirCopyContents", copy.dir_copy_contents)
        .boolean(
            "attemptUnpackDockerCompatibility",
            copy.attempt_unpack_docker_compatibility,
        )
        .boolean("createDestPath", copy.create_dest_path)
        .boolean("allowWildcard", copy.allow_wildcard)
        .boolean("allowEmptyWildcard", copy.allow_empty_wildcard)
        .number("timestamp", copy.timestamp)
        .strings("include_patterns", &copy.include_patterns)
        .strings("exclude_patterns", &copy.exclude_patterns)
        .boolean(
            "alwaysReplaceExistingDestPaths",
            copy.always_replace_existing_dest_paths,
        )
        .string("modeStr", &copy.mode_str)
        .strings("required_paths", &copy.required_paths)
        .finish()
}

pub(super) fn owner_json(owner: &pb::ChownOpt) -> String {
    Object::new()
        .optional("user", owner.user.as_ref(), user_json)
        .optional("group", owner.group.as_ref(), user_json)
        .finish()
}

/// `pb.UserOpt` has its own JSON form: the choice stands in an object `User`.
fn user_json(user: &pb::UserOpt) -> String {
    let choice = match &user.user {
        Some(pb::user_opt::User::ByName(named)) => {
            let named = Object::new()
                .string("name", &named.name)
                .number("input", named.input)
                .finish();
            Object::new().raw("byName", &named)
        }
        Some(pb::user_opt::User::ById(id)) => Object::new().number("byId", *id),
        None => Object::new(),
    };
    Object::new().raw("User", &choice.finish()).finish()
}

/// Named owners read the account files of the input they name.
fn add_owner(
    owner: Option<&pb::ChownOpt>,
    read: &mut BTreeMap<usize, Vec<SelectorPath>>,
) -> Result<(), String> {
    let Some(owner) = owner else { return Ok(()) };
    for (choice, path) in [(&owner.user, "/etc/passwd"), (&owner.group, "/etc/group")] {
        if let Some(pb::UserOpt {
            user: Some(pb::user_opt::User::ByName(named)),
        }) = choice
        {
            let Ok(input) = usize::try_from(named.input) else {
                return Err(format!(
                    "`{}` cannot be looked up: there are no accounts in an empty root; use a number",
                    named.name
                ));
            };
            let selector = SelectorPath {
                path: path.into(),
                follow_links: true,
                ..SelectorPath::default()
            };
            read.entry(input).or_default().push(selector);
        }
    }
    Ok(())
}
