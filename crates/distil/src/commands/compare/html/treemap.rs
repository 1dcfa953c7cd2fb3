//! Treemaps: boxes as large as what they stand for, in plain HTML.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use distil_audit::{Share, ShareKind};

use super::text::{amount, escape, plural, shortened};
use super::words;

/// Width and height that boxes are judged by, in CSS pixels: what a map has on a wide screen. All positions are
/// in percent, so that it fits any.
const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 405.0;

/// A box smaller than this shows nothing of what is in it.
const LEAST_GROUP: (f64, f64) = (64.0, 44.0);

/// What the name and the frame of a group take of it.
const HEAD: f64 = 20.0;
const FRAME: f64 = 3.0;

/// A box smaller than this many square pixels is left out.
const LEAST_AREA: f64 = 9.0;

/// Hues that the style has.
const HUES: usize = 8;

/// A box; the numbers are pixels of [`WIDTH`] and [`HEIGHT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// The hue of each part of an image, the same in all maps. A directory with most of an image gives its own parts
/// hues, for otherwise all boxes would look alike.
#[derive(Debug, Default)]
pub(super) struct Hues {
    by_path: HashMap<String, usize>,
    split: HashSet<String>,
}

impl Hues {
    /// Gives the parts of `shares` their hues, the largest first.
    pub(super) fn of<'s>(shares: impl Iterator<Item = &'s Share>) -> Self {
        let mut sizes: HashMap<String, u64> = HashMap::new();
        let mut split = HashSet::new();
        for share in shares {
            let root = root_path(share);
            for part in &share.parts {
                let most = part.bytes > share.bytes / 2 && !part.parts.is_empty();
                if part.kind == ShareKind::Directory && most {
                    let path = words::path_of(&root, part);
                    for inner in &part.parts {
                        *sizes.entry(hue_path(&path, inner)).or_default() += inner.bytes;
                    }
                    split.insert(path);
                }
                *sizes.entry(hue_path(&root, part)).or_default() += part.bytes;
            }
        }
        sizes.retain(|path, _| !split.contains(path));
        let mut paths: Vec<(String, u64)> = sizes.into_iter().collect();
        paths.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        let paths = paths.into_iter().map(|(path, _)| path).enumerate();
        let by_path = paths.map(|(at, path)| (path, at % HUES)).collect();
        Self { by_path, split }
    }

    fn class(&self, parent: &str, part: &Share) -> String {
        match (part.kind, self.by_path.get(&hue_path(parent, part))) {
            (ShareKind::Rest, _) | (_, None) => "r".to_owned(),
            (_, Some(hue)) => format!("h{hue}"),
        }
    }
}

fn root_path(share: &Share) -> String {
    words::path_of("", share).trim_end_matches('/').to_owned()
}

/// What decides on the hue: the first directory of a part, or the kind of package.
fn hue_path(parent: &str, part: &Share) -> String {
    match part.kind {
        ShareKind::Packages(_) | ShareKind::Unowned => words::name_of(part),
        _ => format!("{parent}/{}", part.name.split('/').next().unwrap_or_default()),
    }
}

/// The map of a share; `label` says what it shows.
pub(super) fn map(share: &Share, hues: &Hues, label: &str) -> String {
    let total = share.bytes.max(1) as f64;
    let told: Vec<String> = share
        .parts
        .iter()
        .take(5)
        .map(|part| {
            let percent = part.bytes as f64 / total * 100.0;
            format!("{} {percent:.0} %", shortened(&words::name_of(part), 40))
        })
        .collect();
    let text = format!("{label}: {}", told.join(", "));
    let mut out = format!("<div class=map role=img aria-label=\"{}\">", escape(&text));
    let whole = Area {
        left: 0.0,
        top: 0.0,
        width: WIDTH,
        height: HEIGHT,
    };
    let whole = Place {
        within: whole,
        path: root_path(share),
        hues,
    };
    match share.parts.as_slice() {
        [] => whole.leaf(&mut out, share, whole.within, "h0"),
        parts => {
            for (part, area) in parts.iter().zip(areas(parts, whole.within)) {
                whole.draw(&mut out, part, area, &hues.class(&whole.path, part));
            }
        }
    }
    out.push_str("</div>");
    out
}

