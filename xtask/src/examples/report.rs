//! What was measured, and the tables made of it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Failure;
use super::spec::SINGLE;
use super::traffic::Downloads;

/// A build's time from start to exit, downloads included.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Timed {
    pub(super) seconds: f64,
    pub(super) downloads: Downloads,
}

impl Timed {
    /// The time in which nothing much came over the network.
    fn work(&self) -> f64 {
        (self.seconds - self.downloads.seconds).max(0.0)
    }
}

impl std::fmt::Display for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} + {} for downloads ({})",
            seconds(self.work()),
            seconds(self.downloads.seconds),
            size(self.downloads.bytes)
        )
    }
}

/// What a peer made of the same Dockerfile.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Peer {
    Built { cold: Timed, change: Timed },
    Refused { reason: String },
}

/// The images of one Dockerfile.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) dockerfile: String,
    pub(super) size: u64,
    pub(super) compressed: u64,
    pub(super) layers: u64,
    pub(super) files: u64,
    pub(super) packages: u64,
    pub(super) shells: u64,
    pub(super) package_managers: u64,
    pub(super) network_tools: u64,
    pub(super) audit_errors: u64,
    pub(super) start_seconds: f64,
    pub(super) cold: Timed,
    pub(super) change: Timed,
    pub(super) buildah: Option<Peer>,
}

/// The rows of one example, and when and where they were measured.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) about: String,
    /// Year-month-day.
    pub(super) date: String,
    /// The machine and the programs, in words.
    pub(super) machine: String,
    pub(super) rows: Vec<Row>,
}

/// Cores, memory, kernel and the programs' versions; nothing that tells whose machine it is.
pub(super) fn machine(programs: &[String]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or_else(String::new, |kib| {
            format!(", {} GB of memory", (kib * 1024 + 500_000_000) / 1_000_000_000)
        });
    let kernel = rustix::system::uname();
    let release = kernel.release().to_string_lossy().into_owned();
    let numbers: Vec<&str> = release.split(['.', '-']).take(2).collect();
    format!(
        "{cores} {}{memory}, Linux {}; {}",
        if cores == 1 { "core" } else { "cores" },
        numbers.join("."),
        programs.join(", ")
    )
}

/// The measured examples of earlier runs, from the file that [`save`] wrote; none where there is none.
pub(super) fn load(path: &Path) -> Result<Vec<Measured>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::file(path, &error)),
    }
}

pub(super) fn save(path: &Path, all: &[Measured]) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(all)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    write(path, &(text + "\n"))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::file(path, &error))
}

const HEAD: &[&str] = &[
    "image of",
    "size",
    "of single",
    "layers",
    "files",
    "packages",
    "shells",
    "start-up",
    "build, cold",
    "downloads",
    "after a change",
    "buildah, cold",
    "buildah, after a change",
];

fn cells(example: &Measured, row: &Row) -> Vec<String> {
    let single = example.rows.iter().find(|other| other.dockerfile == SINGLE);
    let (peer_cold, peer_change) = match &row.buildah {
        Some(Peer::Built { cold, change }) => (seconds(cold.work()), seconds(change.seconds)),
        Some(Peer::Refused { .. }) => ("cannot".to_owned(), String::new()),
        None => (String::new(), String::new()),
    };
    vec![
        row.dockerfile.clone(),
        size(row.size),
        match single {
            Some(single) if single.size > 0 && row.dockerfile != SINGLE => share(row.size, single.size),
            _ => String::new(),
        },
        row.layers.to_string(),
        row.files.to_string(),
        row.packages.to_string(),
        row.shells.to_string(),
        seconds(row.start_seconds),
        seconds(row.cold.work()),
        format!(
            "{}, {}",
            size(row.cold.downloads.bytes),
            seconds(row.cold.downloads.seconds)
        ),
        seconds(row.change.seconds),
        peer_cold,
        peer_change,
    ]
}

fn shown_headings(all: &[Measured]) -> usize {
    let any = all
        .iter()
        .flat_map(|example| &example.rows)
        .any(|row| row.buildah.is_some());
    if any { HEAD.len() } else { HEAD.len() - 2 }
}

/// The tables as Markdown, a heading for each example.
pub(super) fn markdown(all: &[Measured]) -> String {
    let mut text = String::new();
    let columns = shown_headings(all);
    for example in all {
        let _ = write!(
            text,
            "### {}\n\n[{}](../examples/{}), measured {} on {}.\n\n| {} |\n|{}\n",
            example.name,
            example.about,
            example.name,
            example.date,
            example.machine,
            HEAD[..columns].join(" | "),
            "---|".repeat(columns)
        );
        for row in &example.rows {
            let mut cells = cells(example, row);
            cells[0] = format!("`{}`", cells[0]);
            let _ = writeln!(text, "| {} |", cells[..columns].join(" | "));
        }
        for row in &example.rows {
            if let Some(Peer::Refused { reason }) = &row.buildah {
                let _ = write!(text, "\nbuildah cannot build `{}`: {reason}\n", row.dockerfile);
            }
        }
        text.push('\n');
    }
    text
}

