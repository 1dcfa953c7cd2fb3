//! `distil sbom`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use distil_audit::{
    ImageView, Inventory, Licence, Package, Sbom, SbomOptions, printable_path, printable_text,
};

use super::save::to_file;
use crate::error::CliError;
use crate::output::align;
use crate::session::Session;
use crate::view::failed;

/// Arguments of `distil sbom`.
#[derive(Debug, Args)]
pub(crate) struct SbomArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// How to write it
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) format: SbomFormat,
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Values of `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomFormat {
    /// Text for people.
    #[default]
    Table,
    /// SPDX 2.3.
    SpdxJson,
    /// CycloneDX 1.6.
    #[value(name = "cyclonedx-json")]
    CycloneDxJson,
}

/// Writes the list in its form.
type Writer = Box<dyn Fn(&mut dyn Write) -> Result<(), CliError>>;

/// Lists the packages of an image.
pub(crate) fn sbom(session: &Session, args: &SbomArgs) -> Result<(), CliError> {
    let epoch = match session.environment.get("SOURCE_DATE_EPOCH") {
        Some(text) if !text.is_empty() => Some(text.parse::<u64>().map_err(|_| {
            CliError::usage(format!("SOURCE_DATE_EPOCH is `{}`", printable_text(text)))
                .hint("it is a number of seconds since 1970")
        })?),
        _ => None,
    };
    let image = session.open_view(&args.image)?;
    let write: Writer = match args.format {
        SbomFormat::Table => {
            let lines = table(&image)?;
            Box::new(move |out| Ok(align(out, &lines, 2)?))
        }
        form => {
            let bill = Sbom::read(&image).map_err(failed)?;
            let options = SbomOptions {
                name: title(&args.image),
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
                created: epoch.unwrap_or_else(|| created(&image)),
            };
            Box::new(move |out| {
                let written = match form {
                    SbomFormat::SpdxJson => bill.write_spdx(&options, out),
                    _ => bill.write_cyclonedx(&options, out),
                };
                Ok(written?)
            })
        }
    };
    match &args.output {
        Some(path) => to_file(path, write),
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

/// The name of the image; of an archive or layout the last part of its path, which is the same everywhere.
fn title(name: &str) -> String {
    let path = Path::new(name);
    match path.file_name() {
        Some(last) if path.exists() => last.to_string_lossy().into_owned(),
        _ => name.to_owned(),
    }
}

/// When the image was made, in seconds since 1970.
fn created(image: &ImageView) -> u64 {
    let time: Option<jiff::Timestamp> = image.config().created.as_ref().and_then(|text| text.parse().ok());
    time.and_then(|time| u64::try_from(time.as_second()).ok())
        .unwrap_or(0)
}

fn table(image: &ImageView) -> Result<Vec<Vec<String>>, CliError> {
    let inventory = Inventory::read_all(image).map_err(failed)?;
    let licences = Licence::of_packages(image, &inventory).map_err(failed)?;
    let heading = ["TYPE", "NAME", "VERSION", "LICENCE", "FOUND IN"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for (package, licence) in inventory.packages().iter().zip(licences) {
        let licence = licence.map(|licence| shortened(&licence.expression));
        lines.push(vec![
            package.ecosystem.to_string(),
            printable_text(&package.name),
            printable_text(&package.version),
            licence.unwrap_or_else(|| "-".to_owned()),
            place(package),
        ]);
    }
    Ok(lines)
}

fn place(package: &Package) -> String {
    let record = printable_path(&package.record);
    match &package.member {
        Some(member) => format!("{record}!/{}", printable_text(member)),
        None => record,
    }
}

/// At most 40 letters: packages of many parts have long expressions, which the other forms have in full.
fn shortened(expression: &str) -> String {
    match expression.char_indices().nth(40) {
        None => expression.to_owned(),
        Some((end, _)) => format!("{}…", &expression[..end]),
    }
}
