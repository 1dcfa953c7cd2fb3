//! The file hierarchy that the program sees.
//!
//! Everything is mounted in the helper's private mount namespace. The descriptors of the caller's
//! files are taken first; then the root becomes the helper's own root, so that no path of the
//! image can lead out of it. The old root stays mounted beneath until process 1 has its `/proc`
//! (in a user namespace the kernel allows a new one only beside a visible old one).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use distil_rootfs::MountError;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};
use rustix::thread::UnshareFlags;

use super::Step;
use super::devices;
use super::stubs::{self, Stubs};
use super::users::User;
use crate::spec::{MountSource, ProcessMount, ProcessSpec, Security, TmpfsOptions};
use crate::sys;
use crate::wire::Report;

/// What a read-only, data-only mount has.
const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Directories of the host that our memory file system may hide in the private mount namespace:
/// no layer, context or work directory lies in any of them.
const COVERS: [&str; 3] = ["/sys", "/dev/shm", "/proc"];

/// The finished hierarchy.
pub(super) struct Layout {
    /// The caller's root, still mounted.
    pub(super) old_root: OwnedFd,
    /// What to take away afterwards.
    stubs: Stubs,
    /// The program's root without what is mounted below it.
    root: OwnedFd,
    /// The caller's mount namespace.
    host: OwnedFd,
}

/// Makes the hierarchy and enters it.
pub(super) fn attach(spec: &ProcessSpec) -> Result<Layout, Report> {
    let host = open_path("/proc/self/ns/mnt", OFlags::RDONLY)?;
    // SAFETY: UnshareFlags::FILES, whose effects the function warns of, is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .step(|| "make a mount namespace".to_owned())?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step(|| "make mounts private".to_owned())?;
    let sysfs = sysfs(spec.security)?;
    let cgroup = cgroup(spec.security);
    let mut sources: Vec<Option<OwnedFd>> = Vec::new();
    for mount in &spec.mounts {
        sources.push(host_source(mount)?);
    }
    let scratch = Scratch::new()?;
    for (index, mount) in spec.mounts.iter().enumerate() {
        if sources[index].is_none() {
            sources[index] = scratch.source(index, mount)?;
        }
    }
    let hosts = scratch.file("hosts", spec.hosts.as_deref())?;
    let resolv_conf = scratch.file("resolv.conf", spec.resolv_conf.as_deref())?;
    let old_root = enter_root(spec, &scratch)?;

    let mut layout = Layout {
        old_root,
        stubs: Stubs::default(),
        root: open_path("/", OFlags::PATH | OFlags::DIRECTORY)?,
        host,
    };
    let result = layout.fill(
        spec,
        &Given {
            sysfs,
            cgroup,
            hosts,
            resolv_conf,
            sources,
        },
    );
    if let Err(report) = result {
        layout.take_away();
        return Err(report);
    }
    Ok(layout)
}

/// Mounts that were made before entering the root.
struct Given {
    sysfs: OwnedFd,
    cgroup: Option<OwnedFd>,
    hosts: Option<OwnedFd>,
    resolv_conf: Option<OwnedFd>,
    sources: Vec<Option<OwnedFd>>,
}

impl Layout {
    fn fill(&mut self, spec: &ProcessSpec, given: &Given) -> Result<(), Report> {
        self.make_directory("/proc")?;
        devices::mount_dev(self, spec)?;
        self.put_directory(&given.sysfs, "/sys")?;
        if let Some(cgroup) = &given.cgroup
            && Path::new("/sys/fs/cgroup").is_dir()
        {
            self.put_directory(cgroup, "/sys/fs/cgroup")?;
        }
        if spec.security == Security::Sandbox {
            hide("/sys/firmware")?;
            hide("/sys/devices/virtual/powercap")?;
        }
        let is_taken = |target: &str| spec.mounts.iter().any(|m| m.target == Path::new(target));
        for (tree, target) in [
            (&given.resolv_conf, "/etc/resolv.conf"),
            (&given.hosts, "/etc/hosts"),
        ] {
            if let (Some(tree), false) = (tree, is_taken(target)) {
                self.put_file(tree, Path::new(target))?;
            }
        }
        for (mount, source) in spec.mounts.iter().zip(&given.sources) {
            self.put_mount(mount, source.as_ref())?;
        }
        Ok(())
    }

