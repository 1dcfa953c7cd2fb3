//! Attaching a root.

use std::io;
use std::path::Path;

use distil_rootfs::Mount;
use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

/// Mounts `mount` on the directory `target`.
pub(super) fn attach(mount: &Mount, target: &Path) -> io::Result<()> {
    let tree = match mount {
        Mount::Overlay {
            lower,
            upper,
            work,
            userxattr,
        } if !lower.is_empty() => {
            let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            for path in lower.iter().rev() {
                rustix::mount::fsconfig_set_string(&context, "lowerdir+", path)?;
            }
            if let (Some(upper), Some(work)) = (upper, work) {
                rustix::mount::fsconfig_set_string(&context, "upperdir", upper)?;
                rustix::mount::fsconfig_set_string(&context, "workdir", work)?;
            }
            if *userxattr {
                rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
            }
            rustix::mount::fsconfig_create(&context)?;
            rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?
        }
        Mount::Overlay {
            upper: Some(path), ..
        }
        | Mount::Bind { path, .. } => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = rustix::mount::open_tree(CWD, path, flags)?;
            if matches!(mount, Mount::Bind { readonly: true, .. }) {
                crate::sys::mount_set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, false)?;
            }
            tree
        }
        Mount::Overlay { .. } => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    Ok(rustix::mount::move_mount(
        &tree,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}
