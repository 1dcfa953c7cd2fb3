//! A comparison as text: for a terminal, and as Markdown.

use super::facts::ImageFacts;
use super::rows::{Change, Row};
use crate::error::CliError;
use crate::output::align;

/// A heading of the names, then a line a figure. With two images the change has a column of its own.
pub(super) fn text(images: &[ImageFacts], rows: &[Row]) -> Result<String, CliError> {
    let mut lines = vec![heading(images)];
    lines.extend(rows.iter().map(cells));
    let mut out = Vec::new();
    align(&mut out, &lines, 3)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The same as a table of Markdown.
pub(super) fn markdown(images: &[ImageFacts], rows: &[Row]) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let heading = heading(images);
    let rule = format!("| --- |{}\n", " ---: |".repeat(heading.len() - 1));
    let lines = rows.iter().map(|row| line(cells(row)));
    [line(heading), rule].into_iter().chain(lines).collect()
}

fn heading(images: &[ImageFacts]) -> Vec<String> {
    let mut cells = vec![String::new()];
    cells.extend(images.iter().map(|image| image.name.clone()));
    if images.len() == 2 {
        cells.push("change".to_owned());
    }
    cells
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.label.to_owned()];
    let changes = row.changes();
    let figures = row.figures.iter().map(|figure| figure.text());
    if let [_, change] = changes.as_slice() {
        cells.extend(figures);
        cells.push(change.as_ref().map_or_else(String::new, Change::text));
    } else {
        let figures = figures.zip(&changes);
        cells.extend(figures.map(|(figure, change)| match change {
            Some(change) => format!("{figure} ({})", change.text()),
            None => figure,
        }));
    }
    cells
}

/// Text that Markdown shows as it is. Names of images and paths hold no line ends here.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(
            letter,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '#' | '$'
        ) {
            safe.push('\\');
        }
        safe.push(letter);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(escape("a|b_c<i>`x`"), "a\\|b\\_c\\<i\\>\\`x\\`");
        assert_eq!(escape("app:1.0 -98 %"), "app:1.0 -98 %");
    }
}
