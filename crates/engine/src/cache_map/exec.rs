//! Cache map of a process.

use distil_llb::pb;
use distil_oci::Digest;
use distil_rootfs::content::{Selector, SelectorPath};

use super::go_json::Object;
use super::{InputKey, OpKey};

/// The key of a process: its definition without what must not matter (proxies, addresses of extra hosts,
/// ids of cache mounts), and for each input the paths that it sees.
pub(super) fn key(exec: &pb::ExecOp, platform: &pb::Platform, inputs: usize) -> Result<OpKey, String> {
    let text = Object::new()
        .always_string("Type", "buildkit.exec.v0")
        .raw("Exec", &exec_json(&cleaned(exec)))
        .always_string("OS", &platform.os)
        .always_string("Arch", &platform.architecture)
        .string("Variant", &platform.variant)
        .string("OSVersion", &platform.os_version)
        .strings("OSFeatures", &platform.os_features)
        .finish();
    Ok(OpKey {
        digest: Digest::sha256(text.as_bytes()),
        inputs: input_keys(exec, inputs)?,
    })
}

/// The definition as it is hashed (BuildKit `ExecOp.CacheMap`).
fn cleaned(exec: &pb::ExecOp) -> pb::ExecOp {
    let mut exec = exec.clone();
    if let Some(meta) = &mut exec.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    for mount in &mut exec.mounts {
        mount.selector.clear();
        let dest = mount.dest.clone();
        if let Some(cache) = &mut mount.cache_opt
            && !is_default_cache_mount(cache, &dest)
        {
            cache.id.clear();
            cache.sharing = 0;
        }
    }
    // BuildKit once left the mounts out; the plain root mount still is.
    if let [root] = exec.mounts.as_slice()
        && is_plain_root(root)
    {
        exec.mounts.clear();
    }
    exec
}

fn is_default_cache_mount(cache: &pb::CacheOpt, dest: &str) -> bool {
    cache.sharing == 0 && (cache.id == dest || cache.id.split_once('/').is_some_and(|(_, rest)| rest == dest))
}

fn is_plain_root(mount: &pb::Mount) -> bool {
    mount.dest == "/"
        && !mount.readonly
        && mount.mount_type == pb::MountType::Bind as i32
        && mount.cache_opt.is_none()
        && mount.ssh_opt.is_none()
        && mount.secret_opt.is_none()
        && mount.result_id.is_empty()
}

fn input_keys(exec: &pb::ExecOp, inputs: usize) -> Result<Vec<InputKey>, String> {
    let mut seen: Vec<(Vec<String>, bool)> = vec![(Vec::new(), false); inputs];
    for mount in &exec.mounts {
        let kind = pb::MountType::try_from(mount.mount_type).unwrap_or(pb::MountType::Bind);
        if matches!(
            kind,
            pb::MountType::Secret | pb::MountType::Ssh | pb::MountType::Tmpfs
        ) || mount.input == -1
        {
            continue;
        }
        let Some((paths, content)) = usize::try_from(mount.input).ok().and_then(|at| seen.get_mut(at)) else {
            return Err(format!(
                "mount `{}` names input {}, which does not exist",
                mount.dest, mount.input
            ));
        };
        let path = super::clean_absolute(&mount.selector);
        // Content may stand for the input only where no unselected file can reach a result.
        let safe = mount.output == -1 || mount.readonly || path == "/";
        let control =
            pb::MountContentCache::try_from(mount.content_cache).unwrap_or(pb::MountContentCache::Default);
        *content = match control {
            pb::MountContentCache::Off => false,
            pb::MountContentCache::On if safe => true,
            pb::MountContentCache::On => {
                return Err(format!("mount `{}` cannot be cached by content", mount.dest));
            }
            pb::MountContentCache::Default => safe && mount.dest != "/",
        };
        paths.push(path);
    }
    Ok(seen
        .into_iter()
        .map(|(paths, content)| input_key(paths, content))
        .collect())
}

fn input_key(paths: Vec<String>, content: bool) -> InputKey {
    if paths.is_empty() {
        return InputKey::default();
    }
    let selector = Digest::sha256(paths.join("\0").as_bytes());
    // One mount of the whole root makes the other paths moot, and BuildKit then follows no link.
    let whole = paths.iter().any(|path| path == "/");
    let paths = paths
        .into_iter()
        .filter(|_| !whole)
        .map(|path| SelectorPath {
            path,
            follow_links: true,
            ..SelectorPath::default()
        })
        .collect();
    InputKey {
        selector: Some(selector),
        content: content.then(|| Selector { paths }.deduplicated()),
    }
}

fn exec_json(exec: &pb::ExecOp) -> String {
    Object::new()
        .optional("meta", exec.meta.as_ref(), meta_json)
        .list("mounts", &exec.mounts, mount_json)
        .number("network", exec.network)
        .number("security", exec.security)
        .list("secretenv", &exec.secretenv, |secret| {
            Object::new()
                .string("ID", &secret.id)
                .string("name", &secret.name)
                .boolean("optional", secret.optional)
                .finish()
        })
        .list("cdiDevices", &exec.cdi_devices, |device| {
            Object::new()
                .string("name", &device.name)
                .boolean("optional", device.optional)
                .finish()
        })
        .finish()
}

fn meta_json(meta: &pb::Meta) -> String {
    Object::new()
        .strings("args", &meta.args)
        .strings("env", &meta.env)
        .string("cwd", &meta.cwd)
        .string("user", &meta.user)
        .list("extraHosts", &meta.extra_hosts, |host| {
            Object::new()
                .string("Host", &host.host)
                .string("IP", &host.ip)
                .finish()
        })
        .string("hostname", &meta.hostname)
        .list("ulimit", &meta.ulimit, |limit| {
            Object::new()
                .string("Name", &limit.name)
                .number("Soft", limit.soft)
                .number("Hard", limit.hard)
                .finish()
        })
        .string("cgroupParent", &meta.cgroup_parent)
        .boolean("removeMountStubsRecursive", meta.remove_mount_stubs_recursive)
        .list("validExitCodes", &meta.valid_exit_codes, ToString::to_string)
        .finish()
}

fn mount_json(mount: &pb::Mount) -> String {
    Object::new()
        .number("input", mount.input)
        .string("selector", &mount.selector)
        .string("dest", &mount.dest)
        .number("output", mount.output)
        .boolean("readonly", mount.readonly)
        .number("mountType", mount.mount_type)
        .optional("TmpfsOpt", mount.tmpfs_opt.as_ref(), |tmpfs| {
            Object::new().number("size", tmpfs.size).finish()
        })
        .optional("cacheOpt", mount.cache_opt.as_ref(), |cache| {
            Object::new()
                .string("ID", &cache.id)
                .number("sharing", cache.sharing)
                .finish()
        })
        .optional("secretOpt", mount.secret_opt.as_ref(), |secret| {
            file_opt_json(&secret.id, secret.uid, secret.gid, secret.mode, secret.optional)
        })
        .optional("SSHOpt", mount.ssh_opt.as_ref(), |ssh| {
            file_opt_json(&ssh.id, ssh.uid, ssh.gid, ssh.mode, ssh.optional)
        })
        .string("resultID", &mount.result_id)
        .number("contentCache", mount.content_cache)
        .finish()
}

fn file_opt_json(id: &str, uid: u32, gid: u32, mode: u32, optional: bool) -> String {
    Object::new()
        .string("ID", id)
        .number("uid", uid)
        .number("gid", gid)
        .number("mode", mode)
        .boolean("optional", optional)
        .finish()
}
