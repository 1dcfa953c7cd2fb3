//! `distil inspect`.

use std::io::{BufWriter, Write};

use clap::Args;
use distil_oci::Reference;
use distil_store::{ImageInfo, Store};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::session::{Session, store_error};
use crate::template::Template;
use crate::units;

/// Arguments of `distil inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Images by name or ID
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// `json`, `config` (the image config as stored) or a template such as `{{.Config.Entrypoint}}`
    #[arg(short, long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints a JSON array of objects with docker's fields, or each object through a template. `config` as the
/// format prints the image config as it is stored.
pub(crate) fn inspect(session: &Session, args: &InspectArgs) -> Result<(), CliError> {
    let store = session.store()?;
    let mut objects = Vec::new();
    let mut missing = Vec::new();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for query in &args.images {
        match store.images().resolve(query) {
            Ok(image) if args.format.as_deref() == Some("config") => {
                out.write_all(&store.blobs().read(&image.id).map_err(store_error)?)?;
                writeln!(out)?;
            }
            Ok(image) => objects.push(describe(&store, &image)?),
            Err(error) => missing.push(error.to_string()),
        }
    }
    match args.format.as_deref() {
        Some("config") => {}
        None | Some("json") => {
            let text = serde_json::to_string_pretty(&objects)
                .map_err(|error| CliError::failed(error.to_string()))?;
            writeln!(out, "{text}")?;
        }
        Some(text) => {
            let template = Template::parse(text)?;
            for object in &mut objects {
                fill_config(object);
                writeln!(out, "{}", template.render(object)?)?;
            }
        }
    }
    out.flush()?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CliError::failed(missing.join("\n")))
    }
}

/// Gives a template every field of the config, also those that the image leaves out.
fn fill_config(object: &mut Value) {
    let Some(config) = object["Config"].as_object_mut() else {
        return;
    };
    let mut default = |names: &[&str], value: Value| {
        for name in names {
            config.entry(*name).or_insert_with(|| value.clone());
        }
    };
    default(&["User", "WorkingDir", "StopSignal"], "".into());
    default(&["Env", "Cmd", "Entrypoint", "OnBuild", "Shell"], json!([]));
    default(&["Labels", "Volumes", "ExposedPorts"], json!({}));
    default(&["Healthcheck"], Value::Null);
}

/// What docker says of an image.
fn describe(store: &Store, image: &ImageInfo) -> Result<Value, CliError> {
    let bytes = store.blobs().read(&image.id).map_err(store_error)?;
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| {
        CliError::failed(format!(
            "the config of image `{}` cannot be read: {error}",
            image.id
        ))
    })?;
    let mut size = 0;
    for layer in &image.layers {
        size += store
            .layers()
            .get(*layer)
            .map_err(store_error)?
            .map_or(0, |layer| layer.size);
    }
    let names: Vec<String> = image
        .names
        .iter()
        .map(|name| {
            name.parse()
                .map_or_else(|_| name.clone(), |name: Reference| name.familiar())
        })
        .collect();
    let digests: Vec<String> = image
        .repo_digests
        .iter()
        .map(|(name, digest)| format!("{name}@{digest}"))
        .collect();
    let field = |name: &str| config.get(name).cloned().unwrap_or(Value::String(String::new()));
    Ok(json!({
        "Id": image.id.to_string(),
        "RepoTags": names,
        "RepoDigests": digests,
        "Descriptor": image.manifest.map(|digest| json!({
            "mediaType": distil_oci::media_type::MANIFEST,
            "digest": digest.to_string(),
        })),
        "Comment": "",
        "Created": field("created"),
        "Author": field("author"),
        "Config": config.get("config").cloned().unwrap_or_else(|| json!({})),
        "Architecture": field("architecture"),
        "Variant": field("variant"),
        "Os": field("os"),
        "Size": size,
        "RootFS": {
            "Type": "layers",
            "Layers": config.pointer("/rootfs/diff_ids").cloned().unwrap_or_else(|| json!([])),
        },
        "Metadata": {"LastTagTime": units::rfc3339(image.stored.0)},
        "History": config.get("history").cloned().unwrap_or_else(|| json!([])),
    }))
}
