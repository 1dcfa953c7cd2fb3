//! `USER` resolved inside the root, with the rules of Docker's exec user.
//!
//! `name` and `uid` take the primary group, and the supplementary groups that list the name;
//! `user:group` takes that group alone; a number that `/etc/passwd` does not know has group 0.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::UserError;

/// Files larger than this are refused.
const MAX_FILE: u64 = 10 * 1024 * 1024;
/// Largest id that counts as a number on its own.
const MAX_ID: u32 = i32::MAX as u32;

/// Who the program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// All groups, the primary one among them.
    pub(super) groups: Vec<u32>,
    /// Home directory, `/` for a user without an entry.
    pub(super) home: Vec<u8>,
}

/// Resolves `user` with the files of the root that this process is in.
pub(super) fn resolve(user: &str) -> Result<User, UserError> {
    let passwd = read("/etc/passwd")?;
    let group = read("/etc/group")?;
    resolve_with(user, passwd.as_deref(), group.as_deref())
}

fn read(path: &str) -> Result<Option<Vec<u8>>, UserError> {
    let unreadable = |reason: String| UserError::Unreadable {
        path: Path::new(path).to_owned(),
        reason,
    };
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Ok(None);
    }
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(|error| unreadable(error.to_string()))?;
    if content.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(Some(content))
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn fields(content: Option<&[u8]>) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = content.unwrap_or_default().split(|&byte| byte == b'\n');
    lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| line.split(|&byte| byte == b':').collect())
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn passwd_entries(content: Option<&[u8]>) -> impl Iterator<Item = PasswdEntry<'_>> {
    fields(content).map(|fields| {
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        PasswdEntry {
            name: field(0),
            uid: number(field(2)).unwrap_or(0),
            gid: number(field(3)).unwrap_or(0),
            home: field(5),
        }
    })
}

fn group_entries(content: Option<&[u8]>) -> impl Iterator<Item = GroupEntry<'_>> {
    fields(content).map(|fields| {
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        GroupEntry {
            name: field(0),
            gid: number(field(2)).unwrap_or(0),
            members: field(3),
        }
    })
}

fn resolve_with(spec: &str, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<User, UserError> {
    let (user_arg, group_arg) = spec.split_once(':').unwrap_or((spec, ""));
    let ids = match both_numeric(user_arg, group_arg) {
        Some(ids) => ids,
        None => look_up(user_arg, group_arg, passwd, group)?,
    };
    let (uid, gid, mut groups) = ids;
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    let home = passwd_entries(passwd).find(|entry| entry.uid == uid);
    let home = home.map(|entry| entry.home.to_vec()).unwrap_or_default();
    let home = if home.is_empty() { b"/".to_vec() } else { home };
    Ok(User {
        uid,
        gid,
        groups,
        home,
    })
}

type Ids = (u32, u32, Vec<u32>);

/// `uid:gid` needs no files; `root` counts as 0 on either side.
fn both_numeric(user: &str, group: &str) -> Option<Ids> {
    let id = |text: &str| match text {
        "root" => Some(0),
        text => text.parse::<u32>().ok(),
    };
    Some((id(user)?, id(group)?, Vec::new()))
}

fn look_up(
    user: &str,
    group_arg: &str,
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
) -> Result<Ids, UserError> {
    let wanted_uid = if user.is_empty() {
        Some(0)
    } else {
        user.parse().ok()
    };
    let entry = passwd_entries(passwd).find(|entry| match wanted_uid {
        Some(uid) => entry.uid == uid,
        None => entry.name == user.as_bytes(),
    });
    let (uid, mut gid) = match (&entry, wanted_uid) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) if uid <= MAX_ID => (uid, 0),
        (None, Some(_)) => return Err(UserError::OutOfRange(user.to_owned())),
        (None, None) => return Err(UserError::UnknownUser(user.to_owned())),
    };
    let mut groups = Vec::new();
    if !group_arg.is_empty() {
        gid = find_group(group_arg, group)?;
    } else if let Some(entry) = &entry {
        groups = group_entries(group)
            .filter(|group| group.members.split(|&b| b == b',').any(|m| m == entry.name))
            .map(|group| group.gid)
            .collect();
    }
    Ok((uid, gid, groups))
}

fn find_group(name: &str, group: Option<&[u8]>) -> Result<u32, UserError> {
    let number = name.parse::<u32>().ok();
    let entry = group_entries(group).find(|entry| match number {
        Some(gid) => entry.gid == gid,
        None => entry.name == name.as_bytes(),
    });
    match (entry, number) {
        (Some(entry), _) => Ok(entry.gid),
        (None, Some(gid)) if gid <= MAX_ID => Ok(gid),
        (None, Some(_)) => Err(UserError::OutOfRange(name.to_owned())),
        (None, None) => Err(UserError::UnknownGroup(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# c\napp:x:100:101::/srv/app:/bin/sh\n\
        nohome:x:7:8:::\nhuge:x:9:9::/h:/bin/sh";
    const GROUP: &[u8] = b"root:x:0:\napp:x:101:\nwheel:x:10:root,app\naudio:x:29:app\n";

    fn ids(spec: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        let user = resolve_with(spec, Some(PASSWD), Some(GROUP))?;
        Ok((user.uid, user.gid, user.groups))
    }

    #[test]
    fn follows_dockers_rules() {
        let cases: &[(&str, u32, u32, &[u32])] = &[
            ("", 0, 0, &[0, 10]),
            ("root", 0, 0, &[0, 10]),
            ("app", 100, 101, &[101, 10, 29]),
            ("100", 100, 101, &[101, 10, 29]),
            ("app:wheel", 100, 10, &[10]),
            ("app:77", 100, 77, &[77]),
            ("1234", 1234, 0, &[0]),
            ("1234:app", 1234, 101, &[101]),
            ("5:6", 5, 6, &[6]),
            ("root:root", 0, 0, &[0]),
        ];
        for (spec, uid, gid, groups) in cases {
            assert_eq!(ids(spec), Ok((*uid, *gid, groups.to_vec())), "{spec}");
        }
    }

    #[test]
    fn refuses_what_is_unknown() {
        assert_eq!(ids("x"), Err(UserError::UnknownUser("x".into())));
        assert_eq!(ids("app:x"), Err(UserError::UnknownGroup("x".into())));
        assert_eq!(ids("3000000000"), Err(UserError::OutOfRange("3000000000".into())));
        let unknown = UserError::UnknownUser("root".into());
        assert_eq!(resolve_with("root", None, None), Err(unknown));
    }

    #[test]
    fn an_empty_root_has_user_zero() {
        let user = resolve_with("", None, None).unwrap();
        assert_eq!(
            (user.uid, user.gid, user.groups, user.home),
            (0, 0, vec![0], b"/".to_vec())
        );
    }

    #[test]
    fn home_comes_from_the_first_entry_of_the_uid() {
        let home = |spec| resolve_with(spec, Some(PASSWD), Some(GROUP)).unwrap().home;
        assert_eq!(home("100:5"), b"/srv/app");
        assert_eq!(home("7"), b"/");
        assert_eq!(home("4321"), b"/");
    }
}
