//! Tables, JSON lines and templates on standard output.

use std::io::{BufWriter, Write};

use serde_json::Value;

use crate::error::CliError;
use crate::template::Template;

/// How rows are printed.
pub(crate) enum Form {
    /// Columns with a heading.
    Table(Vec<&'static str>),
    /// One JSON object a line.
    Json,
    /// A template, with a heading when it began with `table`.
    Template { template: Template, heading: bool },
}

impl Form {
    /// Reads `--format`; without one, a table of `columns`.
    pub(crate) fn parse(format: Option<&str>, columns: &[&'static str]) -> Result<Self, CliError> {
        match format {
            None | Some("table") => Ok(Self::Table(columns.to_vec())),
            Some("json") => Ok(Self::Json),
            Some(text) => {
                let (text, heading) = match text.strip_prefix("table ") {
                    Some(rest) => (rest, true),
                    None => (text, false),
                };
                Ok(Self::Template {
                    template: Template::parse(text)?,
                    heading,
                })
            }
        }
    }
}

/// Prints rows, each an object of strings. `heading` gives the name of a column; a table is as wide as its
/// longest cells.
pub(crate) fn print(form: &Form, rows: &[Value], heading: impl Fn(&str) -> String) -> Result<(), CliError> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match form {
        Form::Json => {
            for row in rows {
                writeln!(out, "{row}")?;
            }
        }
        Form::Table(columns) => {
            let cells = rows
                .iter()
                .map(|row| columns.iter().map(|column| text(&row[column])).collect());
            let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|column| heading(column)).collect()];
            lines.extend(cells);
            align(&mut out, &lines, 3)?;
        }
        Form::Template {
            template,
            heading: with_heading,
        } => {
            let mut lines: Vec<Vec<String>> = Vec::new();
            if *with_heading {
                lines.push(
                    template
                        .headings(&heading)
                        .split('\t')
                        .map(str::to_owned)
                        .collect(),
                );
            }
            for row in rows {
                lines.push(template.render(row)?.split('\t').map(str::to_owned).collect());
            }
            if *with_heading {
                align(&mut out, &lines, 3)?;
            } else {
                for line in lines {
                    writeln!(out, "{}", line.join("\t"))?;
                }
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Writes rows as columns with `gap` spaces between them.
pub(crate) fn align(out: &mut dyn Write, lines: &[Vec<String>], gap: usize) -> std::io::Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            lines
                .iter()
                .filter_map(|line| line.get(at))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for line in lines {
        let mut text = String::new();
        for (at, cell) in line.iter().enumerate() {
            if at + 1 == line.len() {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{cell:<width$}", width = widths[at] + gap));
            }
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}
