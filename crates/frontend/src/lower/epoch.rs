//! `SOURCE_DATE_EPOCH`: the time that made things get.

use distil_dockerfile::{Command, Diagnostic};

use super::{Lowering, Result, SCRATCH};
use crate::git;

const KEY: &str = "SOURCE_DATE_EPOCH";

impl Lowering<'_> {
    /// Reads the build argument, or the global ARG, and replaces it by its value
    /// in seconds, or removes it where it says nothing.
    pub(super) fn resolve_epoch(&mut self) -> Result<()> {
        let given = self.build_args.get(KEY).cloned();
        let global = self.global_args.get(KEY).map(str::to_owned);
        let Some(value) = given.or(global.filter(|value| !value.is_empty())) else {
            return Ok(());
        };
        self.epoch = self.epoch_of(&value)?;
        let value = self.epoch.map(|seconds| seconds.to_string());
        if self.build_args.remove(KEY).is_some()
            && let Some(value) = &value
        {
            self.build_args.insert(KEY.to_owned(), value.clone());
        }
        if self.global_args.get(KEY).is_some() {
            match &value {
                Some(value) => self.global_args.set(KEY, value),
                None => self.global_args.unset(KEY),
            }
        }
        Ok(())
    }

    fn epoch_of(&self, value: &str) -> Result<Option<i64>> {
        if value.is_empty() {
            return Ok(None);
        }
        if let Ok(seconds) = value.parse() {
            return Ok(Some(seconds));
        }
        // Directories have no time of their own.
        if value == super::MAIN_CONTEXT {
            return Ok(None);
        }
        let context = self.named_context(value, None).map_err(|_| invalid(value))?;
        if let Some(context) = context {
            return match context.value.starts_with("local:") {
                true => Ok(None),
                false => Err(unsupported(value)),
            };
        }
        let stages = self.dockerfile.stages.iter();
        let mut named = stages.filter(|stage| {
            stage
                .name
                .as_ref()
                .is_some_and(|name| name.eq_ignore_ascii_case(value))
        });
        match named.next() {
            Some(stage) => self.epoch_of_stage(stage).map(Some),
            None => Err(invalid(value)),
        }
    }

    /// A stage gives a time when it is nothing but one download.
    fn epoch_of_stage(&self, stage: &distil_dockerfile::Stage) -> Result<i64> {
        let mut env = self.global_args.clone();
        env.unset(KEY);
        if self.expand_with(&env, &stage.base)? != SCRATCH {
            let error = Diagnostic::new(
                format!("the stage that gives {KEY} must be FROM scratch"),
                stage.base.span,
            );
            return Err(error);
        }
        let mut downloads = 0;
        for instruction in &stage.instructions {
            let span = instruction.statement.span;
            match &instruction.command {
                Command::Arg(args) => {
                    for arg in args {
                        let value = match (self.build_args.get(&arg.key.value), &arg.value) {
                            (Some(given), _) => given.clone(),
                            (None, Some(default)) => self.expand_with(&env, default)?,
                            (None, None) => continue,
                        };
                        env.set(&arg.key.value, &value);
                    }
                }
                Command::Add(add) => {
                    downloads += 1;
                    let [source] = add.sources.paths.as_slice() else {
                        return Err(not_one_download(span));
                    };
                    let source = self.expand_with(&env, source)?;
                    let is_git = matches!(git::parse(&source), Some(Ok(_)));
                    let is_remote = is_git || super::remote::is_http(&source);
                    if downloads > 1 || !is_remote || !add.sources.inline.is_empty() {
                        return Err(not_one_download(span));
                    }
                }
                _ => {
                    let name = instruction.statement.keyword.to_uppercase();
                    return Err(Diagnostic::new(
                        format!("{name} has no place in the stage that gives {KEY}"),
                        span,
                    )
                    .with_help("such a stage has one ADD of an http or git address, and ARGs"));
                }
            }
        }
        if downloads == 0 {
            return Err(not_one_download(stage.statement.span));
        }
        let name = stage.name.as_ref().map_or("", |name| name.value.as_str());
        Err(unsupported(name))
    }
}

fn not_one_download(span: distil_dockerfile::Span) -> Diagnostic {
    Diagnostic::new(
        format!("the stage that gives {KEY} must have exactly one ADD of an http or git address"),
        span,
    )
}

fn invalid(value: &str) -> Diagnostic {
    Diagnostic::of_file(format!("`{value}` is no value for {KEY}"))
        .with_help("give seconds since 1970, for instance of `git log -1 --format=%ct`")
}

/// Asking a remote source for its time is I/O that this conversion cannot do.
fn unsupported(value: &str) -> Diagnostic {
    Diagnostic::of_file(format!(
        "{KEY}={value} takes the time of a remote source, which is not supported yet"
    ))
    .with_help("give seconds since 1970")
}
