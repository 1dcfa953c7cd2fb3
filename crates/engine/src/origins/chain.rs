//! Which operations made the layers of a result.

use distil_llb::pb::op::Kind;
use distil_llb::{LoadedGraph, OpNode, OutputRef};

use crate::ops::base_of;

/// Merges in merges that are looked through.
const MAX_DEPTH: usize = 8;

/// The operation that made each of `count` layers of a result, lowest first. All below those of the steps belong to the
/// source that the chain starts from.
pub(super) fn makers<'g>(
    graph: &'g LoadedGraph,
    result: &OutputRef,
    count: usize,
) -> Vec<Option<&'g OpNode>> {
    let chain = Chain::of(graph, result, 0);
    let mut makers = vec![chain.base; count];
    // Filled from the top: how many layers the source has, only its layers tell.
    for (place, node) in makers.iter_mut().rev().zip(chain.steps) {
        *place = Some(node);
    }
    makers
}

/// A chain of operations, each of which adds one layer.
struct Chain<'g> {
    /// Where it starts; none for the empty file system.
    base: Option<&'g OpNode>,
    /// The last one first.
    steps: Vec<&'g OpNode>,
}

impl<'g> Chain<'g> {
    fn of(graph: &'g LoadedGraph, result: &OutputRef, depth: usize) -> Self {
        let (mut base, mut steps) = (None, Vec::new());
        let mut next = Some(result);
        while let Some(node) = next.and_then(|output| graph.get(output.op)) {
            let below = match &node.kind {
                Kind::Merge(merge) if depth < MAX_DEPTH => {
                    let mut inputs = merge.inputs.iter().map(|merged| input(node, merged.input));
                    let first = inputs.next().flatten();
                    for above in inputs.rev().flatten() {
                        steps.extend(Self::of(graph, above, depth + 1).steps);
                    }
                    first
                }
                kind => match base_of(kind, node.inputs.len()) {
                    Some(below) => {
                        steps.push(node);
                        input(node, below)
                    }
                    None => {
                        base = Some(node);
                        None
                    }
                },
            };
            next = below;
        }
        Self { base, steps }
    }
}

fn input(node: &OpNode, index: i64) -> Option<&OutputRef> {
    node.inputs.get(usize::try_from(index).ok()?)
}
