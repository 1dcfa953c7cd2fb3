//! Modes, owners, capabilities and types of files.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use super::catalog::{
    FILE_CAPABILITIES, OWNER, Rule, SETGID, SETUID, SPECIAL_FILE, STICKY_DIRECTORY, WORLD_WRITABLE,
};
use super::{Image, is_executable, quoted};
use crate::{AuditError, Entry, Finding};

const CAPABILITY: &str = "security.capability";

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let mut groups = HashSet::new();
    let mut owners = Folded::new(OWNER);
    let mut writable = Folded::new(WORLD_WRITABLE);
    for entry in image.view.entries() {
        if !entry.link_group.is_none_or(|group| groups.insert(group)) {
            continue;
        }
        modes(image, entry, found, &mut writable);
        if (entry.node.uid, entry.node.gid) != (0, 0) {
            owners.add(entry);
        }
        if is_executable(entry) {
            capabilities(image, entry, found)?;
        }
    }
    writable.report(image, found, |entry| {
        format!(
            "{} may be written to by everybody (mode {:04o})",
            quoted(&entry.path),
            entry.node.mode
        )
    });
    owners.report(image, found, |entry| {
        format!(
            "{} belongs to {}:{}",
            quoted(&entry.path),
            entry.node.uid,
            entry.node.gid
        )
    });
    Ok(())
}

fn modes<'v>(image: &Image<'v>, entry: &'v Entry, found: &mut Vec<Finding>, writable: &mut Folded<'v>) {
    let (node, path) = (&entry.node, quoted(&entry.path));
    if node.kind.is_symlink() {
        return;
    }
    if !node.kind.is_file() && !node.kind.is_dir() {
        found.push(SPECIAL_FILE.at(image, entry, format!("{path} is a device, a pipe or a socket")));
        return;
    }
    if node.kind.is_file() && node.mode & 0o4000 != 0 {
        let message = format!("{path} runs as user {} (mode {:04o})", node.uid, node.mode);
        found.push(SETUID.at(image, entry, message + &image.owner_text(entry)));
    }
    if node.mode & 0o2000 != 0 {
        let does = if node.kind.is_dir() {
            "gives its files to"
        } else {
            "runs as"
        };
        let message = format!("{path} {does} group {} (mode {:04o})", node.gid, node.mode);
        found.push(SETGID.at(image, entry, message + &image.owner_text(entry)));
    }
    match node.mode & 0o1002 {
        0o1002 if node.kind.is_dir() => {
            let message = format!("everybody may put files into {path} (mode {:04o})", node.mode);
            found.push(STICKY_DIRECTORY.at(image, entry, message));
        }
        0o2 | 0o1002 => writable.add(entry),
        _ => {}
    }
}

fn capabilities(image: &Image<'_>, entry: &Entry, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let attributes = image.view.xattrs(entry)?;
    if let Some((_, value)) = attributes.iter().find(|(name, _)| name == CAPABILITY) {
        let message = format!("{} has {}", quoted(&entry.path), capability_text(value));
        found.push(FILE_CAPABILITIES.at(image, entry, message + &image.owner_text(entry)));
    }
    Ok(())
}

/// The permitted capabilities of `security.capability`, by number: a word of flags, then 32 bits each of permitted
/// and inheritable, low half first (Linux, `include/uapi/linux/capability.h`).
fn capability_text(value: &[u8]) -> String {
    let word = |at: usize| {
        let bytes = value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_le_bytes))
    };
    let permitted = word(4) | word(12) << 32;
    let names: Vec<String> = (0..64)
        .filter(|bit| permitted >> bit & 1 == 1)
        .map(|bit| {
            CAPABILITIES
                .get(bit)
                .map_or_else(|| format!("capability {bit}"), |name| format!("`cap_{name}`"))
        })
        .collect();
    match names.is_empty() {
        true => "capabilities that it may inherit".to_owned(),
        false => names.join(", "),
    }
}

/// Names by number.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Entries of one rule, of which those in a directory of the same layer, owner and rule are told with it: a tree that
/// was copied with another owner is one finding.
pub(super) struct Folded<'v> {
    rule: &'static Rule,
    /// By path; the number of entries below that are told with it.
    entries: BTreeMap<PathBuf, (&'v Entry, usize)>,
    /// The directory that each directory is told with.
    tops: BTreeMap<PathBuf, PathBuf>,
}

impl<'v> Folded<'v> {
    pub(super) fn new(rule: &'static Rule) -> Self {
        Self {
            rule,
            entries: BTreeMap::new(),
            tops: BTreeMap::new(),
        }
    }

    /// Adds an entry; a directory comes before what is in it.
    pub(super) fn add(&mut self, entry: &'v Entry) {
        let top = entry
            .path
            .parent()
            .and_then(|parent| self.tops.get(parent))
            .cloned();
        let same = |other: &Entry| other.layer == entry.layer && other.node.owner() == entry.node.owner();
        let with = top.filter(|top| self.entries.get(top).is_some_and(|(other, _)| same(other)));
        if entry.node.kind.is_dir() {
            let top = with.clone().unwrap_or_else(|| entry.path.clone());
            self.tops.insert(entry.path.clone(), top);
        }
        match with.and_then(|top| self.entries.get_mut(&top)) {
            Some((_, count)) => *count += 1,
            None => drop(self.entries.insert(entry.path.clone(), (entry, 0))),
        }
    }

    pub(super) fn report(
        self,
        image: &Image<'_>,
        found: &mut Vec<Finding>,
        message: impl Fn(&Entry) -> String,
    ) {
        for (entry, below) in self.entries.values() {
            let more = match below {
                0 => String::new(),
                1 => ", and so does 1 file in it".to_owned(),
                count => format!(", and so do {count} files in it"),
            };
            found.push(self.rule.at(image, entry, message(entry) + &more));
        }
    }
}