/// One line for each example: the single-stage image, and the smallest.
pub(super) fn summary(all: &[Measured]) -> String {
    let mut text = String::from(
        "| example | one stage | stages | distroless | part | shells | built cold | after a change |\n|---|---|---|---|---|---|---|---|\n",
    );
    for example in all {
        let of = |name: &str| example.rows.iter().find(|row| row.dockerfile == name);
        let (Some(single), Some(stages), Some(distroless)) =
            (of(SINGLE), of("Dockerfile"), of(super::spec::DISTROLESS))
        else {
            continue;
        };
        let _ = writeln!(
            text,
            "| [{}](examples/{}) | {} | {} | {} | {} | {} → {} | {} | {} |",
            example.name,
            example.name,
            size(single.size),
            size(stages.size),
            size(distroless.size),
            share(distroless.size, single.size),
            single.shells,
            distroless.shells,
            seconds(distroless.cold.work()),
            seconds(distroless.change.seconds),
        );
    }
    text
}

/// The tables as one page that needs nothing else.
pub(super) fn html(all: &[Measured]) -> String {
    let mut text = String::from(PAGE);
    let columns = shown_headings(all);
    for example in all {
        let _ = write!(
            text,
            "<h2>{}</h2>\n<p>{}, measured {} on {}.</p>\n<div class=\"wide\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n",
            escape(&example.name),
            escape(&example.about),
            escape(&example.date),
            escape(&example.machine),
            HEAD[..columns]
                .iter()
                .map(|head| format!("<th scope=\"col\">{head}</th>"))
                .collect::<String>()
        );
        for row in &example.rows {
            let cells = cells(example, row);
            let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escape(&cells[0]));
            for cell in &cells[1..columns] {
                let _ = write!(text, "<td>{}</td>", escape(cell));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</tbody></table></div>\n");
    }
    text.push_str("</main></body></html>\n");
    text
}

const PAGE: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>distil: the examples</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 }
main { max-width: 80rem; margin: 0 auto; padding: 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8886; white-space: nowrap }
th:first-child { text-align: left }
</style></head><body><main>
<h1>The examples, each built three ways</h1>
"#;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn share(part: u64, whole: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let percent = part as f64 * 100.0 / whole as f64;
    if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn seconds(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.2} s"),
        1.0..20.0 => format!("{value:.1} s"),
        _ => format!("{value:.0} s"),
    }
}

/// Three digits and a unit of 1000, as `distil images` shows it.
fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].iter();
    let mut unit = "B";
    for next in &mut units {
        unit = next;
        if value < 999.5 {
            break;
        }
        if *next != "GB" {
            value /= 1000.0;
        }
    }
    let digits = if unit == "B" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let row = |dockerfile: &str, size| Row {
            dockerfile: dockerfile.into(),
            size,
            shells: u64::from(size > 1_000_000) * 3,
            cold: Timed {
                seconds: 25.0,
                downloads: Downloads {
                    bytes: 143_000_000,
                    seconds: 9.5,
                },
            },
            ..Row::default()
        };
        Measured {
            name: "go-web".into(),
            about: "a <service>".into(),
            date: "2026-11-21".into(),
            machine: "2 cores".into(),
            rows: vec![
                row(SINGLE, 918_000_000),
                row("Dockerfile", 5_000_000),
                row("Dockerfile.distroless", 1_610_000),
            ],
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1_607_674, "1.61MB"),
            (22_300_000, "22.3MB"),
            (918_000_000, "918MB"),
            (999_700_000, "1GB"),
            (1_250_000_000, "1.25GB"),
            (2_000_000, "2MB"),
            (100_000_000, "100MB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn tables_leave_out_a_peer_that_was_not_run() {
        let mut all = vec![measured()];
        let text = markdown(&all);
        assert!(
            text.contains("| `Dockerfile.distroless` | 1.61MB | 0.2 % |"),
            "{text}"
        );
        assert!(text.contains("| 15.5 s | 143MB, 9.5 s |"), "{text}");
        assert!(!text.contains("buildah"), "{text}");
        all[0].rows[1].buildah = Some(Peer::Refused {
            reason: "no such flag".into(),
        });
        assert!(markdown(&all).contains("buildah cannot build `Dockerfile`: no such flag"));
    }

    #[test]
    fn the_summary_has_one_line_an_example() {
        let text = summary(&[measured()]);
        assert!(
            text.contains("| 918MB | 5MB | 1.61MB | 0.2 % | 3 → 3 |"),
            "{text}"
        );
    }

    #[test]
    fn the_page_escapes_what_it_shows() {
        let text = html(&[measured()]);
        assert!(text.contains("a &lt;service&gt;") && !text.contains("a <service>"));
    }
}
