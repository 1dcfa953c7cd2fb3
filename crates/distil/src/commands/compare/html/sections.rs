//! The sections of a page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use distil_audit::cve::{Database, DatabaseKind, Severity, Vulnerability};
use distil_audit::rules::RULES;
use distil_audit::{Finding, Share, ShareKind, printable_text};

use super::tables::{Cell, Table};
use super::text::{amount, escape, number, plural, shortened, time};
use super::{treemap, words};
use crate::commands::compare::facts::{
    ImageFacts, LayerFacts, PROGRAMS, PackageFacts, SetIdFile, StageFacts,
};
use crate::commands::compare::rows::{Figure, Row};
use crate::commands::compare::start_up::StartUp;
use crate::commands::compare::vulnerabilities::Vulnerabilities;
use crate::view::one_line;

/// Largest parts that are listed beside a map.
const LARGEST: usize = 12;

/// The letter that an image has on the page.
pub(super) fn tag(at: usize) -> String {
    format!("<span class=tag>{}</span>", letter(at))
}

/// There are at most twelve images.
pub(super) fn letter(at: usize) -> char {
    u8::try_from(at)
        .ok()
        .and_then(|at| b'A'.checked_add(at))
        .map_or('?', char::from)
}

fn section(id: &str, title: &str, about: &str, inside: &str) -> String {
    format!(
        "<section id={id} aria-labelledby={id}-title>\n<h2 id={id}-title>{title}</h2>\n<p class=about>{about}</p>\n\
         {inside}</section>\n"
    )
}

/// All figures, image beside image.
pub(super) fn figures(images: &[ImageFacts], rows: &[Row]) -> String {
    let mut table = Table::of_images("Figures of each image", images);
    for row in rows {
        let changes = row.changes();
        let cells = row.figures.iter().zip(&changes).map(|(figure, change)| {
            let change = change.as_ref().map_or_else(String::new, words::change);
            Cell::figure(format!("{}{change}", figure_text(figure)))
        });
        table.row(escape(row.label), cells.collect());
    }
    let mut inside = table.html();
    inside.push_str(&facts_about(images));
    let about = match images.len() {
        1 => "One image alone. Name several, and each change is told against the first.",
        _ => "Changes are told against image A.",
    };
    section("figures", "Figures", about, &inside)
}

fn figure_text(figure: &Figure) -> String {
    match figure {
        Figure::Bytes(bytes) => amount(*bytes),
        Figure::Count(count) => number(*count),
        Figure::Time(duration) => time(*duration),
        Figure::Text(text) => format!("<span class=dim>{}</span>", escape(&shortened(text, 120))),
    }
}

/// What identifies each image.
fn facts_about(images: &[ImageFacts]) -> String {
    let mut out = String::from("<dl class=ids>\n");
    for (at, image) in images.iter().enumerate() {
        let _ = write!(
            out,
            "<div><dt>{} {}</dt><dd>{} <code>{}</code></dd>",
            tag(at),
            escape(&shortened(&image.name, 80)),
            escape(&image.platform),
            escape(&image.id)
        );
        if let Some(StartUp::Measured {
            until,
            runs,
            fastest,
            slowest,
            ..
        }) = &image.start_up
        {
            let until = match *until {
                "exit" => "the program ended",
                "output" => "it wrote its first byte",
                _ => "its port took connections",
            };
            let _ = write!(
                out,
                "<dd>started {}, until {until}: {} to {}</dd>",
                plural(u64::from(*runs), "time"),
                time(*fastest),
                time(*slowest)
            );
        }
        out.push_str("</div>\n");
    }
    out.push_str("</dl>\n");
    out
}