    /// Refuses changes of the root itself from now on.
    pub(super) fn make_read_only(&self) -> Result<(), Report> {
        let root = open_path("/", OFlags::PATH | OFlags::DIRECTORY)?;
        sys::mount_set_attributes(&root, libc::MOUNT_ATTR_RDONLY, false)
            .step(|| "make the root read-only".to_owned())
    }

    /// Ends the mount namespace, whose program has ended, and removes the mount points that were
    /// made for it. A name that something is mounted on cannot be removed, so this process goes
    /// back to the caller's namespace first and keeps only the bare root.
    pub(super) fn take_away(&mut self) {
        if self.stubs.is_empty() {
            return;
        }
        let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
        let moved = rustix::thread::move_into_link_name_space(self.host.as_fd(), kind)
            .and_then(|()| rustix::process::fchdir(&self.root))
            .and_then(|()| rustix::process::chroot("."));
        if moved.is_ok() {
            self.stubs.remove();
        }
    }

    fn put_mount(&mut self, mount: &ProcessMount, source: Option<&OwnedFd>) -> Result<(), Report> {
        let target = &mount.target;
        match (&mount.source, source) {
            (MountSource::Tmpfs(options), _) => {
                let (place, created) = self.stub_directory(target)?;
                let covered = match created {
                    true => 0o1777,
                    false => {
                        let metadata = fs::metadata(&place);
                        metadata.step(|| format!("read `{}`", target.display()))?.mode() & 0o7777
                    }
                };
                let tree =
                    memory(options, covered).step(|| format!("make a tmpfs for `{}`", target.display()))?;
                put(&tree, &place)
            }
            (_, Some(tree)) => {
                let metadata =
                    rustix::fs::fstat(tree).step(|| format!("read the source of `{}`", target.display()))?;
                match metadata.st_mode & libc::S_IFMT == libc::S_IFDIR {
                    true => {
                        let (place, _) = self.stub_directory(target)?;
                        put(tree, &place)
                    }
                    false => self.put_file(tree, target),
                }
            }
            (_, None) => Ok(()),
        }
    }

    fn stub_directory(&mut self, path: &Path) -> Result<(PathBuf, bool), Report> {
        let result = self.stubs.directory(path);
        result.step(|| format!("make the mount point `{}`", path.display()))
    }

    fn put_file(&mut self, tree: &OwnedFd, path: &Path) -> Result<(), Report> {
        let result = self.stubs.file(path);
        let (place, _) = result.step(|| format!("make the mount point `{}`", path.display()))?;
        put(tree, &place)
    }

    /// Mounts `tree` on the directory `path`, which is made when missing.
    pub(super) fn put_directory(&mut self, tree: &OwnedFd, path: &str) -> Result<(), Report> {
        let (place, _) = self.stub_directory(Path::new(path))?;
        put(tree, &place)
    }

    fn make_directory(&mut self, path: &str) -> Result<(), Report> {
        self.stub_directory(Path::new(path)).map(drop)
    }
}

/// A file system in memory for the files that are made for one process, and the place where the
/// roots are attached first.
struct Scratch {
    path: PathBuf,
    tree: OwnedFd,
}

