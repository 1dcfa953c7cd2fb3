//! The canonical text of a lockfile: TOML, a line for each fact, nothing aligned,
//! so that a change of one package changes few lines.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use distil_debian::format_rfc3339;

use super::{LockedImage, LockedPackage, LockedSuite, Lockfile, PackageUse, VERSION};
use crate::recipe::{Layout, Variant};
use crate::selection::Reason;

/// Value of `layers` for a layer for each package; one layer is not written.
pub(super) const PER_PACKAGE: &str = "per-package";

const HEAD: &str = "\
# Written by `distil base lock`: the exact packages of images. `distil base update`
# chooses newer ones. The signed files that these hashes come from lie beside it.
";

impl Lockfile {
    /// The text that [`Lockfile::parse`] reads; equal lockfiles give equal texts.
    #[must_use]
    pub fn to_text(&self) -> String {
        let names = Names::of(self);
        let mut text = format!("{HEAD}version = {VERSION}\n");
        for image in &self.images {
            text.push_str(&image_text(image, &names));
        }
        for package in &self.packages {
            text.push_str(&package_text(package));
        }
        for suite in &self.suites {
            text.push_str(&suite_text(suite));
        }
        text
    }
}

/// Which packages have several versions, so that their name alone does not say which.
struct Names<'a>(BTreeSet<&'a str>);

impl<'a> Names<'a> {
    fn of(lockfile: &'a Lockfile) -> Self {
        let pairs = lockfile.packages.windows(2);
        let several = pairs.filter(|pair| pair[0].name == pair[1].name && pair[0].version != pair[1].version);
        Names(several.map(|pair| pair[0].name.as_str()).collect())
    }

    fn shown(&self, used: &PackageUse) -> String {
        let mut shown = used.name.clone();
        if self.0.contains(used.name.as_str()) {
            shown = format!("{shown}={}", used.version);
        }
        match &used.reason {
            Reason::Requested => shown,
            Reason::NeededBy(other) => format!("{shown} for {other}"),
            Reason::Data => format!("{shown} as data"),
        }
    }
}

/// Lines `KEY = VALUE` of one table.
struct Table(String);

impl Table {
    fn new(name: &str) -> Self {
        Table(format!("\n[[{name}]]\n"))
    }

    fn text(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key} = {}", quoted(value));
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    /// One element a line; an empty list is left out.
    fn lines(&mut self, key: &str, elements: impl Iterator<Item = String>) {
        let mut elements = elements.peekable();
        if elements.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "{key} = [");
        for element in elements {
            let _ = writeln!(self.0, "  {element},");
        }
        self.0.push_str("]\n");
    }
}

fn image_text(image: &LockedImage, names: &Names<'_>) -> String {
    let mut table = Table::new("image");
    table.text("name", &image.name);
    table.text("architecture", &image.architecture);
    table.text("recipe", &image.recipe);
    table.text("release", image.release.codename());
    if image.variant != Variant::default() {
        table.text("variant", &image.variant.tag());
    }
    if image.layout == Layout::PerPackage {
        table.text("layers", PER_PACKAGE);
    }
    table.text("spec", &image.spec.to_string());
    table.text("epoch", &format_rfc3339(image.epoch));
    if let Some(output) = &image.output {
        table.text("manifest", &output.manifest.to_string());
        let layers = output.layers.iter();
        table.lines("diff-ids", layers.map(|layer| quoted(&layer.to_string())));
    }
    let suites = image.suites.iter();
    table.lines(
        "suites",
        suites.map(|(name, archive)| match archive {
            Some(archive) => quoted(&format!("{name} {archive}")),
            None => quoted(name),
        }),
    );
    let packages = image.packages.iter();
    table.lines("packages", packages.map(|one| quoted(&names.shown(one))));
    let left_out = image.packages.iter().flat_map(|package| {
        let omitted = package.omitted.iter();
        omitted.map(|what| quoted(&format!("{}: {what}", package.name)))
    });
    table.lines("left-out", left_out);
    let mut text = table.0;
    for input in &image.inputs {
        let mut table = Table::new("image.input");
        table.text("name", &input.name);
        table.optional("version", Some(&input.version));
        table.text("url", &input.url);
        if let Some(size) = input.size {
            table.number("size", size);
        }
        table.text("sha256", &input.sha256.hex());
        table.optional("purl", Some(&input.purl));
        table.optional("license", input.license.as_deref());
        table.optional("supplier", input.supplier.as_deref());
        text.push_str(&table.0);
    }
    for file in &image.files {
        let mut table = Table::new("image.file");
        table.text("path", &file.path);
        table.text("source", &file.source);
        table.text("sha256", &file.sha256.hex());
        text.push_str(&table.0);
    }
    text
}

fn package_text(package: &LockedPackage) -> String {
    let mut table = Table::new("package");
    table.text("name", &package.name);
    table.text("version", &package.version);
    table.text("architecture", &package.architecture);
    if package.source != package.name {
        table.text("source", &package.source);
    }
    if package.source_version != package.version {
        table.text("source-version", &package.source_version);
    }
    table.text("suite", &package.suite);
    table.optional("archive", package.archive.as_deref());
    table.text("filename", &package.filename);
    table.number("size", package.size);
    table.text("sha256", &package.sha256.hex());
    table.optional("multi-arch", Some(&package.multi_arch));
    table.0
}

fn suite_text(suite: &LockedSuite) -> String {
    let mut table = Table::new("suite");
    table.text("name", &suite.name);
    table.optional("archive", suite.archive.as_deref());
    table.lines("components", suite.components.iter().map(|name| quoted(name)));
    table.optional("version", Some(&suite.version));
    table.text("date", &format_rfc3339(suite.date));
    if let Some(time) = suite.valid_until {
        table.text("valid-until", &format_rfc3339(time));
    }
    table.text("in-release", &suite.in_release.hex());
    table.lines("signed-by", suite.signers.iter().map(|key| quoted(key)));
    let indexes = suite.indexes.iter();
    table.lines(
        "indexes",
        indexes.map(|index| {
            format!(
                "{{ path = {}, size = {}, sha256 = {} }}",
                quoted(&index.path),
                index.size,
                quoted(&index.sha256.hex())
            )
        }),
    );
    table.0
}

/// A basic string of TOML.
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
