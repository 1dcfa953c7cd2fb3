//! `distil volume`.

use std::io::Write;

use clap::{Args, Subcommand};
use distil_store::{Store, StoreError, VolumeInfo};
use serde_json::json;

use crate::error::CliError;
use crate::output::{Form, print};
use crate::session::Session;

/// `distil volume ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum VolumeCommand {
    /// List volumes
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Delete volumes with all that is in them
    #[command(alias = "remove")]
    Rm(RmArgs),
}

/// Arguments of `distil volume ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Print only names
    #[arg(short, long)]
    quiet: bool,
    /// Only matching volumes: name=PART, dangling=true|false
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// `table`, `json` or a template such as `{{.Name}} {{.Mountpoint}}`
    #[arg(long, value_name = "FORM")]
    format: Option<String>,
}

/// Arguments of `distil volume rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Volumes by name
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
    /// Say nothing of a volume that does not exist
    #[arg(short, long)]
    force: bool,
}

/// Runs `distil volume`.
pub(crate) fn volume(session: &Session, command: &VolumeCommand) -> Result<(), CliError> {
    match command {
        VolumeCommand::Ls(args) => ls(session, args),
        VolumeCommand::Rm(args) => rm(session, args),
    }
}

fn ls(session: &Session, args: &LsArgs) -> Result<(), CliError> {
    let filters = args.filter.iter().map(|text| Filter::parse(text));
    let filters: Vec<Filter> = filters.collect::<Result<_, _>>()?;
    let store = session.store()?;
    let mut volumes = Vec::new();
    for volume in store.volumes().list()? {
        let mut fits = true;
        for filter in &filters {
            fits = fits && filter.fits(&store, &volume)?;
        }
        if fits {
            volumes.push(volume);
        }
    }
    if args.quiet {
        let mut out = std::io::stdout().lock();
        for volume in &volumes {
            writeln!(out, "{}", volume.name)?;
        }
        return Ok(());
    }
    let rows = volumes.iter().map(|volume| {
        json!({
            "Driver": "local",
            "Labels": "",
            "Mountpoint": volume.path.to_string_lossy(),
            "Name": volume.name,
            "Scope": "local",
        })
    });
    let form = Form::parse(args.format.as_deref(), &["Driver", "Name"])?;
    print(&form, &rows.collect::<Vec<_>>(), |column| match column {
        "Name" => "VOLUME NAME".into(),
        other => other.to_uppercase(),
    })
}

enum Filter {
    Name(String),
    Dangling(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, CliError> {
        match text.split_once('=') {
            Some(("name", part)) => Ok(Self::Name(part.to_owned())),
            Some(("dangling", "true" | "1")) => Ok(Self::Dangling(true)),
            Some(("dangling", "false" | "0")) => Ok(Self::Dangling(false)),
            _ => Err(
                CliError::usage(format!("`--filter {text}` is no filter of volumes"))
                    .hint("there are name=PART and dangling=true|false"),
            ),
        }
    }

    fn fits(&self, store: &Store, volume: &VolumeInfo) -> Result<bool, CliError> {
        Ok(match self {
            Self::Name(part) => volume.name.contains(part),
            Self::Dangling(wanted) => store.volumes().is_used(&volume.name)? != *wanted,
        })
    }
}

/// Removes volumes; goes on after one that cannot be.
fn rm(session: &Session, args: &RmArgs) -> Result<(), CliError> {
    session.need_owners()?;
    let store = session.store()?;
    let mut failed = Vec::new();
    for name in &args.volumes {
        match store.volumes().remove(name) {
            Ok(()) => writeln!(std::io::stdout(), "{name}")?,
            Err(StoreError::VolumeMissing { .. }) if args.force => {}
            Err(error) => failed.push(error.to_string()),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(CliError::failed(failed.join("\n"))),
    }
}
