//! A comparison as one page that needs nothing else: no script, no font, no picture, no network.

mod sections;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod treemap;
mod words;

use std::fmt::Write;

use self::text::{amount, escape, plural, shortened};
use super::facts::ImageFacts;
use super::rows::Row;

/// Forbids the page everything but its own style, whatever a name in an image may hold.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("style.css");

/// The style; tables become lists on a screen that has no room for a column for each image.
fn style(images: usize) -> String {
    let width = match images {
        0..=2 => "640px".to_owned(),
        3 | 4 => format!("{}px", 280 + 190 * images),
        // Wider than the page ever is.
        _ => "99999px".to_owned(),
    };
    STYLE.replace("TABLES", &width)
}

/// Bytes that a page may have.
const LARGEST: usize = 1_900_000;

/// Lines of each list of each image, where the page has room for them.
const MOST_LINES: usize = 400;

/// The page. Names may be of any length and lists too: of those that are not whole, the page says how much is
/// left out.
pub(super) fn page(images: &[ImageFacts], rows: &[Row]) -> String {
    let mut shown = MOST_LINES;
    loop {
        let page = page_with(images, rows, shown);
        if page.len() <= LARGEST || shown < 2 {
            return page;
        }
        shown /= 2;
    }
}

fn page_with(images: &[ImageFacts], rows: &[Row], shown: usize) -> String {
    let names: Vec<String> = images.iter().map(|image| shortened(&image.name, 60)).collect();
    let (title, style) = (escape(&names.join(", ")), style(images.len()));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"{POLICY}\">\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=color-scheme content=\"light dark\">\n<meta name=referrer content=no-referrer>\n\
         <link rel=icon href=\"data:,\">\n<title>{title} – distil compare</title>\n<style>\n{style}</style>\n\
         </head>\n<body>\n<a class=skip href=\"#main\">Skip to the figures</a>\n"
    );
    out.push_str(&header(images));
    out.push_str("<main id=main>\n");
    for section in [
        sections::figures(images, rows),
        sections::space(images),
        sections::layers(images, shown),
        sections::stages(images, shown),
        sections::programs(images, shown),
        sections::findings(images, shown),
        sections::vulnerabilities(images, shown),
        sections::packages(images, shown),
    ] {
        out.push_str(&section);
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        out,
        "</main>\n<footer><p>Made by <code>distil compare</code> {version}. This page is complete: it loads \
         nothing and runs no script.</p></footer>\n</body>\n</html>\n"
    );
    out
}

/// What it is all about: names, the sentence that says most, and the sizes as bars.
fn header(images: &[ImageFacts]) -> String {
    let mut out = String::from("<header>\n<p class=over>Image comparison</p>\n<h1>");
    for (at, image) in images.iter().enumerate() {
        let between = match at {
            0 => "",
            _ if at + 1 == images.len() => " <i>and</i> ",
            _ => "<i>,</i> ",
        };
        let _ = write!(
            out,
            "{between}<span>{}</span>",
            escape(&shortened(&image.name, 80))
        );
    }
    let _ = write!(out, "</h1>\n<p class=lead>{}</p>\n", lead(images));
    let most = images
        .iter()
        .map(|image| image.size.stored)
        .max()
        .unwrap_or(0)
        .max(1);
    out.push_str("<ol class=bars>\n");
    for (at, image) in images.iter().enumerate() {
        let (sizes, part) = (&image.size, |bytes: u64| bytes as f64 / most as f64 * 100.0);
        let (stored, packed) = (part(sizes.stored), part(sizes.compressed.min(sizes.stored)));
        let _ = writeln!(
            out,
            "<li>{} <span class=name>{}</span><span class=sum><b>{}</b> <span class=dim>{} compressed</span></span>\
             <span class=bar aria-hidden=true><i style=\"width:{stored:.2}%\"></i><i class=z \
             style=\"width:{packed:.2}%\"></i></span></li>",
            sections::tag(at),
            escape(&shortened(&image.name, 80)),
            amount(sizes.stored),
            amount(sizes.compressed)
        );
    }
    out.push_str(
        "</ol>\n<p class=key aria-hidden=true><span><i></i> contents of all layers</span> <span><i class=z></i> \
         compressed, as a registry stores them</span></p>\n</header>\n",
    );
    out
}

/// One sentence about the sizes.
fn lead(images: &[ImageFacts]) -> String {
    let name = |image: &ImageFacts| format!("<b>{}</b>", escape(&shortened(&image.name, 80)));
    match images {
        [] => String::new(),
        [one] => format!(
            "{} has {} in {}, {} when it is pulled.",
            name(one),
            amount(one.size.stored),
            plural(one.files, "file"),
            amount(one.size.compressed)
        ),
        [first, others @ ..] => {
            let smallest = others
                .iter()
                .min_by_key(|image| image.size.stored)
                .unwrap_or(first);
            let (before, after) = (first.size.stored, smallest.size.stored);
            let (small, large) = (name(smallest), name(first));
            let pull = format!(
                "A machine without any of their layers pulls {} instead of {}.",
                amount(smallest.size.compressed),
                amount(first.size.compressed)
            );
            if before == after {
                return format!("{small} is as large as {large}: {}.", amount(before));
            }
            let percent = after as f64 / before.max(1) as f64 * 100.0 - 100.0;
            match after < before {
                true => format!(
                    "{small} is {} smaller than {large}: {} instead of {}. {pull}",
                    percentage(-percent),
                    amount(after),
                    amount(before)
                ),
                false => format!(
                    "{small} is larger than {large}: {} instead of {}. {pull}",
                    amount(after),
                    amount(before)
                ),
            }
        }
    }
}

/// A part of the whole; never all of it when something is left.
fn percentage(percent: f64) -> String {
    match percent {
        _ if percent >= 100.0 => "100\u{a0}%".to_owned(),
        _ if percent > 99.0 => format!("{:.1}\u{a0}%", percent.min(99.9)),
        _ if percent < 1.0 => "less than 1\u{a0}%".to_owned(),
        _ => format!("{percent:.0}\u{a0}%"),
    }
}
