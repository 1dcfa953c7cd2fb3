//! Tables that are read on a phone too: there a line becomes a block, and each cell names its column.

use std::fmt::Write;

use super::sections::{letter, tag};
use super::text::{escape, shortened};
use crate::commands::compare::facts::ImageFacts;

/// A cell of a table; its text is HTML.
pub(super) struct Cell {
    html: String,
    is_figure: bool,
}

impl Cell {
    /// A number, set to the right.
    pub(super) fn figure(html: String) -> Self {
        Self {
            html,
            is_figure: true,
        }
    }

    /// Words or a list.
    pub(super) fn text(html: String) -> Self {
        Self {
            html,
            is_figure: false,
        }
    }
}

/// A table whose first column names each line.
pub(super) struct Table {
    caption: String,
    /// HTML of the heading of each column but the first, and its short name.
    columns: Vec<(String, String)>,
    first: String,
    /// Columns are images, called by a letter.
    of_images: bool,
    lines: Vec<(String, Vec<Cell>)>,
}

impl Table {
    /// A table with these columns; `caption` is told to who cannot see it.
    pub(super) fn new(caption: &str, columns: &[&str]) -> Self {
        let mut columns = columns.iter();
        Self {
            caption: escape(caption),
            first: columns.next().map_or_else(String::new, |first| escape(first)),
            columns: columns.map(|name| (escape(name), escape(name))).collect(),
            of_images: false,
            lines: Vec::new(),
        }
    }

    /// A table with a column for each image.
    pub(super) fn of_images(caption: &str, images: &[ImageFacts]) -> Self {
        let column = |(at, image): (usize, &ImageFacts)| {
            let name = escape(&shortened(&image.name, 40));
            (format!("{} {name}", tag(at)), letter(at).to_string())
        };
        Self {
            columns: images.iter().enumerate().map(column).collect(),
            of_images: true,
            ..Self::new(caption, &[])
        }
    }

    /// Adds a line; `name` is HTML.
    pub(super) fn row(&mut self, name: String, cells: Vec<Cell>) {
        self.lines.push((name, cells));
    }

    /// Whether it has no line yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    // The roles say again what the elements are: browsers forget it once the style makes blocks of them.
    pub(super) fn html(&self) -> String {
        let kind = if self.of_images { " class=images" } else { "" };
        let mut out = format!(
            "<table role=table{kind}>\n<caption>{}</caption>\n<thead role=rowgroup><tr role=row>",
            self.caption
        );
        let _ = match self.first.as_str() {
            "" => write!(out, "<td role=cell></td>"),
            first => write!(out, "<th role=columnheader scope=col>{first}</th>"),
        };
        let figures = self.lines.first().map_or(&[][..], |(_, cells)| cells);
        for (at, (heading, _)) in self.columns.iter().enumerate() {
            let class = figures.get(at).map_or("", class);
            let _ = write!(out, "<th role=columnheader scope=col{class}>{heading}</th>");
        }
        out.push_str("</tr></thead>\n<tbody role=rowgroup>\n");
        for (name, cells) in &self.lines {
            let _ = write!(out, "<tr role=row><th role=rowheader scope=row>{name}</th>");
            for (cell, (_, column)) in cells.iter().zip(&self.columns) {
                let (class, html) = (class(cell), &cell.html);
                let _ = write!(out, "<td role=cell{class} data-of=\"{column}\">{html}</td>");
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table>\n");
        out
    }
}

fn class(cell: &Cell) -> &'static str {
    if cell.is_figure { " class=n" } else { "" }
}
