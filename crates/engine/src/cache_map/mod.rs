//! Cache maps: what of an operation is its key. The formulas are BuildKit's, byte for byte, so that a cache
//! of either is read by the other.

mod closure;
mod exec;
mod file;
mod go_json;

use distil_llb::OpNode;
use distil_llb::pb;
use distil_llb::pb::op::Kind;
use distil_oci::{ChainId, DiffId, Digest, Platform};
use distil_rootfs::content::Selector;

use self::go_json::Object;

/// What of an operation goes into cache keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpKey {
    /// Hash of the operation itself.
    pub digest: Digest,
    /// One for each input.
    pub inputs: Vec<InputKey>,
}

/// How one input goes into the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputKey {
    /// Hash of the selected paths; absent when the whole input counts.
    pub selector: Option<Digest>,
    /// The paths whose content may stand for the input; absent where only its own key will do.
    pub content: Option<Selector>,
}

/// The key of an operation that is no source; an error says what makes it impossible to run.
pub fn of_op(node: &OpNode, host: &Platform) -> Result<OpKey, String> {
    match &node.kind {
        Kind::Exec(exec) => {
            let platform = node.platform.clone().unwrap_or_else(|| pb::Platform {
                architecture: host.architecture.clone(),
                os: host.os.clone(),
                variant: host.variant.clone(),
                ..pb::Platform::default()
            });
            exec::key(exec, &platform, node.inputs.len())
        }
        Kind::File(file) => file::key(file, node.inputs.len()),
        Kind::Merge(merge) => {
            let inputs = Object::new().list("inputs", &merge.inputs, |input| {
                Object::new().number("input", input.input).finish()
            });
            Ok(plain(
                "buildkit.merge.v0",
                "Merge",
                &inputs.finish(),
                node.inputs.len(),
            ))
        }
        Kind::Diff(diff) => {
            let side = |side: &pb::DiffInput| Object::new().number("input", side.input).finish();
            let sides = Object::new()
                .optional("lower", diff.lower.as_ref(), side)
                .optional("upper", diff.upper.as_ref(), side);
            Ok(plain(
                "buildkit.diff.v0",
                "Diff",
                &sides.finish(),
                node.inputs.len(),
            ))
        }
        Kind::Source(source) => Err(format!("`{}` is a source", source.identifier)),
        Kind::Closure(closure) => closure::key(closure, node.inputs.len()),
        Kind::Build(_) => Err("nested builds cannot be run yet".into()),
        Kind::Passthrough(_) => Err("passthrough operations cannot be run yet".into()),
    }
}

fn plain(kind: &str, field: &str, json: &str, inputs: usize) -> OpKey {
    let text = Object::new()
        .always_string("Type", kind)
        .raw(field, json)
        .finish();
    OpKey {
        digest: Digest::sha256(text.as_bytes()),
        inputs: vec![InputKey::default(); inputs],
    }
}

/// The key of a source: of its kind's own `key` text.
pub fn of_source(key: &str) -> Digest {
    Digest::sha256(format!("buildkit.source.v0:{key}").as_bytes())
}

/// The two keys of an image: by its manifest, and by its layers, so that an equal root file system under
/// another manifest still hits. An image without layers has only the first.
pub fn of_image(manifest: Digest, platform: &Platform, layers: &[DiffId]) -> Vec<Digest> {
    let text = Object::new()
        .always_string("Digest", &manifest.to_string())
        .always_string("OS", &platform.os)
        .always_string("Arch", &platform.architecture)
        .string("Variant", &platform.variant)
        .finish();
    let mut keys = vec![of_source(&Digest::sha256(text.as_bytes()).to_string())];
    if let Some(chain) = ChainId::of(layers) {
        keys.push(of_source(&chain.to_string()));
    }
    keys
}

/// `path` from the root, without `.`, `..` and doubled slashes.
fn clean_absolute(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Go's `path.Base`.
fn base_name(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        "/"
    } else {
        trimmed.rsplit('/').next().unwrap_or(trimmed)
    }
}
