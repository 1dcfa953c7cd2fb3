//! The build checks that need values: expanded words, the base's config, the ignore file.

use std::collections::{BTreeMap, BTreeSet};

use distil_dockerfile::expand::Expansion;
use distil_dockerfile::lint::{Finding, is_secret_name, nearest};
use distil_dockerfile::{self as dockerfile, CommandLine, Pair, Span, Word};
use distil_llb::DebSource;
use distil_oci::{Platform, Reference};
use distil_rootfs::ignore::PatternMatcher;

use super::metadata::BUILDER_ARGS;
use super::stages::{StageId, Step};
use super::{Lowering, MAIN_CONTEXT};
use crate::paths;

/// Where the instructions of which the last one counts were seen last.
#[derive(Clone, Copy, Default)]
pub(super) struct LastSeen {
    pub(super) cmd: Option<Span>,
    pub(super) entrypoint: Option<Span>,
    pub(super) healthcheck: Option<Span>,
}

impl Lowering<'_> {
    /// Reports a finding of an instruction; comments above it count, for a trigger there are none.
    fn report(&self, step: &Step<'_>, finding: &Finding<'_>) {
        let comments = match step.is_trigger {
            true => &[][..],
            false => &step.instruction.statement.comments,
        };
        self.linter.below(comments).report(finding, step.span);
    }

    /// Bases must be readable names also without any build argument.
    pub(super) fn lint_default_bases(&self) {
        let Ok(args) = self.declared_args(&BTreeMap::new()) else {
            return;
        };
        for stage in &self.dockerfile.stages {
            let Ok(name) = self.expand_with(&args, &stage.base) else {
                return;
            };
            if !DebSource::is_meant(&name) && name.parse::<Reference>().is_err() {
                let base = &stage.base.value;
                self.linter
                    .report(&Finding::InvalidDefaultArgInFrom { base }, stage.statement.span);
            }
        }
    }

    /// Variables of a FROM that no global ARG declares.
    pub(super) fn lint_from_args(&self, stage: &dockerfile::Stage, expansion: &Expansion) {
        if expansion.undefined.is_empty() {
            return;
        }
        let declared = self.dockerfile.meta_args.iter().flat_map(|arg| &arg.args);
        let mut known: BTreeSet<&str> = declared.map(|arg| arg.key.as_str()).collect();
        known.extend(self.global_args.iter().map(|(key, _)| key));
        for name in expansion
            .undefined
            .iter()
            .filter(|name| !known.contains(name.as_str()))
        {
            let meant = nearest(name, known.iter().copied());
            self.linter
                .below(&stage.statement.comments)
                .report(&Finding::UndefinedArgInFrom { name, meant }, stage.statement.span);
        }
    }

    /// `--platform` of a FROM that says nothing, or too much.
    pub(super) fn lint_platform(&self, stage: &dockerfile::Stage, typed: &Word, expansion: &Expansion) {
        const TARGET: &str = "TARGETPLATFORM";
        let scope = self.linter.below(&stage.statement.comments);
        let platform = typed.as_str();
        if expansion.undefined.is_empty()
            && expansion.used.iter().eq([TARGET])
            && self.global_args.get(TARGET) == Some(&expansion.text)
        {
            scope.report(
                &Finding::RedundantTargetPlatform { platform },
                stage.statement.span,
            );
        }
        if !expansion.used.is_empty() || !expansion.undefined.is_empty() {
            return;
        }
        let Ok(parsed) = expansion.text.parse::<Platform>() else {
            return;
        };
        let name = stage.name.as_ref().map_or("", |name| name.as_str());
        if !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
            let platform = expansion.text.as_str();
            scope.report(
                &Finding::FromPlatformFlagConstDisallowed { platform },
                stage.statement.span,
            );
        }
    }

    /// The base has another system or architecture than the one asked for.
    pub(super) fn lint_base_platform(&self, id: StageId, image: &str, expected: &Platform) {
        let stage = &self.stages[id.0];
        let actual = stage.image.platform();
        if expected.os == actual.os && expected.architecture == actual.architecture {
            return;
        }
        let [expected, actual] = [expected, &actual].map(|platform| platform.normalized().to_string());
        let finding = Finding::InvalidBaseImagePlatform {
            image,
            expected: &expected,
            actual: &actual,
        };
        self.linter.report(&finding, stage.span.unwrap_or_default());
    }

    /// Variables that are neither set nor declared.
    pub(super) fn lint_undefined(&self, id: StageId, step: &Step<'_>, expansion: &Expansion) {
        let stage = &self.stages[id.0];
        for name in &expansion.undefined {
            let declared = stage.args.iter().any(|(key, _)| key == name);
            if declared || BUILDER_ARGS.contains(&name.as_str()) {
                continue;
            }
            let meant = nearest(name, stage.state.env.iter().map(|(key, _)| key));
            self.report(step, &Finding::UndefinedVar { name, meant });
        }
    }

    /// The base may change; a relative work directory relies on the one it has.
    pub(super) fn lint_workdir(&mut self, id: StageId, step: &Step<'_>, path: &str) {
        if !self.stages[id.0].workdir_set && !path.starts_with('/') {
            self.report(step, &Finding::WorkdirRelativePath { path });
        }
        self.stages[id.0].workdir_set = true;
    }

    pub(super) fn lint_legacy(&self, step: &Step<'_>, pair: &Pair) {
        if pair.legacy {
            let keyword = step.instruction.statement.keyword.as_str();
            self.report(step, &Finding::LegacyKeyValueFormat { keyword });
        }
    }

    /// `instruction` is `ARG` or `ENV`.
    pub(super) fn lint_secret(&self, step: &Step<'_>, instruction: &str, name: &str) {
        if is_secret_name(name) {
            self.report(step, &Finding::SecretsUsedInArgOrEnv { instruction, name });
        }
    }

    pub(super) fn lint_port(&self, step: &Step<'_>, port: &crate::values::Exposed<'_>) {
        if port.has_upper_case_protocol {
            self.report(step, &Finding::ExposeProtoCasing { port: port.word });
        }
        if port.is_mapping {
            self.report(step, &Finding::ExposeInvalidFormat { port: port.word });
        }
    }

    /// A shell form without a SHELL that the file or its base chose.
    pub(super) fn lint_command_form(&self, id: StageId, step: &Step<'_>, command: &CommandLine) {
        if matches!(command, CommandLine::Shell(_)) && self.stages[id.0].image.config.shell.is_empty() {
            let keyword = step.instruction.statement.keyword.as_str();
            self.report(step, &Finding::JsonArgsRecommended { keyword });
        }
    }

    /// Only the last instruction of a kind counts: the earlier one is reported.
    pub(super) fn lint_once(
        &mut self,
        id: StageId,
        step: &Step<'_>,
        slot: impl FnOnce(&mut LastSeen) -> &mut Option<Span>,
    ) {
        let last = slot(&mut self.stages[id.0].last_seen).replace(step.span);
        if let Some(span) = last {
            let keyword = step.instruction.statement.keyword.as_str();
            let comments = match step.is_trigger {
                true => &[][..],
                false => &step.instruction.statement.comments,
            };
            self.linter
                .below(comments)
                .report(&Finding::MultipleInstructionsDisallowed { keyword }, span);
        }
    }

    /// A source in the main context that its ignore file leaves out. Where the file has exceptions (`!`), nothing is
    /// said: a folder may be left out and a file in it kept.
    pub(super) fn lint_ignored(&self, step: &Step<'_>, is_add: bool, path: &str) {
        let patterns = self
            .options
            .ignore
            .get(MAIN_CONTEXT)
            .map_or(&[][..], Vec::as_slice);
        if patterns.is_empty() || patterns.iter().any(|pattern| pattern.trim().starts_with('!')) {
            return;
        }
        let cleaned = paths::clean(path);
        // The root itself is no path that a pattern leaves out, unless it leaves out everything.
        let is_root = matches!(cleaned.as_str(), "." | "/");
        if is_root
            && !patterns
                .iter()
                .any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"))
        {
            return;
        }
        let matcher = self.ignored.get_or_init(|| PatternMatcher::new(patterns).ok());
        if let Some(matcher) = matcher
            && matcher.matches_or_parent_matches(cleaned.as_bytes())
        {
            let path = cleaned.as_str();
            self.report(step, &Finding::CopyIgnoredFile { is_add, path });
        }
    }
}
