//! `distil cve`.

mod sarif;
mod table;
mod update;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use distil_audit::cve::{
    Components, CveError, DebianRelease, ImageNames, Report, Severity, State, Statements, is_fetched,
    read_ignore_file, read_vex,
};
use distil_audit::{Inventory, printable_path, printable_text};
use distil_debian::UnixTime;
use distil_oci::Reference;
use serde_json::json;

use crate::error::{CliError, chain};
use crate::session::Session;
use crate::view::{OpenedImage, failed};

/// Exit code when a vulnerability reaches `--fail-on`.
const FOUND: u8 = 3;
/// A database that is older gets a warning: Debian's tracker and OSV change every day.
const OLD: i64 = 7 * 86_400;

/// Arguments of `distil cve`.
#[derive(Debug, Args)]
pub(crate) struct CveArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE", required_unless_present = "update")]
    pub(crate) image: Option<String>,
    /// Vulnerability database: a file or folder of OSV records or of the JSON of Debian's tracker; several times if wanted [default: what --update fetched]
    #[arg(long, value_name = "PATH", env = "DISTIL_CVE_DB")]
    pub(crate) db: Vec<PathBuf>,
    /// Fetch the databases first; without an image do nothing else
    #[arg(long)]
    pub(crate) update: bool,
    /// Leave out what has no fix
    #[arg(long)]
    pub(crate) ignore_unfixed: bool,
    /// End with exit code 3 when a vulnerability is this severe or worse
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) fail_on: Option<SeverityArg>,
    /// File of vulnerabilities to ignore, each with a reason; several times if wanted
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore_file: Vec<PathBuf>,
    /// OpenVEX document; several times if wanted
    #[arg(long, value_name = "FILE")]
    pub(crate) vex: Vec<PathBuf>,
    /// Release of the image's Debian packages, for an image that does not tell
    #[arg(long, value_name = "NAME")]
    pub(crate) release: Option<String>,
    /// List what was set aside too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// How to print
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) format: CveFormat,
}

/// Values of `--fail-on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeverityArg {
    /// Any vulnerability, also one whose severity nobody has told.
    Any,
    /// Unimportant.
    Negligible,
    /// CVSS below 4.
    Low,
    /// CVSS below 7.
    Medium,
    /// CVSS below 9.
    High,
    /// CVSS 9 and more.
    Critical,
}

impl SeverityArg {
    fn severity(self) -> Severity {
        match self {
            Self::Any => Severity::Unknown,
            Self::Negligible => Severity::Negligible,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}

/// Values of `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CveFormat {
    /// Text for people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, which code hosts show.
    Sarif,
}

/// Tells which known vulnerabilities the packages of an image have.
pub(crate) fn cve(session: &Session, args: &CveArgs) -> Result<(), CliError> {
    let Some(name) = &args.image else {
        return update::update(session);
    };
    // An ordinary user's process starts again here: nothing may be fetched before that.
    session.need_owners()?;
    if args.update {
        update::update(session)?;
    }
    let databases = databases(session, args)?;
    let image = session.open_view(name)?;
    let now = session.now().0.div_euclid(1_000_000_000);
    let statements = Statements {
        ignore: ignore_rules(&args.ignore_file)?,
        vex: vex(&args.vex)?,
        image: image_names(session, name, &image),
    };
    let inventory = Inventory::read_all(&image).map_err(failed)?;
    let release = args.release.as_deref().map(DebianRelease::named);
    let components = Components::of(&image, &inventory, release).map_err(told)?;
    let mut report = Report::of(&components, &databases, &statements, now).map_err(told)?;
    if args.ignore_unfixed {
        report
            .vulnerabilities
            .retain(|vulnerability| vulnerability.state == State::Fixed);
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        CveFormat::Table => table::write(&mut out, &report, &components, args, now)?,
        CveFormat::Json => writeln!(out, "{}", object(name, &report, &components))?,
        CveFormat::Sarif => writeln!(out, "{}", sarif::document(&report, name))?,
    }
    out.flush()?;
    warn(&report, now);
    verdict(&report, args)
}

/// The databases to ask: those that were named, or else those that were fetched.
fn databases(session: &Session, args: &CveArgs) -> Result<Vec<PathBuf>, CliError> {
    let known = match args.update {
        true => fetched(session),
        false => known_databases(session, &args.db),
    };
    known.ok_or_else(|| {
        let path = printable_path(&session.environment.cve_folder());
        CliError::failed(format!("there is no vulnerability database in `{path}`")).hint(
            "`distil cve --update` fetches them from OSV and Debian; `--db PATH` names a file or folder of your own",
        )
    })
}

/// The databases that were given, or that the config names, or that were fetched. None when there are none.
pub(crate) fn known_databases(session: &Session, given: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let named = match given {
        [] => session.config.cve_databases.clone().unwrap_or_default(),
        given => given.to_vec(),
    };
    if named.is_empty() {
        fetched(session)
    } else {
        Some(named)
    }
}

fn fetched(session: &Session) -> Option<Vec<PathBuf>> {
    let folder = session.environment.cve_folder();
    is_fetched(&folder).then(|| vec![folder])
}

fn ignore_rules(files: &[PathBuf]) -> Result<Vec<distil_audit::cve::IgnoreRule>, CliError> {
    let mut rules = Vec::new();
    for path in files {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let told = |error: CveError| CliError::usage(chain(&error)).hint("docs/audit.md shows such a file");
        rules.extend(read_ignore_file(&text, path).map_err(told)?);
    }
    Ok(rules)
}

fn vex(files: &[PathBuf]) -> Result<distil_audit::cve::Vex, CliError> {
    let mut vex = distil_audit::cve::Vex::default();
    for path in files {
        vex.extend(read_vex(&read(path)?, path).map_err(told)?);
    }
    Ok(vex)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path)
        .map_err(|error| CliError::failed(format!("cannot read `{}`: {error}", printable_path(path))))
}

