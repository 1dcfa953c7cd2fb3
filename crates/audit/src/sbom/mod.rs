//! Bills of materials of images: SPDX 2.3 and CycloneDX 1.6, both as JSON.
//!
//! A document depends on the image and on [`SbomOptions`] alone: its identifiers are name-based UUIDs (RFC 9562,
//! version 5), its lists are sorted, its time comes from the caller.

mod cyclonedx;
mod digests;
mod spdx;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use distil_oci::Digest;
use sha1::{Digest as _, Sha1};

pub use digests::{FileDigests, PackageDigest};

use crate::origin::Origins;
use crate::{AuditError, ImageView, Inventory, Licence, OsRelease, Package, printable_text};

/// What a document says that is not in the image.
#[derive(Debug, Clone)]
pub struct SbomOptions {
    /// What the image is called.
    pub name: String,
    /// Version of the program that writes the document.
    pub tool_version: String,
    /// Time of the document, seconds since 1970 in UTC.
    pub created: u64,
}

/// A package of a bill of materials.
#[derive(Debug)]
struct Item {
    package: Package,
    licence: Option<Licence>,
    digest: Option<PackageDigest>,
    /// Paths of its files, indices of [`Sbom::files`].
    files: Vec<usize>,
    /// The Debian package that brought it, as an index of the items.
    part_of: Option<usize>,
    /// Identifies it among those of the same package URL.
    place: String,
    layer: Option<usize>,
    /// The instruction that brought it, safe to print.
    instruction: Option<String>,
    /// The stage of the build that it was copied from.
    stage: Option<String>,
}

impl Item {
    /// Path of its record, and inside of it.
    fn location(&self) -> String {
        let record = crate::printable_path(&self.package.record);
        match &self.package.member {
            Some(member) => format!("{record}!/{}", printable_text(member)),
            None => record,
        }
    }
}

/// What an image is made of.
#[derive(Debug)]
pub struct Sbom {
    image: Digest,
    system: Option<OsRelease>,
    architecture: String,
    items: Vec<Item>,
    /// Files that packages own, sorted by path.
    files: Vec<FileDigests>,
}

impl Sbom {
    /// Reads packages, licences and the contents of the files that packages own, with one thread a core.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(view: &ImageView) -> Result<Self, AuditError> {
        let inventory = Inventory::read_all(view)?;
        let licences = Licence::of_packages(view, &inventory)?;
        let files = digests::of_files(view, &inventory)?;
        let numbers: HashMap<_, _> = files
            .iter()
            .enumerate()
            .map(|(at, file)| (file.path.as_path(), at))
            .collect();
        let digests = digests::of_packages(view, &inventory, &files, &numbers)?;
        let origins = Origins::read(view.store(), &view.id())?;
        let mut items = Vec::new();
        let packages = inventory.packages().iter().zip(licences).zip(digests);
        for (at, ((package, licence), digest)) in packages.enumerate() {
            let owned = inventory.files(at).iter();
            let owned = owned.filter_map(|file| numbers.get(file.path.as_path()).copied());
            let mut item = Item {
                place: place(package),
                package: package.clone(),
                licence,
                digest,
                files: owned.collect(),
                part_of: inventory.part_of_index(package),
                layer: None,
                instruction: None,
                stage: None,
            };
            item.find_origin(view, origins.as_ref());
            items.push(item);
        }
        Ok(Self {
            image: view.id(),
            system: OsRelease::read(view)?,
            architecture: view.config().architecture.clone(),
            items,
            files,
        })
    }

    /// Writes it as SPDX 2.3.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_spdx(&self, options: &SbomOptions, out: &mut dyn io::Write) -> io::Result<()> {
        spdx::write(self, options, out)
    }

    /// Writes it as CycloneDX 1.6.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_cyclonedx(&self, options: &SbomOptions, out: &mut dyn io::Write) -> io::Result<()> {
        cyclonedx::write(self, options, out)
    }

    /// A name-based UUID for the document in the form `form`.
    fn uuid(&self, form: &str, options: &SbomOptions) -> String {
        let SbomOptions {
            name,
            tool_version,
            created,
        } = options;
        uuid(&format!("{form} {} {name} {tool_version} {created}", self.image))
    }

    /// The package URL of each item, made unique by its place where several have the same.
    fn references(&self) -> Vec<String> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for item in &self.items {
            *count.entry(&item.package.purl).or_default() += 1;
        }
        let reference = |item: &Item| match count.get(item.package.purl.as_str()) {
            Some(1) => item.package.purl.clone(),
            _ => format!("{}#{}", item.package.purl, item.place),
        };
        self.items.iter().map(reference).collect()
    }
}

impl Item {
    fn find_origin(&mut self, view: &ImageView, origins: Option<&Origins>) {
        let Some(entry) = view.get(&self.package.record) else {
            return;
        };
        self.layer = Some(entry.layer);
        let layer = view.layers().get(entry.layer);
        let instruction = layer.and_then(|layer| layer.instruction.as_ref());
        self.instruction = instruction.map(|instruction| {
            let words: Vec<&str> = instruction.as_str().split_whitespace().collect();
            printable_text(&words.join(" "))
        });
        let place = origins.and_then(|origins| origins.file(entry.layer, &entry.path));
        let stage = place.and_then(|origin| origin.places.first().map(|place| place.stage.to_owned()));
        self.stage = stage.map(|stage| printable_text(&stage));
    }
}

/// 16 hex digits that stand for where a package is in the image.
fn place(package: &Package) -> String {
    let member = package.member.as_deref().unwrap_or_default();
    let text = format!(
        "{}\0{member}\0{}",
        crate::printable_path(&package.record),
        package.purl
    );
    Digest::sha256(text.as_bytes()).hex()[..16].to_owned()
}

/// RFC 9562's version 5 in the name space of URLs.
fn uuid(name: &str) -> String {
    const URLS: [u8; 16] = [
        0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
    ];
    let mut hash: [u8; 20] = Sha1::new()
        .chain_update(URLS)
        .chain_update(name)
        .finalize()
        .into();
    hash[6] = hash[6] & 0x0f | 0x50;
    hash[8] = hash[8] & 0x3f | 0x80;
    let text = hex(&hash[..16]);
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 in hex of Go's `h1:` sum.
fn go_sum_hex(sum: &str) -> Option<String> {
    let bytes = STANDARD.decode(sum.strip_prefix("h1:")?).ok()?;
    (bytes.len() == 32).then(|| hex(&bytes))
}

/// Seconds since 1970 as RFC 3339 has them, in UTC; 1970 for a time that has no such form.
fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
