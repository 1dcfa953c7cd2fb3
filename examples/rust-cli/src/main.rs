//! Reads TOML from standard input and writes the same as JSON.

mod convert;

use std::io::{self, Read, Write};
use std::process::ExitCode;

const USAGE: &str = "usage: tojson [--compact] <FILE.toml";

struct Options {
    compact: bool,
}

fn main() -> ExitCode {
    let options = match options(lexopt::Parser::from_env()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("tojson: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tojson: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: lexopt::Parser) -> Result<Options, lexopt::Error> {
    let mut options = Options { compact: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Short('c') | lexopt::Arg::Long("compact") => options.compact = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let json = convert::json_of(&text)?;
    let mut output = io::stdout().lock();
    if options.compact {
        writeln!(output, "{json}")?;
    } else {
        writeln!(output, "{json:#}")?;
    }
    Ok(())
}