impl Scratch {
    fn new() -> Result<Scratch, Report> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let options = [("mode", "0755".to_owned())];
        let tree = new_mount("tmpfs", &options, attributes).step(|| "make a tmpfs".to_owned())?;
        let path = COVERS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_dir())
            .ok_or_else(|| Report::Setup {
                step: "find a directory to mount on (`/sys`, `/dev/shm` or `/proc`)".to_owned(),
                errno: libc::ENOENT,
            })?;
        put(&tree, &path)?;
        Ok(Scratch { path, tree })
    }

    /// A read-only mount of a new file.
    fn file(&self, name: &str, content: Option<&[u8]>) -> Result<Option<OwnedFd>, Report> {
        let Some(content) = content else {
            return Ok(None);
        };
        self.write(name, content, 0o644, (0, 0))
            .and_then(|()| self.open(name, PLAIN))
            .map(Some)
            .step(|| format!("make `{name}`"))
    }

    fn write(&self, name: &str, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.tree, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = fs::File::from(file);
        io::Write::write_all(&mut file, content)?;
        std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
    }

    fn open(&self, name: &str, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, self.path.join(name), flags)?;
        let attributes = attributes | MountAttrFlags::MOUNT_ATTR_RDONLY;
        sys::mount_set_attributes(&tree, attributes.bits().into(), false)?;
        Ok(tree)
    }

    /// The tree of a mount that needs the scratch space.
    fn source(&self, index: usize, mount: &ProcessMount) -> Result<Option<OwnedFd>, Report> {
        let name = format!("mount{index}");
        let target = || format!("prepare the mount `{}`", mount.target.display());
        match &mount.source {
            MountSource::File {
                content,
                uid,
                gid,
                mode,
                executable,
            } => {
                let attributes = if *executable {
                    PLAIN.difference(MountAttrFlags::MOUNT_ATTR_NOEXEC)
                } else {
                    PLAIN
                };
                self.write(&name, content, *mode, (*uid, *gid))
                    .and_then(|()| self.open(&name, attributes))
                    .map(Some)
                    .step(target)
            }
            MountSource::Tree {
                mount,
                subpath,
                readonly,
            } => {
                let place = self.directory(&name).step(target)?;
                mount.attach(&place).map_err(|error| mount_failure(&error))?;
                clone_below(&place, subpath, *readonly).map(Some).step(target)
            }
            MountSource::Bind { .. } | MountSource::Tmpfs(_) => Ok(None),
        }
    }

    fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(path)
    }
}

fn open_path(path: &str, flags: OFlags) -> Result<OwnedFd, Report> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).step(|| format!("open `{path}`"))
}

/// Attaches the root and makes it this process's own; gives the old one.
fn enter_root(spec: &ProcessSpec, scratch: &Scratch) -> Result<OwnedFd, Report> {
    let place = scratch.directory("root").step(|| "make a directory".to_owned())?;
    spec.root.attach(&place).map_err(|error| mount_failure(&error))?;
    let old_root = open_path("/", OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::process::chdir(&place).step(|| "enter the new root".to_owned())?;
    rustix::process::pivot_root(".", ".").step(|| "change the root".to_owned())?;
    rustix::process::chdir("/").step(|| "enter the new root".to_owned())?;
    Ok(old_root)
}

fn mount_failure(error: &MountError) -> Report {
    let errno = match error {
        MountError::Io { source, .. } => source.raw_os_error(),
        _ => None,
    };
    Report::Setup {
        step: error.to_string(),
        errno: errno.unwrap_or(libc::EOPNOTSUPP),
    }
}

/// The caller's file or directory of a bind mount.
fn host_source(mount: &ProcessMount) -> Result<Option<OwnedFd>, Report> {
    let MountSource::Bind { path, readonly } = &mount.source else {
        return Ok(None);
    };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, path, flags)
        .step(|| format!("open the mount source `{}`", path.display()))?;
    if *readonly {
        sys::mount_set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, true)
            .step(|| format!("make `{}` read-only", path.display()))?;
    }
    Ok(Some(tree))
}

/// A mount of `subpath` inside the directory `place`, resolved inside it.
fn clone_below(place: &Path, subpath: &Path, readonly: bool) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let relative = subpath.strip_prefix("/").unwrap_or(subpath);
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    let inside = rustix::fs::openat2(
        &root,
        relative,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        rustix::fs::ResolveFlags::IN_ROOT,
    )?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(&inside, "", flags)?;
    if readonly {
        sys::mount_set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, false)?;
    }
    Ok(tree)
}

