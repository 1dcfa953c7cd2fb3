//! Users and groups by name, from a tree's `/etc/passwd` and `/etc/group`.

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::node::Owner;
use crate::tree::{Tree, TreeError};

/// A user or group cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// `/etc/passwd` has no such user.
    #[error("no user `{name}` in `/etc/passwd` of the image: add it or use a number")]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// `/etc/group` has no such group.
    #[error("no group `{name}` in `/etc/group` of the image: add it or use a number")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// The file is larger than 10 MiB.
    #[error("`{path}` of the image is larger than 10 MiB")]
    TooLarge {
        /// Path in the image.
        path: &'static str,
    },
    /// Reading failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, `gid` not repeated.
    pub groups: Vec<u32>,
    /// Home directory from `/etc/passwd`, else `/`.
    pub home: PathBuf,
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const MAX_FILE: u64 = 10 << 20;
/// Ids above this are names to Docker's parsers.
const MAX_ID: u32 = i32::MAX as u32;

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// uid and primary gid of a user name. Numbers are looked up as names.
pub fn find_user(tree: &dyn Tree, name: &str) -> Result<Owner, UserError> {
    users(tree)?
        .into_iter()
        .find(|user| user.name == name)
        .map(|user| Owner {
            uid: user.uid,
            gid: user.gid,
        })
        .ok_or_else(|| UserError::UnknownUser {
            name: name.to_owned(),
        })
}

/// gid of a group name. Numbers are looked up as names.
pub fn find_group(tree: &dyn Tree, name: &str) -> Result<u32, UserError> {
    groups(tree)?
        .into_iter()
        .find(|group| group.name == name)
        .map(|group| group.gid)
        .ok_or_else(|| UserError::UnknownGroup {
            name: name.to_owned(),
        })
}

/// Resolves `USER`: `name` or `uid`, either followed by `:group` or `:gid`. A number that is
/// not in `/etc/passwd` gets gid 0, no groups and home `/`; only a user without a group part
/// gets supplementary groups. An empty string is uid 0.
pub fn identity(tree: &dyn Tree, user: &str) -> Result<Identity, UserError> {
    let mut parts = user.splitn(3, ':');
    let user_part = parts.next().unwrap_or_default();
    let group_part = parts.next().unwrap_or_default();
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    let found = users(tree)?
        .into_iter()
        .find(|user| user.name == user_part || number(user_part) == Some(user.uid));
    let mut identity = match (&found, number(user_part)) {
        (Some(user), _) => Identity {
            uid: user.uid,
            gid: user.gid,
            groups: Vec::new(),
            home: PathBuf::from(if user.home.is_empty() { "/" } else { &user.home }),
        },
        (None, Some(uid)) => Identity {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: PathBuf::from("/"),
        },
        (None, None) => {
            return Err(UserError::UnknownUser {
                name: user_part.to_owned(),
            });
        }
    };
    if group_part.is_empty() {
        if let Some(user) = found {
            for group in groups(tree)? {
                let member = group.members.contains(&user.name);
                if member && group.gid != identity.gid && !identity.groups.contains(&group.gid) {
                    identity.groups.push(group.gid);
                }
            }
        }
        return Ok(identity);
    }
    let group = groups(tree)?
        .into_iter()
        .find(|group| group.name == group_part || number(group_part) == Some(group.gid));
    identity.gid = match (group, number(group_part)) {
        (Some(group), _) => group.gid,
        (None, Some(gid)) => gid,
        (None, None) => {
            return Err(UserError::UnknownGroup {
                name: group_part.to_owned(),
            });
        }
    };
    Ok(identity)
}

fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| plain && *id <= MAX_ID)
}

fn users(tree: &dyn Tree) -> Result<Vec<User>, UserError> {
    Ok(lines(tree, PASSWD)?
        .iter()
        .map(|line| fields::<7>(line))
        .filter(|fields| !fields[0].is_empty())
        .map(|[name, _, uid, gid, _, home, _]| User {
            name: name.to_owned(),
            uid: uid.parse().unwrap_or(0),
            gid: gid.parse().unwrap_or(0),
            home: home.to_owned(),
        })
        .collect())
}

fn groups(tree: &dyn Tree) -> Result<Vec<Group>, UserError> {
    Ok(lines(tree, GROUP)?
        .iter()
        .map(|line| fields::<4>(line))
        .filter(|fields| !fields[0].is_empty())
        .map(|[name, _, gid, members]| Group {
            name: name.to_owned(),
            gid: gid.parse().unwrap_or(0),
            members: members
                .split(',')
                .filter(|member| !member.is_empty())
                .map(str::to_owned)
                .collect(),
        })
        .collect())
}

/// The first fields of a line, missing ones empty.
fn fields<const N: usize>(line: &str) -> [&str; N] {
    let mut out = [""; N];
    for (slot, field) in out.iter_mut().zip(line.split(':')) {
        *slot = field;
    }
    out
}

/// The lines of a file that are not blank; none when there is no such file.
fn lines(tree: &dyn Tree, path: &'static str) -> Result<Vec<String>, UserError> {
    let file = match tree.open(Path::new(path)) {
        Ok(file) => file,
        Err(err) if err.is_not_found() => return Ok(Vec::new()),
        Err(err) => return Err(err.into()),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(|err| TreeError::io("read", Path::new(path), err))?;
    if text.len() as u64 > MAX_FILE {
        return Err(UserError::TooLarge { path });
    }
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}
