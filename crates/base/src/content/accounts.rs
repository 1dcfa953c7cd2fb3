//! `/etc/passwd` and `/etc/group`; formats: passwd(5), group(5).

use crate::recipe::{GroupAccount, UserAccount};

/// One line for each user, in their order. Nobody has a password.
#[must_use]
pub fn passwd_file(users: &[UserAccount]) -> String {
    let line = |user: &UserAccount| {
        format!(
            "{}:x:{}:{}:{}:{}:{}\n",
            user.name, user.uid, user.gid, user.comment, user.home, user.shell
        )
    };
    users.iter().map(line).collect()
}

/// One line for each group, in their order.
#[must_use]
pub fn group_file(groups: &[GroupAccount]) -> String {
    let line = |group: &GroupAccount| format!("{}:x:{}:{}\n", group.name, group.gid, group.members.join(","));
    groups.iter().map(line).collect()
}