/// Maps of each image, by directory and by package.
pub(super) fn space(images: &[ImageFacts]) -> String {
    let mut inside = String::new();
    for (title, by, share) in [
        (
            "By directory",
            "directory",
            (|image| &image.shares.directories) as fn(&ImageFacts) -> &Share,
        ),
        ("By package", "package", |image| &image.shares.packages),
    ] {
        let hues = treemap::Hues::of(images.iter().map(share));
        let _ = write!(inside, "<h3>{title}</h3>\n<div class=pair>\n");
        for (at, image) in images.iter().enumerate() {
            let share = share(image);
            let name = shortened(&image.name, 80);
            let map = treemap::map(share, &hues, &format!("Space in {name} by {by}"));
            let _ = write!(
                inside,
                "<figure><figcaption>{} <b>{}</b> <span class=dim>{} in {}</span></figcaption>\n{map}\n{}</figure>\n",
                tag(at),
                escape(&name),
                amount(share.bytes),
                plural(share.files, "file"),
                largest(share)
            );
        }
        inside.push_str("</div>\n");
    }
    let about = "What can be seen in each image, whatever layer it is from. A box is as large as what it stands for; \
                 each image fills its own map.";
    section("space", "Where the space goes", about, &inside)
}

/// The largest parts as a table.
fn largest(share: &Share) -> String {
    let mut found: Vec<(String, &Share)> = Vec::new();
    leaves(&words::path_of("", share), share, &mut found);
    found.sort_by(|(a, x), (b, y)| y.bytes.cmp(&x.bytes).then_with(|| a.cmp(b)));
    if found.is_empty() {
        return String::new();
    }
    let mut table = Table::new("Largest parts", &["Part", "Size", "Share"]);
    for (path, part) in found.into_iter().take(LARGEST) {
        let percent = part.bytes as f64 / share.bytes.max(1) as f64 * 100.0;
        let path = format!("<code>{}</code>", escape(&shortened(&path, 120)));
        let cells = vec![
            Cell::figure(amount(part.bytes)),
            Cell::figure(format!("{percent:.1}\u{a0}%")),
        ];
        table.row(path, cells);
    }
    format!(
        "<details><summary>The largest parts as a table</summary>\n{}</details>\n",
        table.html()
    )
}

fn leaves<'s>(path: &str, share: &'s Share, found: &mut Vec<(String, &'s Share)>) {
    for part in &share.parts {
        let path = words::path_of(path, part);
        match part.parts.is_empty() {
            true if part.kind != ShareKind::Rest => found.push((path, part)),
            true => {}
            false => leaves(&path, part, found),
        }
    }
}

/// What each layer of each image brings and leaves behind; at most `shown` layers of each.
pub(super) fn layers(images: &[ImageFacts], shown: usize) -> String {
    let mut inside = String::new();
    for (at, image) in images.iter().enumerate() {
        let name = escape(&shortened(&image.name, 80));
        let wasted = match image.size.wasted {
            0 => "nothing left behind".to_owned(),
            bytes => format!("{} left behind", amount(bytes)),
        };
        let count = plural(image.layers.len() as u64, "layer");
        let _ = writeln!(
            inside,
            "<h3>{} {name} <span class=dim>{count}, {wasted}</span></h3>",
            tag(at)
        );
        let caption = format!("Layers of {}", shortened(&image.name, 80));
        inside.push_str(&layers_of(image, &caption, shown));
    }
    let about = "What each instruction put into the image, lowest layer first. Left behind is what a later layer \
                 replaces or removes: no one sees it any more, and it is still pulled.";
    section("layers", "What layers leave behind", about, &inside)
}

fn layers_of(image: &ImageFacts, caption: &str, shown: usize) -> String {
    if image.layers.is_empty() {
        return "<p class=dim>No layers.</p>\n".to_owned();
    }
    let most = image
        .layers
        .iter()
        .map(|layer| layer.size)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut table = Table::new(caption, &["Instruction", "Size", "Compressed", "Left behind"]);
    for layer in image.layers.iter().take(shown) {
        table.row(instruction(layer, most), layer_cells(layer));
    }
    format!("{}{}", table.html(), more(image.layers.len(), shown))
}