/// The box that others are drawn in.
struct Place<'h> {
    within: Area,
    /// Path of the directory that it stands for, without a slash at the end.
    path: String,
    hues: &'h Hues,
}

impl Place<'_> {
    fn draw(&self, out: &mut String, part: &Share, area: Area, class: &str) {
        if area.width * area.height < LEAST_AREA {
            return;
        }
        let small = area.width < LEAST_GROUP.0 || area.height < LEAST_GROUP.1;
        if small || part.parts.is_empty() {
            return self.leaf(out, part, area, class);
        }
        let name = escape(&shortened(&words::name_of(part), 40));
        let (style, title) = (self.style(area), self.title(part));
        let _ = write!(
            out,
            "<div class=\"g {class}\" {style} title=\"{title}\"><b>{name}</b><div class=k>"
        );
        let inner = Self {
            within: Area {
                left: 0.0,
                top: 0.0,
                width: area.width - 2.0 * FRAME,
                height: area.height - HEAD - FRAME,
            },
            path: self.path_of(part),
            hues: self.hues,
        };
        let split = self.hues.split.contains(&inner.path);
        for (part, area) in part.parts.iter().zip(areas(&part.parts, inner.within)) {
            match split {
                true => inner.draw(out, part, area, &self.hues.class(&inner.path, part)),
                false => inner.draw(out, part, area, class),
            }
        }
        out.push_str("</div></div>");
    }

    fn leaf(&self, out: &mut String, part: &Share, area: Area, class: &str) {
        let class = if part.kind == ShareKind::Rest { "r" } else { class };
        let name = escape(&shortened(&words::name_of(part), 40));
        let (style, title, size) = (self.style(area), self.title(part), amount(part.bytes));
        let _ = write!(
            out,
            "<div class=\"t {class}\" {style} title=\"{title}\"><span>{name}<small>{size}</small></span></div>"
        );
    }

    fn style(&self, area: Area) -> String {
        let x = |pixels: f64| percent(pixels, self.within.width);
        let y = |pixels: f64| percent(pixels, self.within.height);
        format!(
            "style=\"left:{}%;top:{}%;width:{}%;height:{}%\"",
            x(area.left),
            y(area.top),
            x(area.width),
            y(area.height)
        )
    }

    fn title(&self, part: &Share) -> String {
        let path = match self.path_of(part) {
            path if path.is_empty() => words::name_of(part),
            path => shortened(&path, 100),
        };
        escape(&format!(
            "{path}: {} in {}",
            amount(part.bytes),
            plural(part.files, "file")
        ))
    }

    /// What a part is called outside of its box.
    fn path_of(&self, part: &Share) -> String {
        words::path_of(&self.path, part)
    }
}

