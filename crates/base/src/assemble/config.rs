//! Config and annotations of an assembled image.

use std::collections::BTreeMap;

use distil_oci::{History, ImageConfig};

use crate::ASSEMBLED_LABEL;
use crate::recipe::{ImageSpec, Layout};
use crate::selection::Selection;

/// Label that names the sets of files that packages ship and the image lacks,
/// separated by commas.
pub const EXCLUDED_LABEL: &str = "distil.base.excluded";

/// Annotation that lists what packages depend on and the image lacks:
/// `PACKAGE: DEPENDENCY, DEPENDENCY; PACKAGE: ...`.
pub const OMITTED_ANNOTATION: &str = "distil.base.omitted";

/// Annotation that lists what comes from elsewhere than packages, as JSON: an array of objects with
/// `name`, `version`, `purl`, `sha256`, and `license` and `supplier` where the recipe says.
pub const INPUTS_ANNOTATION: &str = "distil.base.inputs";

/// When upstream's images say that they were made. A real date would make another
/// image of the same packages.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The config of the image without its layers: the caller adds their diff IDs, as
/// many as there are entries of history.
#[must_use]
pub fn image_config(selection: &Selection) -> ImageConfig {
    let spec = &selection.spec;
    let mut config = ImageConfig::new(&selection.platform);
    config.created = Some(CREATED.to_owned());
    let run = &spec.run;
    let environment = run.environment.iter();
    config.config.env = environment
        .map(|(name, value)| format!("{name}={}", selection.expand(value)))
        .collect();
    config.config.entrypoint.clone_from(&run.entrypoint);
    config.config.cmd.clone_from(&run.cmd);
    config.config.user.clone_from(&run.user);
    config.config.working_dir.clone_from(&run.workdir);
    let labels = &mut config.config.labels;
    for (name, value) in &run.labels {
        labels.insert(name.clone(), selection.expand(value));
    }
    labels.insert(ASSEMBLED_LABEL.to_owned(), selection.key().to_string());
    if !spec.excludes.is_empty() {
        let names: Vec<&str> = spec.excludes.iter().map(|one| one.name.as_str()).collect();
        labels.insert(EXCLUDED_LABEL.to_owned(), names.join(","));
    }
    config.history = history(selection);
    config
}

fn history(selection: &Selection) -> Vec<History> {
    let entry = |created_by: String| History {
        created: Some(CREATED.to_owned()),
        created_by,
        ..History::default()
    };
    let name = &selection.spec.name;
    match selection.spec.layout {
        Layout::Merged => vec![entry(format!("distil: {name} assembled from Debian packages"))],
        Layout::PerPackage => {
            let packages = selection
                .unpacked()
                .map(|package| entry(format!("distil: {} {} of Debian", package.name, package.version)));
            let rest = std::iter::once(entry(format!("distil: {name}, what its recipe adds")));
            packages.chain(rest).collect()
        }
    }
}

/// The annotations of the manifest.
#[must_use]
pub fn manifest_annotations(selection: &Selection) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = selection
        .spec
        .run
        .annotations
        .iter()
        .map(|(name, value)| (name.clone(), selection.expand(value)))
        .collect();
    let lacking = selection
        .packages
        .iter()
        .filter(|package| !package.omitted.is_empty());
    let omitted: Vec<String> = lacking
        .map(|package| format!("{}: {}", package.name, package.omitted.join(", ")))
        .collect();
    if !omitted.is_empty() {
        annotations.insert(OMITTED_ANNOTATION.to_owned(), omitted.join("; "));
    }
    if !selection.spec.inputs.is_empty() {
        annotations.insert(INPUTS_ANNOTATION.to_owned(), inputs(&selection.spec));
    }
    annotations
}

/// What a scanner or a list of parts has to know of archives from elsewhere.
fn inputs(spec: &ImageSpec) -> String {
    let described: Vec<BTreeMap<&str, String>> = spec
        .inputs
        .iter()
        .map(|input| {
            let mut all = BTreeMap::from([
                ("name", input.name.clone()),
                ("version", input.version.clone()),
                ("purl", input.purl()),
                ("sha256", input.sha256.hex()),
            ]);
            all.extend(input.license.clone().map(|license| ("license", license)));
            all.extend(input.supplier.clone().map(|supplier| ("supplier", supplier)));
            all
        })
        .collect();
    // Only maps with keys that are not texts fail to serialize; there are none.
    serde_json::to_string(&described).unwrap_or_default()
}
