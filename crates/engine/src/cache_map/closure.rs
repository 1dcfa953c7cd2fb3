//! Cache map of `COPY --closure`, an operation of distil's own.

use distil_llb::pb;
use distil_oci::Digest;
use distil_rootfs::content::{Selector, SelectorPath};
use distil_rootfs::ignore::contains_wildcards;

use super::file::owner_json;
use super::go_json::Object;
use super::{InputKey, OpKey};

/// Everything that is said in the operation is part of the key, and the version of the rules of what belongs to a
/// closure. The content of the source is what was brought of it, which the operation itself finds out; so a stage
/// that changed elsewhere hits.
pub(super) fn key(closure: &pb::ClosureOp, inputs: usize) -> Result<OpKey, String> {
    let json = Object::new()
        .strings("paths", &closure.paths)
        .string("dest", &closure.dest)
        .optional("owner", closure.owner.as_ref(), owner_json)
        .number("mode", closure.mode)
        .string("modeStr", &closure.mode_str)
        .strings("excludePatterns", &closure.exclude_patterns);
    let text = Object::new()
        .always_string("Type", "distil.closure.v1")
        .raw("Closure", &json.finish())
        .finish();
    let mut keys = vec![InputKey::default(); inputs];
    let source = usize::try_from(closure.source).unwrap_or(usize::MAX);
    let Some(key) = keys.get_mut(source) else {
        return Err(format!("a closure names input {} of {inputs}", closure.source));
    };
    // A base that is copied from counts as a whole.
    if closure.base != closure.source {
        key.content = Some(Selector {
            paths: closure.paths.iter().map(|path| selector(path)).collect(),
        });
    }
    Ok(OpKey {
        digest: Digest::sha256(text.as_bytes()),
        inputs: keys,
    })
}

fn selector(path: &str) -> SelectorPath {
    SelectorPath {
        path: path.to_owned(),
        wildcard: contains_wildcards(path),
        follow_links: true,
        ..SelectorPath::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_counts() {
        let first = pb::ClosureOp {
            base: 0,
            source: 1,
            paths: vec!["/bin/tool".into()],
            dest: "/".into(),
            mode: -1,
            ..pb::ClosureOp::default()
        };
        let changed = [
            pb::ClosureOp {
                paths: vec!["/bin/too".into()],
                ..first.clone()
            },
            pb::ClosureOp {
                dest: "/x".into(),
                ..first.clone()
            },
            pb::ClosureOp {
                mode: 0,
                ..first.clone()
            },
            pb::ClosureOp {
                mode_str: "u+x".into(),
                ..first.clone()
            },
            pb::ClosureOp {
                exclude_patterns: vec!["etc".into()],
                ..first.clone()
            },
            pb::ClosureOp {
                owner: Some(pb::ChownOpt::default()),
                ..first.clone()
            },
        ];
        let digest = |closure: &pb::ClosureOp| key(closure, 2).map(|key| key.digest);
        for other in &changed {
            assert_ne!(digest(&first), digest(other));
        }
        assert!(key(&first, 1).is_err());
        let inputs = key(&first, 2).map(|key| key.inputs).unwrap_or_default();
        assert!(inputs[0].content.is_none() && inputs[1].content.is_some());
        let onto_itself = pb::ClosureOp { source: 0, ..first };
        let inputs = key(&onto_itself, 1).map(|key| key.inputs).unwrap_or_default();
        assert!(inputs[0].content.is_none());
    }
}
