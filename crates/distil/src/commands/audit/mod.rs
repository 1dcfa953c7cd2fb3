//! `distil audit`.

mod sarif;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use distil_audit::origin::{Origins, Step};
use distil_audit::policy::{Policy, PolicyError, Verdict};
use distil_audit::rules::{self, RULES};
use distil_audit::{Finding, ImageView, Instruction, Inventory, Severity, printable_path};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::align;
use crate::session::{Session, store_error};
use crate::view::failed;

/// Exit code of an audit that finds what the policy fails on.
const FOUND: u8 = 3;
/// Largest policy file, in bytes.
const MAX_POLICY: u64 = 1 << 20;

/// Arguments of `distil audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE", required_unless_present = "rules")]
    pub(crate) image: Option<String>,
    /// What counts: `distroless`, or a policy file
    #[arg(long, value_name = "NAME|FILE", default_value = "distroless")]
    pub(crate) policy: String,
    /// How to print
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) format: AuditFormat,
    /// Show every finding of a rule, and what the policy accepts
    #[arg(short, long)]
    pub(crate) all: bool,
    /// List the rules instead
    #[arg(long, conflicts_with = "image")]
    pub(crate) rules: bool,
}

/// Values of `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    /// Text for people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

/// Tells what an image has that it should not have, and lacks.
pub(crate) fn audit(session: &Session, args: &AuditArgs) -> Result<(), CliError> {
    let policy = policy(&args.policy)?;
    let Some(name) = args.image.as_ref().filter(|_| !args.rules) else {
        return list_rules();
    };
    let image = session.open_view(name)?;
    let report = Report::of(session, &image, &policy)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match args.format {
        AuditFormat::Table => table::write(&mut out, name, &report, args.all)?,
        AuditFormat::Json => writeln!(out, "{:#}", report.object(name))?,
        AuditFormat::Sarif => writeln!(out, "{:#}", sarif::log(name, &report))?,
    }
    out.flush()?;
    match report.verdict.fails {
        true => Err(CliError::silent(FOUND)),
        false => Ok(()),
    }
}

/// The policy that `--policy` or `--audit` names: a built-in one, or a file.
pub(crate) fn policy(name: &str) -> Result<Policy, CliError> {
    let path = Path::new(name);
    let is_built_in = Policy::names().any(|known| known == name);
    if is_built_in || (!name.contains(['/', '.']) && !path.exists()) {
        return Policy::built_in(name).map_err(|error| wrong(&error));
    }
    let cannot = |error: &dyn std::fmt::Display| {
        CliError::usage(format!(
            "cannot read the policy `{}`: {error}",
            printable_path(path)
        ))
    };
    let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if size > MAX_POLICY {
        return Err(cannot(&format!("it has {size} bytes, more than {MAX_POLICY}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| cannot(&error))?;
    Policy::parse(&text, name).map_err(|error| wrong(&error))
}

fn wrong(error: &PolicyError) -> CliError {
    CliError::usage(error.to_string())
}

fn list_rules() -> Result<(), CliError> {
    let mut lines = vec![vec!["RULE".to_owned(), "SEVERITY".to_owned(), "FINDS".to_owned()]];
    lines.extend(RULES.iter().map(|rule| {
        vec![
            rule.id.to_owned(),
            rule.severity.to_string(),
            rule.summary.to_owned(),
        ]
    }));
    let mut out = std::io::stdout().lock();
    align(&mut out, &lines, 3)?;
    Ok(out.flush()?)
}

/// What an audit found, as a policy sees it.
pub(crate) struct Report {
    pub(crate) policy: Policy,
    pub(crate) verdict: Verdict,
    /// Where files came from in the build, where the store knows.
    origins: Option<Origins>,
}

/// The stage that a file came from.
pub(crate) struct Source {
    pub(crate) stage: String,
    pub(crate) path: PathBuf,
    /// The instruction that made it there, and its lines in the Dockerfile.
    pub(crate) instruction: Option<Instruction>,
    pub(crate) lines: Option<(u32, u32)>,
}

impl Report {
    /// Audits an image.
    pub(crate) fn of(session: &Session, image: &ImageView, policy: &Policy) -> Result<Self, CliError> {
        let inventory = Inventory::read(image).map_err(failed)?;
        let now = session.now().0 / 1_000_000_000;
        let findings = rules::audit(image, &inventory, now).map_err(failed)?;
        Ok(Self {
            policy: policy.clone(),
            verdict: policy.apply(findings),
            origins: Origins::read(&session.store()?, &image.id()).map_err(store_error)?,
        })
    }

    /// Where the file of a finding came from, when COPY brought it from a stage.
    pub(crate) fn source(&self, finding: &Finding) -> Option<Source> {
        let (layer, path) = (finding.layer?, finding.path.as_ref()?);
        let origin = self.origins.as_ref()?.file(layer, path)?;
        let place = origin.places.last()?;
        Some(Source {
            stage: place.stage.to_owned(),
            path: place.path.clone(),
            instruction: place.step.map(Step::instruction),
            lines: place.step.and_then(|step| step.lines),
        })
    }

    /// The stage whose instruction made the layer of a finding, where the build has several.
    pub(crate) fn stage(&self, finding: &Finding) -> Option<&str> {
        self.origins.as_ref()?.layer(finding.layer?)?.stage()
    }

    /// First and last line of the instruction that made the layer of a finding.
    pub(crate) fn lines(&self, finding: &Finding) -> Option<(u32, u32)> {
        self.origins.as_ref()?.layer(finding.layer?)?.lines
    }

    /// The Dockerfile of the image, where it is known.
    pub(crate) fn dockerfile(&self) -> Option<&str> {
        self.origins.as_ref().map(Origins::dockerfile)
    }

    fn object(&self, name: &str) -> Value {
        let findings: Vec<Value> = self
            .verdict
            .findings
            .iter()
            .map(|finding| self.finding(finding))
            .collect();
        let allowed = self.verdict.allowed.iter().map(|allowed| {
            let mut object = self.finding(&allowed.finding);
            object["Reason"] = allowed.reason.clone().into();
            object
        });
        json!({
            "Image": name,
            "Policy": self.policy.name(),
            "FailOn": self.policy.fail_on(),
            "Fails": self.verdict.fails,
            "Errors": self.verdict.count(Severity::Error),
            "Warnings": self.verdict.count(Severity::Warning),
            "Notes": self.verdict.count(Severity::Note),
            "Findings": findings,
            "Allowed": allowed.collect::<Vec<_>>(),
        })
    }

    fn finding(&self, finding: &Finding) -> Value {
        let mut object = json!({
            "Rule": finding.id,
            "Severity": finding.severity,
            "Path": finding.path.as_deref().map(printable_path),
            "Layer": finding.layer,
            "Instruction": finding.instruction,
            "Message": finding.message,
            "Fix": finding.fix,
        });
        if let Some(source) = self.source(finding) {
            object["From"] = json!({
                "Stage": source.stage,
                "Path": printable_path(&source.path),
                "Instruction": source.instruction,
                "Lines": source.lines,
            });
        }
        object
    }
}
