//! Building the keys of a task from those of its inputs.

use std::collections::HashMap;
use std::sync::Arc;

use distil_oci::Digest;

use crate::key::{CacheKey, KeyInput, KeyLink, content_record, output_record};
use crate::op::Content;
use crate::scheduler::Scheduler;
use crate::scheduler::lookup::InputKeys;
use crate::scheduler::task::{ContentKey, OutputKeys, Slot, Task, keys_for};
use crate::store::{NodeId, QueryKey, Source};

/// What the keys of a task are made of.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// The alternative digests of the cache map.
    digests: Vec<Digest>,
    /// For each input, the links from its definition keys.
    inputs: Vec<KeyInput>,
    /// For each input, the digest of its content.
    content: Vec<Option<Digest>>,
    /// Where the first store has keys of these record digests.
    nodes: Vec<(Digest, NodeId)>,
}

impl Draft {
    fn new(task: &Task, inputs: Vec<KeyInput>) -> Self {
        let content = |key: &ContentKey| match key {
            ContentKey::Known(digest) => *digest,
            ContentKey::Unknown | ContentKey::Computing => None,
        };
        let found = task.candidates.iter().filter(|found| found.store == 0);
        Self {
            digests: task.map.as_ref().map_or_else(Vec::new, |map| map.digests.clone()),
            inputs,
            content: task.content.iter().map(content).collect(),
            nodes: found
                .filter_map(|found| Some((found.record, *found.nodes.first()?)))
                .collect(),
        }
    }

    /// Takes over what an op has measured for the inputs that allow it. What it made is a new result, not that of a
    /// key which was found before by a definition.
    pub(super) fn measured(&mut self, content: &[Option<Digest>], allowed: &[bool]) {
        self.nodes.clear();
        for ((known, measured), allowed) in self.content.iter_mut().zip(content).zip(allowed) {
            if let (Some(measured), true) = (measured, allowed) {
                *known = Some(*measured);
            }
        }
    }

    /// The inputs whose content is to be a key and is not known yet.
    pub(super) fn unmeasured(&self, allowed: &[bool]) -> Vec<usize> {
        let missing = |&at: &usize| self.content[at].is_none() && allowed.get(at) == Some(&true);
        (0..self.content.len()).filter(missing).collect()
    }

    /// Takes over a digest that was computed late.
    pub(super) fn set_content(&mut self, input: usize, digest: Option<Digest>) {
        self.content[input] = digest;
    }

    /// The keys of one output. None when an input has no key that means anything outside the build.
    pub(super) fn keys(&self, output: u32) -> Vec<Arc<CacheKey>> {
        let mut inputs = self.inputs.clone();
        for (links, content) in inputs.iter_mut().zip(&self.content) {
            if let Some(content) = content {
                links.push(KeyLink {
                    key: Arc::new(CacheKey::content(content)),
                    selector: None,
                    content: true,
                });
            }
        }
        if inputs.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let key = |digest| {
            let key = CacheKey::new(output_record(digest, output), inputs.clone());
            if let Some((_, node)) = self.nodes.iter().find(|(record, _)| record == key.record()) {
                key.set_node(*node);
            }
            Arc::new(key)
        };
        self.digests.iter().map(key).collect()
    }

    /// A name of the work that is the same in every process which shares the first store; `None` when the work has no
    /// key that others could find.
    pub(super) fn flight(&self) -> Option<Digest> {
        let name = |link: &KeyLink| {
            let selector = link
                .selector
                .map_or_else(String::new, |selector| selector.to_string());
            match (link.key.inputs().is_empty(), link.key.node()) {
                (true, _) => Some(format!("{} {selector}", link.key.record())),
                (false, Some(node)) => Some(format!("{} {selector}", node.0)),
                (false, None) => None,
            }
        };
        let mut text = self
            .digests
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        for (links, content) in self.inputs.iter().zip(&self.content) {
            let definition = links.iter().filter_map(name).min();
            text.push('\n');
            text.push_str(&definition.or_else(|| content.map(|digest| content_record(&digest).to_string()))?);
        }
        Some(Digest::sha256(text.as_bytes()))
    }
}

/// The record digests of the needed outputs, under each alternative digest.
pub(super) fn records(task: &Task) -> Vec<(u32, Digest)> {
    let Some(map) = &task.map else { return Vec::new() };
    let of_output = |&output: &u32| {
        map.digests
            .iter()
            .map(move |digest| (output, output_record(digest, output)))
    };
    task.outputs.iter().flat_map(of_output).collect()
}

impl Scheduler {
    /// The keys of the inputs of a task in one store.
    pub(super) fn query_keys(&self, slot: Slot, store: usize) -> InputKeys {
        let task = &self.tasks[slot];
        let mut found = InputKeys::default();
        for (input, &(from, output)) in task.inputs.iter().enumerate() {
            let selector = task.selector(input);
            let nodes = self.tasks[from].nodes(output, store).map(Source::Node);
            let mut keys: Vec<_> = nodes.map(|source| QueryKey { source, selector }).collect();
            let content = match &task.content[input] {
                ContentKey::Known(content) => *content,
                ContentKey::Unknown | ContentKey::Computing => None,
            };
            keys.extend(content.map(|content| QueryKey {
                source: Source::Root(content_record(&content)),
                selector: None,
            }));
            found.content.push(content.is_some());
            found.keys.push(keys);
        }
        found
    }

    /// What the keys of a task are made of, as far as they are known.
    pub(super) fn draft(&self, slot: Slot) -> Draft {
        let mut known: HashMap<Slot, OutputKeys> = HashMap::new();
        let mut stack = vec![slot];
        // Finished tasks have their keys; those between here and there are made anew, inputs first.
        while let Some(&top) = stack.last() {
            let before = stack.len();
            let inputs = self.tasks[top].inputs.iter().map(|&(input, _)| input);
            stack.extend(
                inputs.filter(|input| self.tasks[*input].done().is_none() && !known.contains_key(input)),
            );
            if stack.len() > before {
                continue;
            }
            stack.pop();
            if top != slot && !known.contains_key(&top) {
                let draft = Draft::new(&self.tasks[top], self.key_inputs(top, &known));
                known.insert(top, self.output_keys(top, &draft));
            }
        }
        Draft::new(&self.tasks[slot], self.key_inputs(slot, &known))
    }

    /// The keys of the needed outputs of a task.
    pub(super) fn output_keys(&self, slot: Slot, draft: &Draft) -> OutputKeys {
        let task = &self.tasks[slot];
        if task.private() {
            return Vec::new();
        }
        task.outputs
            .iter()
            .map(|&output| (output, draft.keys(output)))
            .collect()
    }

    fn key_inputs(&self, slot: Slot, known: &HashMap<Slot, OutputKeys>) -> Vec<KeyInput> {
        let task = &self.tasks[slot];
        let of_input = |(input, &(from, output)): (usize, &(Slot, u32))| {
            let selector = task.selector(input);
            let keys = match self.tasks[from].done() {
                Some(done) => keys_for(&done.keys, output),
                None => known.get(&from).map_or(&[][..], |keys| keys_for(keys, output)),
            };
            keys.iter()
                .map(|key| KeyLink {
                    key: Arc::clone(key),
                    selector,
                    content: false,
                })
                .collect()
        };
        task.inputs.iter().enumerate().map(of_input).collect()
    }

    /// For each input of a task, whether its content can be a key.
    pub(super) fn content_allowed(&self, slot: Slot) -> Vec<bool> {
        let task = &self.tasks[slot];
        (0..task.inputs.len())
            .map(|input| task.content_of(input) != Content::Ignored)
            .collect()
    }
}