fn instruction(layer: &LayerFacts, most: u64) -> String {
    let part = |bytes: u64| bytes as f64 / most as f64 * 100.0;
    let text = match layer.instruction.as_str() {
        "" => "<span class=dim>not told by the history</span>".to_owned(),
        text => format!("<code>{}</code>", escape(&shortened(text, 200))),
    };
    format!(
        "{text}<span class=\"bar thin\" aria-hidden=true><i style=\"width:{:.2}%\"></i><i class=w \
         style=\"width:{:.2}%\"></i></span>",
        part(layer.size),
        part(layer.wasted)
    )
}

fn layer_cells(layer: &LayerFacts) -> Vec<Cell> {
    let wasted = match layer.wasted {
        0 => "<span class=dim>–</span>".to_owned(),
        bytes => format!("<b class=warn>{}</b>", amount(bytes)),
    };
    vec![
        Cell::figure(amount(layer.size)),
        Cell::figure(amount(layer.compressed)),
        Cell::figure(wasted),
    ]
}

/// Says how many lines of a list are not shown.
fn more(count: usize, shown: usize) -> String {
    match count.saturating_sub(shown) {
        0 => String::new(),
        left => format!("<p class=dim>… and {} more.</p>\n", number(left as u64)),
    }
}

/// What the stages of each build had, and what of it is in the image.
pub(super) fn stages(images: &[ImageFacts], shown: usize) -> String {
    let mut inside = String::new();
    for (at, image) in images
        .iter()
        .enumerate()
        .filter(|(_, image)| !image.stages.is_empty())
    {
        let name = shortened(&image.name, 80);
        let _ = writeln!(inside, "<h3>{} {}</h3>", tag(at), escape(&name));
        let caption = format!("Stages that {name} was copied from");
        let mut table = Table::new(
            &caption,
            &["Stage", "In the stage", "In the image", "Left behind"],
        );
        for stage in image.stages.iter().take(shown) {
            table.row(stage_name(stage), stage_cells(stage));
        }
        inside.push_str(&table.html());
        inside.push_str(&more(image.stages.len(), shown));
    }
    if inside.is_empty() {
        return String::new();
    }
    let about = "What COPY took files from, and how much of it went into the image. What is left behind is not \
                 pulled by anyone.";
    section("stages", "What stages leave behind", about, &inside)
}

fn stage_name(stage: &StageFacts) -> String {
    let part = stage.brought as f64 / stage.size.unwrap_or(stage.brought).max(1) as f64 * 100.0;
    format!(
        "<code>{}</code><span class=\"bar thin\" aria-hidden=true><i style=\"width:{:.2}%\"></i></span>",
        escape(&shortened(&stage.name, 160)),
        part.min(100.0)
    )
}

fn stage_cells(stage: &StageFacts) -> Vec<Cell> {
    let left = stage.size.map(|size| size.saturating_sub(stage.brought));
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "<span class=dim>–</span>".to_owned(), amount);
    let files = plural(stage.files, "file");
    vec![
        Cell::figure(known(stage.size)),
        Cell::figure(format!(
            "{}<br><span class=dim>{files}</span>",
            amount(stage.brought)
        )),
        Cell::figure(known(left)),
    ]
}

/// Shells and tools, and files with more rights than their caller; at most `shown` of each kind.
pub(super) fn programs(images: &[ImageFacts], shown: usize) -> String {
    let mut table = Table::of_images("Programs and rights in each image", images);
    for (rule, _, label) in PROGRAMS {
        let cells = images.iter().map(|image| listed(image.programs(rule), shown));
        table.row(label.to_owned(), cells.collect());
    }
    let set_id = |image: &ImageFacts| {
        let text = |file: &SetIdFile| format!("{} {} {}", file.mode, file.owner, file.path);
        image.set_id.iter().map(text).collect::<Vec<_>>()
    };
    let cells = images.iter().map(|image| listed(&set_id(image), shown));
    table.row("Set-user-id and set-group-id files".to_owned(), cells.collect());
    let cells = images.iter().map(|image| match image.is_root() {
        true => Cell::text("<b class=warn>root</b>".to_owned()),
        false => Cell::text(format!("<code>{}</code>", escape(&shortened(&image.user, 60)))),
    });
    table.row("Runs as".to_owned(), cells.collect());
    let about = "What a person who gets into a container finds there to work with. An image that needs none of it is \
                 safer without.";
    section("programs", "Shells, tools and rights", about, &table.html())
}

