//! Users and groups by name, from a tree's `/etc/passwd` and `/etc/group`.

use std::path::PathBuf;

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

/// uid and primary gid of a user name.
pub fn find_user(tree: &dyn Tree, name: &str) -> Result<Owner, UserError> {
    let _ = tree;
    Err(UserError::UnknownUser {
        name: name.to_owned(),
    })
}

/// gid of a group name.
pub fn find_group(tree: &dyn Tree, name: &str) -> Result<u32, UserError> {
    let _ = tree;
    Err(UserError::UnknownGroup {
        name: name.to_owned(),
    })
}

/// Resolves `USER`: `name`, `uid`, either followed by `:group` or `:gid`. A number that is
/// not in `/etc/passwd` gets gid 0, no groups and home `/`; only a user without a group part
/// gets supplementary groups. An empty string is root.
pub fn identity(tree: &dyn Tree, user: &str) -> Result<Identity, UserError> {
    let _ = tree;
    Err(UserError::UnknownUser {
        name: user.to_owned(),
    })
}