/// What an OpenVEX document may call the image: as the user did, by its names in the store, by its digests.
fn image_names(session: &Session, name: &str, image: &OpenedImage) -> ImageNames {
    let mut names = vec![name.to_owned()];
    let mut digests = vec![image.id().to_string()];
    let found = session
        .store()
        .ok()
        .and_then(|store| store.images().resolve(name).ok());
    if let Some(info) = found.filter(|info| info.id == image.id()) {
        digests.extend(info.manifest.map(|digest| digest.to_string()));
        digests.extend(info.repo_digests.iter().map(|(_, digest)| digest.to_string()));
        for full in &info.names {
            names.push(full.clone());
            let Ok(reference) = full.parse::<Reference>() else {
                continue;
            };
            let last = reference
                .repository()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            for short in [reference.name(), reference.familiar_name(), last] {
                names.extend(reference.tag().map(|tag| format!("{short}:{tag}")));
                names.push(short);
            }
        }
    }
    ImageNames { names, digests }
}

/// What may be wrong with the answer, on standard error.
fn warn(report: &Report, now: UnixTime) {
    let mut out = std::io::stderr().lock();
    let mut say = |text: String| {
        let _ = writeln!(out, "WARNING: {text}");
    };
    if let Some(text) = old(report, now) {
        say(text);
    }
    for (ecosystem, count) in &report.uncovered {
        let name = ecosystem.name();
        say(format!(
            "no database is about {name}: {count} packages were not judged"
        ));
    }
    if let Some(package) = report.unordered.first() {
        let (name, version) = (printable_text(&package.name), printable_text(&package.version));
        let others = match report.unordered.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        say(format!(
            "`{name}`{others} was not judged: its version `{version}` has no place in an order"
        ));
    }
    for rule in &report.expired {
        let (id, day) = (&rule.id, rule.expires.as_deref().unwrap_or_default());
        say(format!(
            "`{id}` is no longer ignored: its entry (line {}) expired on {day}",
            rule.line
        ));
    }
    for rule in &report.unused {
        say(format!(
            "`{}` is ignored (line {}), but this image does not have it",
            rule.id, rule.line
        ));
    }
}

/// That the databases are old, when they are.
pub(crate) fn old(report: &Report, now: UnixTime) -> Option<String> {
    let age = report.age(now).filter(|age| *age > OLD)?;
    let days = age / 86_400;
    Some(format!(
        "the vulnerability database is {days} days old: `distil cve --update` fetches a new one"
    ))
}

/// The error of `--fail-on`.
fn verdict(report: &Report, args: &CveArgs) -> Result<(), CliError> {
    let Some(limit) = args.fail_on.map(SeverityArg::severity) else {
        return Ok(());
    };
    let count = report
        .vulnerabilities
        .iter()
        .filter(|found| found.severity >= limit)
        .count();
    let text = match count {
        0 => return Ok(()),
        1 => "1 vulnerability".to_owned(),
        _ => format!("{count} vulnerabilities"),
    };
    Err(CliError::failed(format!("{text} of severity `{limit}` or worse")).with_code(FOUND))
}

fn object(name: &str, report: &Report, components: &Components) -> serde_json::Value {
    let counts = report.counts();
    let by_severity: serde_json::Map<String, serde_json::Value> = Severity::WORST_FIRST
        .iter()
        .map(|severity| {
            let (fixed, open) = counts.by_severity.get(severity).copied().unwrap_or_default();
            (severity.to_string(), json!({"Fixed": fixed, "Unfixed": open}))
        })
        .collect();
    let (fixed, open) = counts.total();
    let uncovered = report.uncovered.iter();
    json!({
        "Image": name,
        "Release": components.release().map(|release| &release.codename),
        "Databases": report.databases.iter().map(|database| json!({
            "Path": printable_path(&database.path),
            "Kind": database.kind,
            "Date": database.date.map(distil_debian::format_rfc3339),
        })).collect::<Vec<_>>(),
        "Vulnerabilities": report.vulnerabilities,
        "SetAside": report.set_aside,
        "Counts": {"Total": fixed + open, "Fixed": fixed, "Unfixed": open, "BySeverity": by_severity},
        "NotJudged": {
            "NoDatabase": uncovered.map(|(ecosystem, count)| json!({"Ecosystem": ecosystem, "Packages": count}))
                .collect::<Vec<_>>(),
            "NoOrder": report.unordered,
        },
        "ExpiredRules": report.expired,
        "UnusedRules": report.unused,
    })
}

/// An error of the databases with its causes; names in it are those of files, which can hold anything.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err wants")]
pub(crate) fn told(error: CveError) -> CliError {
    CliError::failed(printable_text(&chain(&error)))
}