/// What else the audit finds, by rule: the worst first.
pub(super) fn findings(images: &[ImageFacts], shown: usize) -> String {
    let mut table = Table::of_images("What the audit finds in each image", images);
    let mut rules: Vec<_> = RULES
        .iter()
        .filter_map(|rule| {
            let found = images.iter().flat_map(|image| &image.findings);
            let worst = found
                .filter(|finding| finding.id == rule.id)
                .map(|finding| finding.severity)
                .max()?;
            let told = PROGRAMS.iter().any(|(id, _, _)| *id == rule.id);
            (!told).then_some((std::cmp::Reverse(worst), rule))
        })
        .collect();
    rules.sort_by_key(|(worst, _)| *worst);
    if rules.is_empty() {
        let about = "The audit finds nothing else in any of them.";
        return section("findings", "Findings", about, "");
    }
    for (worst, rule) in rules {
        let cells = images.iter().map(|image| {
            let found = image.findings.iter().filter(|finding| finding.id == rule.id);
            listed(&found.map(finding_text).collect::<Vec<_>>(), shown)
        });
        let name = format!(
            "{} <code>{}</code><br><span class=dim>{}</span>",
            words::severity(worst.0),
            rule.id,
            escape(rule.summary)
        );
        table.row(name, cells.collect());
    }
    let about = "What <code>distil audit</code> says besides, as far as its policy does not accept it.";
    section("findings", "Findings", about, &table.html())
}

/// Known vulnerabilities by severity; nothing without a database.
pub(super) fn vulnerabilities(images: &[ImageFacts], shown: usize) -> String {
    let judged = || images.iter().filter_map(|image| image.vulnerabilities.as_ref());
    if judged().next().is_none() {
        return String::new();
    }
    let mut table = Table::of_images("Known vulnerabilities of each image", images);
    for severity in Severity::WORST_FIRST {
        if judged().all(|known| known.of_severity(severity).next().is_none()) {
            continue;
        }
        let cells = images.iter().map(|image| match &image.vulnerabilities {
            Some(known @ Vulnerabilities::Judged { .. }) => {
                let lines: Vec<String> = known.of_severity(severity).map(vulnerability_text).collect();
                listed(&lines, shown)
            }
            _ => Cell::text("<span class=dim>not judged</span>".to_owned()),
        });
        table.row(severity.to_string(), cells.collect());
    }
    let mut about =
        String::from("What databases know of the packages, each with the version that has a fix.");
    for date in dates(images) {
        let _ = write!(about, " {}", escape(&date));
    }
    let inside = if table.is_empty() {
        "<p>None is known of any of them.</p>\n".to_owned()
    } else {
        table.html()
    };
    section("vulnerabilities", "Known vulnerabilities", &about, &inside)
}

fn vulnerability_text(found: &Vulnerability) -> String {
    let Vulnerability {
        id,
        component,
        version,
        ..
    } = found;
    match &found.fixed_in {
        Some(fixed) => format!("{id} {component} {version}, fixed in {fixed}"),
        None => format!("{id} {component} {version}, {}", found.state),
    }
}

/// Of what day each database is.
fn dates(images: &[ImageFacts]) -> BTreeSet<String> {
    let databases = images.iter().filter_map(|image| match &image.vulnerabilities {
        Some(Vulnerabilities::Judged { databases, .. }) => Some(databases),
        _ => None,
    });
    let text = |database: &Database| {
        let kind = match database.kind {
            DatabaseKind::Osv => "OSV",
            DatabaseKind::Tracker => "Debian's tracker",
        };
        let day = database
            .date
            .map_or_else(|| "unknown date".to_owned(), distil_debian::format_rfc3339);
        format!("{kind}: {}.", day.split('T').next().unwrap_or_default())
    };
    databases.flatten().map(text).collect()
}

