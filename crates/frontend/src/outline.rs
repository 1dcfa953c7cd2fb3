//! What a target can be given: arguments, secrets, SSH agents.

use distil_dockerfile::Span;

/// What builds of one target can be given. Every list is in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, where it has one.
    pub name: Option<String>,
    /// The comment above its FROM.
    pub description: Option<String>,
    /// Arguments that the target or what it needs uses.
    pub args: Vec<OutlineArg>,
    /// Secrets that RUN steps ask for.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents that RUN steps ask for.
    pub ssh: Vec<OutlineMount>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What it has in this build: the value given, or its default expanded.
    pub value: Option<String>,
    /// The comment above its ARG.
    pub description: Option<String>,
    /// The ARG.
    pub span: Span,
}

/// A secret or an SSH agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the step fails without it.
    pub required: bool,
    /// The RUN that asks first.
    pub span: Span,
}
