//! The rules that the text alone decides, for every stage of the file.

use std::collections::BTreeSet;

use super::{Finding, Linter};
use crate::ast::{Command, Dockerfile, Stage, Statement};
use crate::span::Span;

/// Names that mean something else in FROM and `--from`.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Reports what the text alone shows: casing, names, deprecated and misleading forms. Stages that are not built
/// count too.
pub fn check_file(file: &Dockerfile, linter: &Linter<'_>) {
    for span in &file.empty_continuations {
        // Told at the last line of the instruction, where BuildKit notices it.
        let end = Span {
            start: span.end,
            first_line: span.last_line,
            ..*span
        };
        linter.report(&Finding::NoEmptyContinuation, end);
    }
    for arg in &file.meta_args {
        let names: Vec<&str> = arg.args.iter().map(|pair| pair.key.as_str()).collect();
        description(linter, "ARG", &names, &arg.statement);
    }
    for stage in &file.stages {
        from(linter, stage);
        for instruction in &stage.instructions {
            let statement = &instruction.statement;
            match &instruction.command {
                Command::Maintainer(_) => linter
                    .below(&statement.comments)
                    .report(&Finding::MaintainerDeprecated, statement.span),
                Command::Arg(args) => {
                    let names: Vec<&str> = args.iter().map(|pair| pair.key.as_str()).collect();
                    description(linter, "ARG", &names, statement);
                }
                _ => {}
            }
        }
    }
    stage_names(linter, file);
    casing(linter, file);
}

fn from(linter: &Linter<'_>, stage: &Stage) {
    let statement = &stage.statement;
    let scope = linter.below(&statement.comments);
    if let Some(name) = &stage.typed_name
        && name.value != name.to_lowercase()
    {
        scope.report(&Finding::StageNameCasing { name }, statement.span);
    }
    if let Some(r#as) = &stage.as_keyword {
        let from = statement.keyword.as_str();
        let matches = if is_lower(from) {
            is_lower(r#as)
        } else if is_upper(from) {
            is_upper(r#as)
        } else {
            // Mixed casing is told once, of the keyword itself.
            true
        };
        if !matches {
            scope.report(&Finding::FromAsCasing { from, r#as }, statement.span);
        }
    }
    if let Some(name) = &stage.name {
        description(linter, "FROM", &[name.as_str()], statement);
    }
}

/// The last comment above describes the stage or argument, or it should not look as if it did.
fn description(linter: &Linter<'_>, instruction: &str, names: &[&str], statement: &Statement) {
    let (Some(comment), Some(first)) = (statement.comments.last(), names.first()) else {
        return;
    };
    let word = comment.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let name = if names.len() == 1 { first } else { "<arg_key>" };
    linter.below(&statement.comments).report(
        &Finding::InvalidDefinitionDescription { instruction, name },
        statement.span,
    );
}

fn stage_names(linter: &Linter<'_>, file: &Dockerfile) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = stage.name.as_ref().map(|name| name.as_str()) else {
            continue;
        };
        if RESERVED.contains(&name) {
            linter.report(&Finding::ReservedStageName { name }, stage.statement.span);
        }
        if !seen.insert(name) {
            linter.report(&Finding::DuplicateStageName { name }, stage.statement.span);
        }
    }
}

/// Lower case is right where more names are written so than in upper case; mixed ones have no vote.
fn casing(linter: &Linter<'_>, file: &Dockerfile) {
    let (mut lower, mut upper) = (0_usize, 0_usize);
    for statement in statements(file) {
        match statement.keyword.as_str() {
            name if is_lower(name) => lower += 1,
            name if is_upper(name) => upper += 1,
            _ => {}
        }
    }
    let lower = lower > upper;
    for statement in statements(file) {
        let keyword = statement.keyword.as_str();
        let right = if lower {
            is_lower(keyword)
        } else {
            is_upper(keyword)
        };
        if !right {
            linter.report(
                &Finding::ConsistentInstructionCasing { keyword, lower },
                statement.span,
            );
        }
    }
}

/// Instructions of stages; ARGs before the first FROM have no say.
fn statements(file: &Dockerfile) -> impl Iterator<Item = &Statement> {
    file.stages.iter().flat_map(|stage| {
        let own = stage
            .instructions
            .iter()
            .map(|instruction| &instruction.statement);
        std::iter::once(&stage.statement).chain(own)
    })
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}