fn finding_text(finding: &Finding) -> String {
    let text = printable_text(&finding.message);
    match &finding.instruction {
        Some(instruction) => format!("{text} ({})", one_line(instruction, 80)),
        None => text,
    }
}

/// A number that opens to a list.
fn listed(lines: &[String], shown: usize) -> Cell {
    if lines.is_empty() {
        return Cell::text("<span class=none>none</span>".to_owned());
    }
    let items: String = lines
        .iter()
        .take(shown)
        .map(|line| format!("<li>{}</li>", escape(&shortened(line, 160))))
        .collect();
    let left = match lines.len().saturating_sub(shown) {
        0 => String::new(),
        left => format!("<li>… and {} more</li>", number(left as u64)),
    };
    Cell::text(format!(
        "<details><summary><b class=warn>{}</b></summary><ul>{items}{left}</ul></details>",
        number(lines.len() as u64)
    ))
}

/// A package with what each image has of it.
struct Line<'f> {
    name: &'f str,
    kind: String,
    versions: Vec<String>,
    sizes: Vec<u64>,
}

/// Packages, image beside image: first those that differ. At most `shown` of either.
pub(super) fn packages(images: &[ImageFacts], shown: usize) -> String {
    let lines = lines(images);
    let (same, differ): (Vec<_>, Vec<_>) = lines.iter().partition(|line| {
        images.len() > 1 && line.versions.iter().all(|version| *version == line.versions[0])
    });
    let mut inside = String::new();
    if lines.is_empty() {
        inside.push_str("<p class=dim>No package records in any of them.</p>\n");
    }
    if !differ.is_empty() {
        inside.push_str(&package_table("Packages that differ", images, &differ, shown));
    }
    if !same.is_empty() {
        let _ = write!(
            inside,
            "<details><summary>{} the same in all</summary>\n{}</details>\n",
            plural(same.len() as u64, "package"),
            package_table("Packages that are the same", images, &same, shown)
        );
    }
    let about = "From the records that package managers leave, with the bytes of the files that are really there, \
                 largest first.";
    section("packages", "Packages", about, &inside)
}

fn package_table(caption: &str, images: &[ImageFacts], lines: &[&Line<'_>], shown: usize) -> String {
    let mut table = Table::of_images(caption, images);
    for line in lines.iter().take(shown) {
        let cells = line
            .versions
            .iter()
            .zip(&line.sizes)
            .map(|(version, size)| match version.as_str() {
                "" => Cell::text("<span class=none>none</span>".to_owned()),
                version => Cell::text(format!(
                    "<code>{}</code> <span class=dim>{}</span>",
                    escape(&shortened(version, 60)),
                    amount(*size)
                )),
            });
        let name = escape(&shortened(line.name, 80));
        table.row(
            format!("{name} <span class=dim>{}</span>", escape(&line.kind)),
            cells.collect(),
        );
    }
    format!("{}{}", table.html(), more(lines.len(), shown))
}

/// Packages by kind and name, largest first. A name may be there several times in one image.
fn lines(images: &[ImageFacts]) -> Vec<Line<'_>> {
    let mut found: BTreeMap<(String, &str), Line<'_>> = BTreeMap::new();
    for (at, image) in images.iter().enumerate() {
        for package in &image.packages {
            let PackageFacts {
                ecosystem,
                name,
                version,
                size,
            } = package;
            let kind = words::ecosystem_name(*ecosystem);
            let line = found.entry((kind.clone(), name)).or_insert_with(|| Line {
                name,
                kind,
                versions: vec![String::new(); images.len()],
                sizes: vec![0; images.len()],
            });
            let known = &mut line.versions[at];
            match known.is_empty() {
                true => known.clone_from(version),
                false if known.split(", ").any(|one| one == version) => {}
                false => *known = format!("{known}, {version}"),
            }
            line.sizes[at] += size;
        }
    }
    let mut lines: Vec<Line<'_>> = found.into_values().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.sizes.iter().copied().max()));
    lines
}
