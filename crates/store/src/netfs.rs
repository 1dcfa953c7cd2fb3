//! Tells network filesystems, where locks and shared memory are not to be trusted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Magic numbers of `statfs(2)`, from linux/magic.h and the filesystems' own sources.
const MAGIC: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x1983_0326, "BeeGFS"),
    (0x4750_4653, "GPFS"),
    (0xaad7_aaea, "PanFS"),
    (0x2003_0528, "OrangeFS"),
    (0x786f_4256, "VirtualBox shared folder"),
];

const FUSE: u32 = 0x6573_5546;

/// FUSE types that only reach the local machine. Any other is taken for a network one.
const LOCAL_FUSE: &[&str] = &[
    "fuseblk",
    "fuse.fuse-overlayfs",
    "fuse.bindfs",
    "fuse.ext4",
    "fuse.fuse2fs",
    "fuse.gocryptfs",
    "fuse.encfs",
    "fuse.mergerfs",
    "fuse.ntfs-3g",
    "fuse.squashfuse",
    "fuse.zfs",
    "virtiofs",
];

/// Name of the network filesystem under `path`, which must exist; `None` for a local one.
pub(crate) fn network_filesystem(path: &Path) -> std::io::Result<Option<String>> {
    let statfs = rustix::fs::statfs(path)?;
    // The type's width differs between architectures; magic numbers have 32 bits.
    let magic = statfs.f_type as u32;
    if magic != FUSE {
        return Ok(name_of(magic).map(str::to_owned));
    }
    let kind = mount_type(path)?.unwrap_or_else(|| "fuse".to_owned());
    Ok((!LOCAL_FUSE.contains(&kind.as_str())).then_some(kind))
}

fn name_of(magic: u32) -> Option<&'static str> {
    MAGIC
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name)
}

/// Filesystem type from `/proc/self/mountinfo`, found by device number.
fn mount_type(path: &Path) -> std::io::Result<Option<String>> {
    let device = fs::metadata(path)?.dev();
    let wanted = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else {
        return Ok(None);
    };
    Ok(type_in_table(&table, &wanted).map(str::to_owned))
}

fn type_in_table<'t>(table: &'t str, device: &str) -> Option<&'t str> {
    table.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        (front.split(' ').nth(2)? == device).then(|| back.split(' ').next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_magic_numbers_have_names() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xff53_4d42), Some("CIFS"));
        assert_eq!(name_of(0x0102_1997), Some("9p"));
        assert_eq!(name_of(0xef53), None, "ext4");
        assert_eq!(name_of(0x0102_1994), None, "tmpfs");
    }

    #[test]
    fn fuse_subtype_is_read_from_mountinfo() {
        let table = "25 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     99 25 0:55 / /mnt/far rw,nosuid shared:9 - fuse.sshfs me@far: rw,user_id=0\n";
        assert_eq!(type_in_table(table, "0:55"), Some("fuse.sshfs"));
        assert_eq!(type_in_table(table, "8:1"), Some("ext4"));
        assert_eq!(type_in_table(table, "7:7"), None);
    }

    #[test]
    fn a_local_directory_is_accepted() {
        let found = network_filesystem(Path::new("/proc")).expect("statfs of /proc");
        assert_eq!(found, None);
    }
}
