//! What an image has to pass before anything is made of a build: `--audit` and `--max-size`.

use std::fmt::Write as _;

use distil_audit::policy::Policy;
use distil_audit::{
    Addition, Finding, ImageView, Severity, largest_additions, printable_path, printable_text,
};
use distil_export::make_image;
use distil_store::{ImageInfo, Timestamp};

use super::OutputArgs;
use super::report::Recorder;
use super::write::Results;
use crate::commands::audit::{Report, policy};
use crate::error::{CliError, chain};
use crate::session::store_error;
use crate::units;
use crate::view::{failed, one_line};

/// Findings that an error shows.
const SHOWN: usize = 20;
/// Additions that an error shows.
const ADDITIONS: usize = 10;
/// Characters of an instruction that an error shows.
const WIDTH: usize = 80;

/// What was asked for.
pub(super) struct Gates {
    policy: Option<Policy>,
    /// In bytes, and as it was written.
    limit: Option<(u64, String)>,
}

impl Gates {
    /// Reads the arguments and the policy.
    pub(super) fn new(args: &OutputArgs) -> Result<Self, CliError> {
        let limit = args.max_size.as_ref().map(|text| {
            let size = units::parse_bytes(text).ok_or_else(|| {
                CliError::usage(format!("`--max-size {}` is no size", printable_text(text)))
                    .hint("such as 50MB")
            });
            size.map(|size| (size, text.clone()))
        });
        Ok(Self {
            policy: args.audit.as_deref().map(policy).transpose()?,
            limit: limit.transpose()?,
        })
    }

    /// Whether files of layers have to be read.
    pub(super) fn reads_files(&self) -> bool {
        self.policy.is_some() || self.limit.is_some()
    }

    /// Looks at what the build made.
    ///
    /// # Errors
    /// When it is too large, or the policy fails.
    pub(super) fn check(&self, results: &Results<'_>, recorder: &Recorder) -> Result<(), CliError> {
        if let Some((limit, text)) = &self.limit {
            let size = size(results)?;
            if size > *limit {
                return recorder.step("checking the size of the image", |_| {
                    Err(too_large(&view(results)?, size, text))
                });
            }
        }
        let Some(policy) = &self.policy else {
            return Ok(());
        };
        recorder.step("auditing the image", |step| {
            let view = view(results)?;
            let report = Report::of(results.session, &view, policy)?;
            if report.verdict.fails {
                return Err(refused(&report));
            }
            let (warnings, notes) = (
                report.verdict.count(Severity::Warning),
                report.verdict.count(Severity::Note),
            );
            step.done(&format!(
                "policy {} passed, warnings: {warnings}, notes: {notes}",
                policy.name()
            ));
            Ok(())
        })
    }
}

/// Bytes of the files of all layers, as `distil images` tells them.
fn size(results: &Results<'_>) -> Result<u64, CliError> {
    let layers = results.engine.store().layers();
    let mut size = 0;
    for layer in &results.result.layers {
        size += layers
            .get(*layer)
            .map_err(store_error)?
            .map_or(0, |layer| layer.size);
    }
    Ok(size)
}

/// The image that would be made, which is listed nowhere yet.
fn view(results: &Results<'_>) -> Result<ImageView, CliError> {
    let snapshots = results.engine.snapshotter();
    let image =
        make_image(snapshots, &results.plan(None, &[])).map_err(|error| CliError::failed(chain(&error)))?;
    results.record_origins(&image.id)?;
    let info = ImageInfo {
        id: image.id,
        manifest: Some(image.manifest.digest),
        platform: results.result.platform.to_string(),
        layers: results.result.layers.clone(),
        size: 0,
        created: Timestamp(0),
        stored: Timestamp(0),
        names: Vec::new(),
        repo_digests: Vec::new(),
    };
    ImageView::open(snapshots, &info).map_err(failed)
}

fn too_large(view: &ImageView, size: u64, limit: &str) -> CliError {
    let mut text = format!(
        "the image has {}, more than `--max-size {}`; the largest additions are",
        units::bytes(size),
        printable_text(limit)
    );
    for addition in largest_additions(view, ADDITIONS) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}", addition_text(view, &addition));
    }
    CliError::failed(text)
}

fn addition_text(view: &ImageView, addition: &Addition) -> String {
    let mut text = format!(
        "{:>8}  {}",
        units::bytes(addition.bytes),
        printable_path(&addition.path)
    );
    if addition.files > 1 {
        text.push_str(&format!("/ ({} files)", addition.files));
    }
    if addition.wasted > 0 {
        text.push_str(&format!(
            ", {} of it removed later",
            units::bytes(addition.wasted)
        ));
    }
    let layer = view.layers().get(addition.layer);
    match layer.and_then(|layer| layer.instruction.as_ref()) {
        Some(instruction) => format!("{text}: {}", one_line(instruction, WIDTH)),
        None => format!("{text}: layer {}", addition.layer),
    }
}

fn refused(report: &Report) -> CliError {
    let least = report.policy.fail_on();
    let bad = report.verdict.findings.iter();
    let bad: Vec<&Finding> = bad
        .filter(|finding| least.is_some_and(|least| finding.severity >= least))
        .collect();
    let count = match bad.len() {
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let mut text = format!(
        "the image does not pass the policy `{}`: {count}",
        printable_text(report.policy.name())
    );
    for finding in bad.iter().take(SHOWN) {
        let _ = write!(
            text,
            "\n  {}: {}{}",
            finding.id,
            finding.message,
            places(report, finding)
        );
    }
    if bad.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", bad.len() - SHOWN);
    }
    CliError::failed(text).hint("a policy accepts findings with `[[allow]]` and a reason")
}

/// The instruction that brought it, and where it was made in the build, each with its line in the Dockerfile.
fn places(report: &Report, finding: &Finding) -> String {
    let dockerfile = report.dockerfile().map(printable_text).unwrap_or_default();
    let line = |lines: Option<(u32, u32)>| {
        lines.map_or_else(String::new, |(first, _)| format!(" ({dockerfile}:{first})"))
    };
    let mut text = String::new();
    if let Some(instruction) = &finding.instruction {
        let stage = report
            .stage(finding)
            .map(|stage| format!("stage `{}`, ", printable_text(stage)));
        let stage = stage.unwrap_or_default();
        let _ = write!(
            text,
            "\n    {stage}{}{}",
            one_line(instruction, WIDTH),
            line(report.lines(finding))
        );
    }
    if let Some(source) = report.source(finding) {
        let (stage, path) = (printable_text(&source.stage), printable_path(&source.path));
        let _ = write!(text, "\n    from `{stage}` {path}");
        if let Some(instruction) = &source.instruction {
            let _ = write!(text, ", {}{}", one_line(instruction, WIDTH), line(source.lines));
        }
    }
    text
}