/// A number with up to two digits after the point.
fn percent(pixels: f64, of: f64) -> String {
    let text = format!("{:.2}", pixels / of.max(1.0) * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Boxes for parts, each as large as its bytes, as square as can be (Bruls, Huizing and van Wijk, "Squarified
/// treemaps").
fn areas(parts: &[Share], within: Area) -> Vec<Area> {
    let total: f64 = parts.iter().map(|part| part.bytes as f64).sum();
    if total <= 0.0 || within.width <= 0.0 || within.height <= 0.0 {
        return vec![
            Area {
                width: 0.0,
                height: 0.0,
                ..within
            };
            parts.len()
        ];
    }
    let scale = within.width * within.height / total;
    let sizes: Vec<f64> = parts.iter().map(|part| part.bytes as f64 * scale).collect();
    squarify(&sizes, within)
}

fn squarify(mut sizes: &[f64], mut free: Area) -> Vec<Area> {
    let mut placed = Vec::with_capacity(sizes.len());
    while !sizes.is_empty() {
        let side = free.width.min(free.height).max(f64::MIN_POSITIVE);
        let mut row = 1;
        while row < sizes.len() && worst(&sizes[..=row], side) <= worst(&sizes[..row], side) {
            row += 1;
        }
        let (now, later) = sizes.split_at(row);
        free = place(now, free, &mut placed);
        sizes = later;
    }
    placed
}

/// The proportion of the box of a row that is least like a square.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let thickness = sum / side;
    let proportion = |size: &f64| {
        let length = size / thickness.max(f64::MIN_POSITIVE);
        (length / thickness).max(thickness / length.max(f64::MIN_POSITIVE))
    };
    row.iter().map(proportion).fold(0.0, f64::max)
}

/// Places a row along the shorter side; gives what is left free.
fn place(row: &[f64], free: Area, placed: &mut Vec<Area>) -> Area {
    let sum: f64 = row.iter().sum();
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width }.max(f64::MIN_POSITIVE);
    let thickness = (sum / side).min(if upright { free.width } else { free.height });
    let mut at = 0.0;
    for size in row {
        let length = if sum > 0.0 { side * size / sum } else { 0.0 };
        placed.push(match upright {
            true => Area {
                left: free.left,
                top: free.top + at,
                width: thickness,
                height: length,
            },
            false => Area {
                left: free.left + at,
                top: free.top,
                width: length,
                height: thickness,
            },
        });
        at += length;
    }
    match upright {
        true => Area {
            left: free.left + thickness,
            width: free.width - thickness,
            ..free
        },
        false => Area {
            top: free.top + thickness,
            height: free.height - thickness,
            ..free
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Area = Area {
        left: 0.0,
        top: 0.0,
        width: WIDTH,
        height: HEIGHT,
    };

    fn share(bytes: u64) -> Share {
        Share {
            kind: ShareKind::Directory,
            name: bytes.to_string(),
            bytes,
            files: 1,
            parts: Vec::new(),
        }
    }

    #[test]
    fn boxes_fill_the_map_and_do_not_overlap() {
        for sizes in [
            vec![1],
            vec![6, 6, 4, 3, 2, 2, 1],
            vec![1_000_000_000_000, 1],
            vec![5; 200],
            (1..=100).rev().map(|size| size * size).collect(),
            vec![3, 0, 0],
        ] {
            let parts: Vec<Share> = sizes.iter().copied().map(share).collect();
            let total: u64 = sizes.iter().sum();
            let found = areas(&parts, WHOLE);
            assert_eq!(found.len(), parts.len());
            for (area, size) in found.iter().zip(&sizes) {
                let wanted = *size as f64 / total as f64 * WIDTH * HEIGHT;
                assert!(
                    (area.width * area.height - wanted).abs() < 0.01,
                    "{sizes:?}: {area:?}"
                );
                assert!(
                    area.left >= -0.01 && area.left + area.width <= WIDTH + 0.01,
                    "{area:?}"
                );
                assert!(
                    area.top >= -0.01 && area.top + area.height <= HEIGHT + 0.01,
                    "{area:?}"
                );
            }
            for (at, a) in found.iter().enumerate() {
                for b in &found[at + 1..] {
                    let x = (a.left + a.width).min(b.left + b.width) - a.left.max(b.left);
                    let y = (a.top + a.height).min(b.top + b.height) - a.top.max(b.top);
                    assert!(x < 0.01 || y < 0.01, "{sizes:?}: {a:?} over {b:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_has_no_boxes() {
        assert!(areas(&[], WHOLE).is_empty());
        let found = areas(&[share(0), share(0)], WHOLE);
        assert!(found.iter().all(|area| area.width * area.height == 0.0));
        assert!(map(&share(0), &Hues::default(), "empty").contains("role=img"));
    }
}
