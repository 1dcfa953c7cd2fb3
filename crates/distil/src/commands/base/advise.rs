//! `distil base for`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use distil_audit::advise::{Advice, advise};
use distil_audit::printable_text;

use crate::error::{CliError, chain};
use crate::units;

/// Arguments of `distil base for`.
#[derive(Debug, Args)]
pub(crate) struct ForArgs {
    /// A project folder, or one program, jar or script
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// `text` or `json`
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) format: String,
}

/// Names the smallest base: nothing is run or downloaded.
pub(crate) fn find(args: &ForArgs) -> Result<(), CliError> {
    let as_json = match args.format.as_str() {
        "json" => true,
        "text" => false,
        other => {
            return Err(
                CliError::usage(format!("`--format {other}` is unknown")).hint("there are `text` and `json`")
            );
        }
    };
    let advice = advise(&args.path).map_err(|error| CliError::failed(printable_text(&chain(&error))))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if as_json {
        let text =
            serde_json::to_string_pretty(&advice).map_err(|error| CliError::failed(error.to_string()))?;
        writeln!(out, "{text}")?;
    } else {
        text(&mut out, &advice)?;
    }
    out.flush()?;
    Ok(())
}

fn text(out: &mut dyn Write, advice: &Advice) -> std::io::Result<()> {
    for line in &advice.lines {
        writeln!(out, "{}", printable_text(line))?;
    }
    writeln!(out, "\nstart: {}", printable_text(&advice.start))?;
    writeln!(
        out,
        "size:  {}; {} for `{}`",
        units::bytes(advice.size),
        units::bytes(advice.slim_size),
        advice.slim
    )?;
    for (title, texts) in [("why:", &advice.why), ("notes:", &advice.notes)] {
        if !texts.is_empty() {
            writeln!(out, "{title}")?;
        }
        for text in texts {
            writeln!(out, "  - {}", printable_text(text))?;
        }
    }
    Ok(())
}
