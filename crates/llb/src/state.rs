//! What a stage carries from one instruction to the next.

use std::collections::{BTreeMap, HashMap};

use crate::Edge;
use crate::pb;

/// Variables in the order in which they were last set.
#[derive(Clone, Debug, Default)]
pub struct EnvList {
    /// Value, and when it was set.
    values: HashMap<String, (u64, String)>,
    /// Names by the time they were set.
    order: BTreeMap<u64, String>,
    clock: u64,
}

impl EnvList {
    /// Sets a variable; one that was set before moves to the end, as in BuildKit,
    /// where the order is part of an op's digest.
    pub fn set(&mut self, key: &str, value: &str) {
        self.unset(key);
        self.values.insert(key.to_owned(), (self.clock, value.to_owned()));
        self.order.insert(self.clock, key.to_owned());
        self.clock += 1;
    }

    /// Forgets a variable.
    pub fn unset(&mut self, key: &str) {
        if let Some((time, _)) = self.values.remove(key) {
            self.order.remove(&time);
        }
    }

    /// The value, if set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(_, value)| value.as_str())
    }

    /// Name and value of each variable, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.order
            .values()
            .filter_map(|key| Some((key.as_str(), self.get(key)?)))
    }

    /// `KEY=value`, in order.
    pub fn to_strings(&self) -> Vec<String> {
        self.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

impl PartialEq for EnvList {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for EnvList {}

/// A filesystem and the settings that the next op in it takes over.
#[derive(Clone, Debug)]
pub struct State {
    /// The filesystem; `None` is the empty one.
    pub output: Option<Edge>,
    /// The environment of processes.
    pub env: EnvList,
    /// The work directory, absolute.
    pub dir: String,
    /// User of processes, as written.
    pub user: String,
    /// Platform of processes, normalised; `None` takes the build's.
    pub platform: Option<pb::Platform>,
    /// Host name of processes; empty takes the builder's.
    pub hostname: String,
    /// Network of processes.
    pub network: pb::NetMode,
}

impl State {
    /// `output` with default settings, at `/`.
    pub fn new(output: Option<Edge>) -> Self {
        Self {
            output,
            env: EnvList::default(),
            dir: "/".to_owned(),
            user: String::new(),
            platform: None,
            hostname: String::new(),
            network: pb::NetMode::Unset,
        }
    }

    /// The empty filesystem.
    pub fn scratch() -> Self {
        Self::new(None)
    }
}