/// A new `/sys`. The kernel gives one only to the owner of the network namespace; others get the
/// one that is there, read-only.
fn sysfs(security: Security) -> Result<OwnedFd, Report> {
    let attributes = match security {
        Security::Sandbox => PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY,
        Security::Insecure => PLAIN,
    };
    if let Ok(tree) = new_mount("sysfs", &[], attributes) {
        return Ok(tree);
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, "/sys", flags).step(|| "open `/sys`".to_owned())?;
    sys::mount_set_attributes(&tree, attributes.bits().into(), true)
        .step(|| "make `/sys` read-only".to_owned())?;
    Ok(tree)
}

/// The cgroup v2 tree of the new cgroup namespace, where the host's hierarchy is v2 alone.
fn cgroup(security: Security) -> Option<OwnedFd> {
    let host = rustix::fs::statfs("/sys/fs/cgroup").ok()?;
    if host.f_type != libc::CGROUP2_SUPER_MAGIC {
        return None;
    }
    let attributes = match security {
        Security::Sandbox => PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY,
        Security::Insecure => PLAIN,
    };
    new_mount("cgroup2", &[], attributes).ok()
}

/// A file system in memory; `covered` is the mode of what it covers.
fn memory(options: &TmpfsOptions, covered: u32) -> io::Result<OwnedFd> {
    let mut settings = vec![
        ("mode", format!("{:o}", options.mode.unwrap_or(covered))),
        ("uid", options.uid.to_string()),
        ("gid", options.gid.to_string()),
    ];
    settings.extend(options.size.map(|size| ("size", size.to_string())));
    let attributes = match options.noexec {
        true => PLAIN,
        false => PLAIN.difference(MountAttrFlags::MOUNT_ATTR_NOEXEC),
    };
    new_mount("tmpfs", &settings, attributes)
}

/// A new file system that is mounted nowhere yet.
pub(super) fn new_mount(
    kind: &str,
    options: &[(&str, String)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, value.as_str())?;
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// Moves a detached mount to `place`, which is no symlink.
pub(super) fn put(tree: impl AsFd, place: &Path) -> Result<(), Report> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", CWD, place, flags).step(|| format!("mount on `{}`", place.display()))
}

/// Makes `path` look empty and read-only, if it exists: an empty directory over a directory,
/// `/dev/null` over anything else.
pub(super) fn hide(path: &str) -> Result<(), Report> {
    let step = || format!("hide `{path}`");
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(_) => return Ok(()),
    };
    let tree = if metadata.is_dir() {
        let attributes = PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY;
        new_mount("tmpfs", &[("size", "0".to_owned())], attributes).step(step)?
    } else {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, "/dev/null", flags).step(step)?
    };
    put(&tree, Path::new(path))
}

/// Makes `path` read-only, if it exists.
pub(super) fn protect(path: &str) -> Result<(), Report> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = match rustix::mount::open_tree(CWD, path, flags) {
        Ok(tree) => tree,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).step(|| format!("protect `{path}`")),
    };
    sys::mount_set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, true).step(|| format!("protect `{path}`"))?;
    put(&tree, Path::new(path))
}

/// Makes the work directory with mode 0755 for the user when it is missing. It stays.
pub(super) fn make_work_directory(path: &Path, user: &User) -> Result<(), Report> {
    let step = || format!("make the work directory `{}`", path.display());
    let (mut current, missing) = stubs::resolve(&stubs::tidied(path)).step(step)?;
    for name in missing {
        current.push(name);
        fs::DirBuilder::new().mode(0o755).create(&current).step(step)?;
        chown(&current, Some(user.uid), Some(user.gid)).step(step)?;
    }
    // `/a/b/..` as it is written needs `/a/b`, which then belongs to root, as with BuildKit's runtime.
    make_as_written(path).step(step)
}

/// Makes what is missing of a path, `..` being what the kernel takes it for.
fn make_as_written(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_as_written(parent)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Takes the caller's file hierarchy away for good.
pub(super) fn leave_old_root(old_root: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(old_root)?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Whether `path` exists, itself a symlink or not.
pub(super) fn exists(path: &str) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
