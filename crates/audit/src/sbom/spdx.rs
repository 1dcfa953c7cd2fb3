//! SPDX 2.3 as JSON: <https://spdx.github.io/spdx-spec/v2.3/>.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use distil_oci::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use super::digests::{self, FileDigests, PackageDigest};
use super::{Item, Sbom, SbomOptions, hex, time};
use crate::{Ecosystem, printable_path, printable_text};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const SYSTEM: &str = "SPDXRef-OperatingSystem";
const UNKNOWN: &str = "NOASSERTION";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "SPDXID")]
    id: &'static str,
    spdx_version: &'static str,
    data_license: &'static str,
    name: String,
    document_namespace: String,
    creation_info: Value,
    packages: Vec<Value>,
    files: Vec<File>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Value>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(rename = "SPDXID")]
    id: String,
    file_name: String,
    checksums: [Checksum; 2],
    license_concluded: &'static str,
    copyright_text: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// Writes the document.
pub(super) fn write(sbom: &Sbom, options: &SbomOptions, out: &mut dyn io::Write) -> io::Result<()> {
    let ids: Vec<String> = sbom.items.iter().map(package_id).collect();
    let files: Vec<String> = sbom.files.iter().map(file_id).collect();
    // An archive that only holds packages is no file of one.
    let analyzed = sbom.items.iter().filter(|item| is_analyzed(item));
    let held: HashSet<usize> = analyzed.flat_map(|item| item.files.iter().copied()).collect();
    let mut packages = vec![image(sbom, options)];
    packages.extend(system(sbom));
    let items = sbom.items.iter().zip(&ids);
    packages.extend(items.map(|(item, id)| package(sbom, item, id)));
    let document = Document {
        id: DOCUMENT,
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        name: printable_text(&options.name),
        document_namespace: format!("https://spdx.org/spdxdocs/distil-{}", sbom.uuid("spdx", options)),
        creation_info: json!({
            "created": time(options.created),
            "creators": [format!("Tool: distil-{}", options.tool_version)],
        }),
        packages,
        relationships: relationships(sbom, &ids, &files),
        files: sbom
            .files
            .iter()
            .zip(files)
            .enumerate()
            .filter(|(at, _)| held.contains(at))
            .map(|(_, (file, id))| file_entry(file, id))
            .collect(),
        has_extracted_licensing_infos: extracted(sbom),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

/// An identifier takes letters, digits, `.` and `-`.
fn package_id(item: &Item) -> String {
    let package = &item.package;
    let name = format!("{}-{}", package.ecosystem, package.name);
    let safe = name.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => letter,
        _ => '-',
    });
    format!(
        "SPDXRef-Package-{}-{}",
        safe.take(80).collect::<String>(),
        item.place
    )
}

fn file_id(file: &FileDigests) -> String {
    let digest = Digest::sha256(printable_path(&file.path).as_bytes());
    format!("SPDXRef-File-{}", &digest.hex()[..24])
}

fn file_entry(file: &FileDigests, id: String) -> File {
    let checksum = |algorithm, checksum_value| Checksum {
        algorithm,
        checksum_value,
    };
    File {
        id,
        file_name: format!(".{}", printable_path(&file.path)),
        checksums: [
            checksum("SHA1", hex(&file.sha1)),
            checksum("SHA256", file.sha256.hex()),
        ],
        license_concluded: UNKNOWN,
        copyright_text: UNKNOWN,
    }
}

fn image(sbom: &Sbom, options: &SbomOptions) -> Value {
    json!({
        "SPDXID": IMAGE,
        "name": printable_text(&options.name),
        "versionInfo": sbom.image.to_string(),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
        "comment": format!("architecture: {}", printable_text(&sbom.architecture)),
    })
}

fn system(sbom: &Sbom) -> Option<Value> {
    let system = sbom.system.as_ref().filter(|system| !system.id.is_empty())?;
    Some(json!({
        "SPDXID": SYSTEM,
        "name": printable_text(&system.id),
        "versionInfo": printable_text(&system.version_id),
        "summary": printable_text(&system.pretty_name),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING_SYSTEM",
    }))
}

