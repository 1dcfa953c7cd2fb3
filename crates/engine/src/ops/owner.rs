//! Owners that `--chown` and the like name.

use std::sync::Arc;

use distil_llb::pb;
use distil_rootfs::{Owner, Tree, users};
use distil_solver::OpError;

/// Numeric owner of `--chown` and the like. A group that is not named is the user's own; names are looked up in the
/// input that they name.
pub(super) fn resolve_owner(
    owner: Option<&pb::ChownOpt>,
    unknown: Unknown,
    accounts: impl Fn(i64) -> Result<Arc<dyn Tree>, OpError>,
) -> Result<Option<Owner>, OpError> {
    let Some(owner) = owner else { return Ok(None) };
    let mut resolved = Owner::default();
    if let Some(user) = owner.user.as_ref().and_then(|user| user.user.as_ref()) {
        resolved = match user {
            pb::user_opt::User::ById(id) => Owner { uid: *id, gid: *id },
            pb::user_opt::User::ByName(named) => {
                let found = users::find_user(accounts(named.input)?.as_ref(), &named.name);
                unknown.settle(found, resolved)?
            }
        };
    }
    if let Some(group) = owner.group.as_ref().and_then(|group| group.user.as_ref()) {
        resolved.gid = match group {
            pb::user_opt::User::ById(id) => *id,
            pb::user_opt::User::ByName(named) => {
                let found = users::find_group(accounts(named.input)?.as_ref(), &named.name);
                unknown.settle(found, resolved.gid)?
            }
        };
    }
    Ok(Some(resolved))
}

/// What a name means that the image does not know.
#[derive(Clone, Copy)]
pub(super) enum Unknown {
    /// A mistake: the owner was asked for by `--chown`.
    Refused,
    /// 0, as BuildKit has it: USER before WORKDIR may name an account that a later step adds.
    Root,
}

impl Unknown {
    fn settle<T>(self, found: Result<T, users::UserError>, root: T) -> Result<T, OpError> {
        match (self, found) {
            (
                Self::Root,
                Err(users::UserError::UnknownUser { .. } | users::UserError::UnknownGroup { .. }),
            ) => Ok(root),
            (_, found) => found.map_err(OpError::failed),
        }
    }
}
