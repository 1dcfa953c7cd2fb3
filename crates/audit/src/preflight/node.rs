//! Node.js: native addons that are made for another ABI.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::command::Command;
use super::id;
use super::image::Image;
use super::libraries::Depth;
use crate::{AuditError, printable_path};

/// The name under which an addon, and Node.js itself, say their ABI (`process.versions.modules`).
const REGISTER: &[u8] = b"node_register_module_v";

/// What addons have that work with every ABI (Node-API).
const STABLE: [&[u8]; 2] = [b"napi_register_module_v", b"napi_module_register"];

/// Where builders of addons write the ABI in paths: `node-v115-linux-x64`, `node.abi115.node`.
const IN_PATHS: [&str; 2] = ["node-v", ".abi"];

/// Addons are a few megabytes.
const MAX_ADDON: u64 = 256 << 20;

/// Node.js by ABI, where the number says little to people.
const RELEASES: &[(u32, &str)] = &[
    (83, "14"),
    (93, "16"),
    (108, "18"),
    (115, "20"),
    (127, "22"),
    (137, "24"),
];

impl Image<'_, '_> {
    /// Compares the addons that the build brought with the Node.js of the image.
    pub(super) fn check_node(&mut self, command: &Command) -> Result<(), AuditError> {
        let is_addon = |path: &Path| path.extension() == Some(OsStr::new("node"));
        let addons = self.brought.binaries.iter().map(|file| &file.path);
        let addons: Vec<PathBuf> = addons.filter(|path| is_addon(path)).cloned().collect();
        let mut of_abi = Vec::new();
        for addon in addons {
            if let Some(abi) = self.addon_abi(&addon)? {
                of_abi.push((addon, abi));
            }
        }
        if of_abi.is_empty() {
            return Ok(());
        }
        let Some(own) = self.node_abi(command)? else {
            return Ok(());
        };
        for (addon, abi) in of_abi {
            // Packages bring addons for many versions, of which the right one is loaded.
            if abi == own || self.has_sibling(&addon, abi, own)? {
                continue;
            }
            let message = format!(
                "the addon `{}` is for {}, the image has {}",
                printable_path(&addon),
                release(abi),
                release(own)
            );
            let fix = "run `npm rebuild` or `npm ci` with the Node.js of the image, or use a base with the one it was \
                       built for";
            let finding = self.about_file(id::NODE_ABI, &addon, message).fix(fix);
            self.report(finding);
        }
        Ok(())
    }

    /// The ABI that an addon is made for; `None` when it works with all, or does not say.
    fn addon_abi(&self, addon: &Path) -> Result<Option<u32>, AuditError> {
        let file = self.subject.tree_file(addon)?;
        let mut bytes = Vec::new();
        let limit = file.metadata().map_or(0, |facts| facts.len()).min(MAX_ADDON);
        if file.take(limit).read_to_end(&mut bytes).is_err() || !bytes.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        if STABLE.iter().any(|name| memmem::find(&bytes, name).is_some()) {
            return Ok(None);
        }
        Ok(registered(&bytes).or_else(|| in_path(addon)))
    }

    /// Whether the same addon for the ABI `own` lies beside the one for `abi`.
    fn has_sibling(&self, addon: &Path, abi: u32, own: u32) -> Result<bool, AuditError> {
        let path = addon.to_string_lossy();
        for prefix in IN_PATHS {
            let other = path.replace(&format!("{prefix}{abi}"), &format!("{prefix}{own}"));
            if other != path && self.file(Path::new(&other))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ABI of the Node.js that the image starts, else of the first on `PATH`.
    fn node_abi(&mut self, command: &Command) -> Result<Option<u32>, AuditError> {
        let started = command.program("node").or_else(|| command.program("nodejs"));
        let node = match started {
            Some((_, real)) => Some(real.clone()),
            None => match self.find_program("node")? {
                Some(path) => self.file(&path)?,
                None => None,
            },
        };
        let Some(node) = node else {
            return Ok(None);
        };
        if let Some(linked) = self.linkage.link(&node, Depth::Own)? {
            // Debian's Node.js is a library that has the number in its name.
            let names = linked.objects.iter().filter_map(|(_, elf)| elf.soname());
            let number = |name: &std::ffi::OsString| name.to_str()?.strip_prefix("libnode.so.")?.parse().ok();
            if let Some(abi) = names.into_iter().find_map(number) {
                return Ok(Some(abi));
            }
        }
        Ok(search(self.subject.tree_file(&node)?))
    }
}

fn release(abi: u32) -> String {
    match RELEASES.iter().find(|(known, _)| *known == abi) {
        Some((_, release)) => format!("Node.js {release} (ABI {abi})"),
        None => format!("ABI {abi} of Node.js"),
    }
}

/// The number behind [`REGISTER`].
fn registered(bytes: &[u8]) -> Option<u32> {
    memmem::find_iter(bytes, REGISTER).find_map(|at| {
        let rest = &bytes[at + REGISTER.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // Names end in a zero byte; without it the number may go on in the next piece.
        rest.get(digits)?;
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    })
}

/// Looks for [`REGISTER`] in a large file.
fn search(mut file: File) -> Option<u32> {
    const PIECE: usize = 1 << 20;
    /// A name that begins in one piece ends in the next.
    const OVERLAP: usize = 64;
    let mut buffer = vec![0; PIECE];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..]).ok().filter(|count| *count > 0)?;
        let filled = kept + count;
        if let Some(abi) = registered(&buffer[..filled]) {
            return Some(abi);
        }
        kept = filled.min(OVERLAP);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

fn in_path(path: &Path) -> Option<u32> {
    let path = path.to_string_lossy();
    IN_PATHS.iter().find_map(|prefix| {
        let rest = &path[path.rfind(prefix)? + prefix.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abis() {
        assert_eq!(registered(b"\0node_register_module_v115\0"), Some(115));
        assert_eq!(registered(b"node_register_module_v"), None);
        assert_eq!(
            in_path(Path::new("/a/lib/binding/node-v108-linux-x64/x.node")),
            Some(108)
        );
        assert_eq!(
            in_path(Path::new("/a/prebuilds/linux-x64/node.abi93.node")),
            Some(93)
        );
        assert_eq!(in_path(Path::new("/a/napi-v3/x.node")), None);
        assert_eq!(release(115), "Node.js 20 (ABI 115)");
    }
}
