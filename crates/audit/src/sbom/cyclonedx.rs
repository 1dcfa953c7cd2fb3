//! CycloneDX 1.6 as JSON: <https://cyclonedx.org/docs/1.6/json/>.

use std::io;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Item, Sbom, SbomOptions, time};
use crate::{Ecosystem, Licence, printable_text};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Value,
    components: Vec<Value>,
    dependencies: Vec<Value>,
}

/// Writes the document.
pub(super) fn write(sbom: &Sbom, options: &SbomOptions, out: &mut dyn io::Write) -> io::Result<()> {
    let references = sbom.references();
    let items = sbom.items.iter().zip(&references);
    let mut components: Vec<Value> = system(sbom).into_iter().collect();
    components.extend(items.map(|(item, reference)| component(sbom, item, reference)));
    let document = Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", sbom.uuid("cyclonedx", options)),
        version: 1,
        metadata: metadata(sbom, options),
        components,
        dependencies: dependencies(sbom, &references),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn image_reference(sbom: &Sbom) -> String {
    format!("image:{}", sbom.image)
}

fn metadata(sbom: &Sbom, options: &SbomOptions) -> Value {
    json!({
        "timestamp": time(options.created),
        "tools": { "components": [{
            "type": "application",
            "name": "distil",
            "version": options.tool_version,
        }] },
        "component": {
            "type": "container",
            "bom-ref": image_reference(sbom),
            "name": printable_text(&options.name),
            "version": sbom.image.to_string(),
            "properties": [property("distil:architecture", &printable_text(&sbom.architecture))],
        },
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn system(sbom: &Sbom) -> Option<Value> {
    let system = sbom.system.as_ref().filter(|system| !system.id.is_empty())?;
    Some(json!({
        "type": "operating-system",
        "bom-ref": "operating-system",
        "name": printable_text(&system.id),
        "version": printable_text(&system.version_id),
        "description": printable_text(&system.pretty_name),
    }))
}

fn component(sbom: &Sbom, item: &Item, reference: &str) -> Value {
    let package = &item.package;
    let (group, name) = grouped(package.ecosystem, &package.name);
    let mut value = json!({
        "type": "library",
        "bom-ref": reference,
        "name": printable_text(name),
        "version": printable_text(&package.version),
        "purl": package.purl,
        "properties": properties(sbom, item),
        "evidence": { "occurrences": [{ "location": item.location() }] },
    });
    if !group.is_empty() {
        value["group"] = Value::from(printable_text(group));
    }
    if !package.maintainer.is_empty() {
        value["supplier"] = json!({ "name": printable_text(&package.maintainer) });
    }
    if let Some(digest) = &item.digest {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": digest.hex() }]);
    }
    if let Some(licence) = &item.licence {
        value["licenses"] = licences(licence);
    }
    value
}

/// Maven's group and npm's scope stand in a field of their own.
fn grouped(ecosystem: Ecosystem, name: &str) -> (&str, &str) {
    let separator = match ecosystem {
        Ecosystem::Maven => ':',
        Ecosystem::Npm if name.starts_with('@') => '/',
        _ => return ("", name),
    };
    name.split_once(separator).unwrap_or(("", name))
}

/// One identifier, one name, or an expression.
fn licences(licence: &Licence) -> Value {
    let expression = &licence.expression;
    if spdx::license_id(expression).is_some() {
        return json!([{ "license": { "id": expression } }]);
    }
    match licence.references.get(expression) {
        Some(_) => {
            let name = expression.trim_start_matches("LicenseRef-");
            json!([{ "license": { "name": name } }])
        }
        None => json!([{ "expression": expression }]),
    }
}

fn properties(sbom: &Sbom, item: &Item) -> Vec<Value> {
    let package = &item.package;
    let mut all = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            all.push(property(name, &value));
        }
    };
    add("distil:layer", item.layer.map(|layer| layer.to_string()));
    add("distil:instruction", item.instruction.clone());
    add("distil:stage", item.stage.clone());
    if package.ecosystem == Ecosystem::Deb {
        add("distil:source:name", Some(printable_text(&package.source.name)));
        add(
            "distil:source:version",
            Some(printable_text(&package.source.version)),
        );
    }
    let parent = item.part_of.and_then(|at| sbom.items.get(at));
    add("distil:part-of", parent.map(|parent| parent.package.purl.clone()));
    all
}

/// The image needs what stands in it, a Debian package what it brought.
fn dependencies(sbom: &Sbom, references: &[String]) -> Vec<Value> {
    let needs = |holder: Option<usize>| {
        let items = sbom.items.iter().zip(references);
        let held = items.filter(move |(item, _)| item.part_of == holder);
        held.map(|(_, reference)| reference.as_str()).collect::<Vec<_>>()
    };
    let mut image = needs(None);
    if sbom.system.as_ref().is_some_and(|system| !system.id.is_empty()) {
        image.insert(0, "operating-system");
    }
    image.dedup();
    let mut all = vec![json!({ "ref": image_reference(sbom), "dependsOn": image })];
    let mut parents: Vec<usize> = sbom.items.iter().filter_map(|item| item.part_of).collect();
    parents.sort_unstable();
    parents.dedup();
    let held = parents
        .into_iter()
        .filter_map(|at| Some((at, references.get(at)?)));
    all.extend(held.map(|(at, reference)| json!({ "ref": reference, "dependsOn": needs(Some(at)) })));
    all
}
