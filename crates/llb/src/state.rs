//! What a stage carries from one instruction to the next.

use crate::Edge;
use crate::pb;

/// Variables in the order in which they were last set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvList(Vec<(String, String)>);

impl EnvList {
    /// Sets a variable; one that was set before moves to the end, as in BuildKit,
    /// where the order is part of an op's digest.
    pub fn set(&mut self, key: &str, value: &str) {
        self.unset(key);
        self.0.push((key.to_owned(), value.to_owned()));
    }

    /// Forgets a variable.
    pub fn unset(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }

    /// The value, if set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// Name and value of each variable, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `KEY=value`, in order.
    pub fn to_strings(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }
}

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
