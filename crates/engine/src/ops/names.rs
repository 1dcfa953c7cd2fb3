//! Which steps made the layers of a result.

use std::collections::{HashMap, HashSet};

use distil_llb::pb::op::Kind;
use distil_llb::{LoadedGraph, OpDigest, OpNode, OutputRef, pb};

/// Names of the steps that the result stands on, the last one first, one for each layer, down to where a source or
/// a merge is. Histories name layers by them that no instruction accounts for.
pub(crate) fn step_names(definition: &LoadedGraph) -> Vec<String> {
    let nodes: HashMap<OpDigest, &OpNode> = (definition.nodes().iter())
        .map(|node| (node.digest, node))
        .collect();
    let mut names = Vec::new();
    let mut next = definition.result.as_ref();
    while let Some(node) = next.and_then(|output| nodes.get(&output.op)) {
        let Some(base) = base_of(&node.kind, node.inputs.len()) else {
            break;
        };
        names.push(node.display_name());
        next = input(node, base);
    }
    names
}

/// The operations that make layers of the result.
pub(crate) fn result_steps(definition: &LoadedGraph) -> HashSet<OpDigest> {
    let mut steps = HashSet::new();
    let mut waiting: Vec<OpDigest> = definition.result.iter().map(|result| result.op).collect();
    while let Some(node) = waiting.pop().and_then(|op| definition.get(op)) {
        if !steps.insert(node.digest) {
            continue;
        }
        match &node.kind {
            Kind::Merge(_) => waiting.extend(node.inputs.iter().map(|input| input.op)),
            kind => {
                let base = base_of(kind, node.inputs.len());
                waiting.extend(base.and_then(|base| input(node, base)).map(|input| input.op));
            }
        }
    }
    steps
}

fn input(node: &OpNode, index: i64) -> Option<&OutputRef> {
    node.inputs.get(usize::try_from(index).ok()?)
}

/// The input that an operation adds a layer to, -1 for the empty root; none for one that adds no layer to another.
pub(crate) fn base_of(kind: &Kind, inputs: usize) -> Option<i64> {
    match kind {
        Kind::Exec(exec) => {
            let root = exec.mounts.iter().find(|mount| mount.dest == "/");
            root.map(|root| root.input)
        }
        Kind::Closure(closure) => Some(closure.base),
        Kind::File(file) => Some(base_of_file(file, inputs)),
        _ => None,
    }
}

/// The input that the last action's chain starts from; -1 for the empty root.
fn base_of_file(file: &pb::FileOp, inputs: usize) -> i64 {
    let mut base = file.actions.last().map_or(-1, |action| action.input);
    // An action only names earlier ones, so that the chain is not longer than the list.
    for _ in 0..file.actions.len() {
        let earlier = usize::try_from(base)
            .ok()
            .and_then(|index| index.checked_sub(inputs));
        match earlier.and_then(|at| file.actions.get(at)) {
            Some(action) => base = action.input,
            None => break,
        }
    }
    base
}