fn package(sbom: &Sbom, item: &Item, id: &str) -> Value {
    let package = &item.package;
    let licence = item.licence.as_ref();
    let mut value = json!({
        "SPDXID": id,
        "name": printable_text(&package.name),
        "versionInfo": printable_text(&package.version),
        "supplier": supplier(&package.maintainer),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": is_analyzed(item),
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": licence.map_or(UNKNOWN, |licence| &licence.expression),
        "copyrightText": UNKNOWN,
        "sourceInfo": source(item),
        "primaryPackagePurpose": "LIBRARY",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl,
        }],
    });
    if is_analyzed(item) {
        let files = item.files.iter().filter_map(|at| sbom.files.get(*at));
        value["packageVerificationCode"] =
            json!({ "packageVerificationCodeValue": digests::verification_code(files) });
    }
    if let Some(PackageDigest::File(_) | PackageDigest::GoModule(_)) = &item.digest {
        let hex = item.digest.as_ref().map(PackageDigest::hex);
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": hex }]);
    }
    if package.ecosystem == Ecosystem::Deb {
        let text = format!(
            "source package: {} {}",
            package.source.name, package.source.version
        );
        value["comment"] = Value::from(printable_text(&text));
    }
    value
}

/// Whether its files are listed: those of a package inside an archive are not.
fn is_analyzed(item: &Item) -> bool {
    item.package.member.is_none() && !item.files.is_empty()
}

/// `Name <address>` as SPDX writes it.
fn supplier(maintainer: &str) -> String {
    let Some((name, rest)) = maintainer.split_once('<') else {
        return match maintainer.trim() {
            "" => UNKNOWN.to_owned(),
            name => format!("Person: {}", printable_text(name)),
        };
    };
    let address = rest.trim().trim_end_matches('>');
    printable_text(&format!("Person: {} ({address})", name.trim().trim_matches('"')))
}

fn source(item: &Item) -> String {
    let mut text = format!("found in {}", item.location());
    if let Some(layer) = item.layer {
        text.push_str(&format!(", layer {layer}"));
    }
    if let Some(stage) = &item.stage {
        text.push_str(&format!(", from stage {stage}"));
    }
    if let Some(instruction) = &item.instruction {
        text.push_str(&format!(", made by: {instruction}"));
    }
    text
}

/// The texts of the licences that SPDX has no identifier for. Packages may call different texts by one name.
fn extracted(sbom: &Sbom) -> Vec<Value> {
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for licence in sbom.items.iter().filter_map(|item| item.licence.as_ref()) {
        for (id, text) in &licence.references {
            texts.entry(id).or_default().insert(text);
        }
    }
    let texts = texts.into_iter().map(|(id, texts)| {
        let texts: Vec<String> = texts.into_iter().map(safe_lines).collect();
        json!({
            "licenseId": id,
            "name": id.trim_start_matches("LicenseRef-"),
            "extractedText": texts.join("\n\n"),
        })
    });
    texts.collect()
}

/// A text of several lines without anything that a terminal acts on.
fn safe_lines(text: &str) -> String {
    text.lines().map(printable_text).collect::<Vec<_>>().join("\n")
}

fn relationships(sbom: &Sbom, ids: &[String], files: &[String]) -> Vec<Relationship> {
    let relation = |from: &str, kind, to: &str| Relationship {
        spdx_element_id: from.to_owned(),
        relationship_type: kind,
        related_spdx_element: to.to_owned(),
    };
    let mut all = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    if sbom.system.as_ref().is_some_and(|system| !system.id.is_empty()) {
        all.push(relation(IMAGE, "CONTAINS", SYSTEM));
    }
    for (item, id) in sbom.items.iter().zip(ids) {
        let holder = item
            .part_of
            .and_then(|at| ids.get(at))
            .map_or(IMAGE, String::as_str);
        all.push(relation(holder, "CONTAINS", id));
        if is_analyzed(item) {
            let owned = item.files.iter().filter_map(|at| files.get(*at));
            all.extend(owned.map(|file| relation(id, "CONTAINS", file)));
        }
    }
    all
}
