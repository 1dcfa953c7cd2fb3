//! `distil images`.

use std::io::Write;

use clap::Args;
use distil_oci::{ImageConfig, Reference};
use distil_store::{ImageInfo, Store, Timestamp};
use serde_json::{Value, json};

use super::history::read_config;
use crate::error::CliError;
use crate::output::{Form, print};
use crate::session::{Session, store_error};
use crate::units;

/// Arguments of `distil images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only images of this repository, or this repository and tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
    /// Print only image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print IDs and digests whole
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Also base images that builds have fetched or assembled
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only matching images: reference=PATTERN, dangling=true|false,
    /// label=KEY[=VALUE], before=IMAGE, since=IMAGE
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,
    /// `table`, `json` or a template such as `{{.Repository}}:{{.Tag}} {{.Size}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints the images, newest first.
pub(crate) fn images(session: &Session, args: &ImagesArgs) -> Result<(), CliError> {
    let mut columns = vec!["Repository", "Tag"];
    if args.digests {
        columns.push("Digest");
    }
    columns.extend(["ID", "CreatedSince", "Size"]);
    let form = Form::parse(args.format.as_deref(), &columns)?;
    let store = session.store()?;
    let filter = Filter::parse(args, &store)?;
    let mut rows = Vec::new();
    let mut ids = Vec::new();
    for image in store.images().list().map_err(store_error)? {
        if !args.all && distil_sources::is_base(&store, &image.id).unwrap_or(false) {
            continue;
        }
        let config = read_config(&store, &image)?;
        let names: Vec<Option<Reference>> = match image.names.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| name.parse().ok()).collect(),
        };
        for name in names {
            if filter.matches(&image, name.as_ref(), &config) {
                let id = if args.no_trunc {
                    image.id.to_string()
                } else {
                    image.id.hex()[..12].to_owned()
                };
                rows.push(row(session, &store, &image, name.as_ref(), &id)?);
                ids.push(id);
            }
        }
    }
    if args.quiet {
        ids.dedup();
        let mut out = std::io::stdout().lock();
        for id in ids {
            writeln!(out, "{id}")?;
        }
        return Ok(());
    }
    print(&form, &rows, |column| match column {
        "ID" => "IMAGE ID".into(),
        "CreatedSince" => "CREATED".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_uppercase(),
    })
}

/// One image under one name, with docker's field names.
fn row(
    session: &Session,
    store: &Store,
    image: &ImageInfo,
    name: Option<&Reference>,
    id: &str,
) -> Result<Value, CliError> {
    let mut size = 0;
    for layer in &image.layers {
        size += store
            .layers()
            .get(*layer)
            .map_err(store_error)?
            .map_or(0, |layer| layer.size);
    }
    let age = u64::try_from((session.now().0 - image.created.0) / 1_000_000_000).unwrap_or(0);
    // An image whose config has no time.
    let since = match image.created.0 {
        0 => "N/A".to_owned(),
        _ => format!("{} ago", units::age(age)),
    };
    let none = || "<none>".to_owned();
    let digest = image.manifest.map_or_else(none, |digest| digest.to_string());
    Ok(json!({
        "Repository": name.map_or_else(none, Reference::familiar_name),
        "Tag": name.and_then(Reference::tag).map_or_else(none, str::to_owned),
        "Digest": digest,
        "ID": id,
        "CreatedAt": units::date(image.created.0),
        "CreatedSince": since,
        "Size": units::bytes(size),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": units::bytes(size),
    }))
}

/// Which images are wanted.
struct Filter {
    references: Vec<String>,
    dangling: Option<bool>,
    labels: Vec<(String, Option<String>)>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Filter {
    fn parse(args: &ImagesArgs, store: &Store) -> Result<Self, CliError> {
        let mut filter = Self {
            references: Vec::new(),
            dangling: None,
            labels: Vec::new(),
            before: None,
            since: None,
        };
        let created = |query: &str| store.images().resolve(query).map(|image| image.created);
        filter.references.extend(args.repository.clone());
        for text in &args.filters {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            match (key, value) {
                ("reference", pattern) => filter.references.push(pattern.to_owned()),
                ("dangling", "true" | "1") => filter.dangling = Some(true),
                ("dangling", "false" | "0") => filter.dangling = Some(false),
                ("label", label) => filter.labels.push(match label.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (label.to_owned(), None),
                }),
                ("before", query) => filter.before = Some(created(query).map_err(store_error)?),
                ("since", query) => filter.since = Some(created(query).map_err(store_error)?),
                _ => {
                    return Err(CliError::usage(format!("`{text}` is no filter")).hint(
                        "there are reference=PATTERN, dangling=true|false, label=KEY[=VALUE], before=IMAGE \
                         and since=IMAGE",
                    ));
                }
            }
        }
        Ok(filter)
    }

    fn matches(&self, image: &ImageInfo, name: Option<&Reference>, config: &ImageConfig) -> bool {
        let reference = self.references.is_empty()
            || name.is_some_and(|name| self.references.iter().any(|pattern| matches(pattern, name)));
        let dangling = self.dangling.is_none_or(|wanted| wanted == name.is_none());
        let labels = self.labels.iter().all(|(key, value)| {
            config
                .config
                .labels
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        });
        let time = self.before.is_none_or(|before| image.created < before)
            && self.since.is_none_or(|since| image.created > since);
        reference && dangling && labels && time
    }
}

/// Docker's rule: the pattern is matched against the short name, with and without its tag.
fn matches(pattern: &str, name: &Reference) -> bool {
    [
        name.familiar(),
        name.familiar_name(),
        name.to_string(),
        name.name(),
    ]
    .iter()
    .any(|candidate| {
        distil_rootfs::ignore::match_path(pattern.as_bytes(), candidate.as_bytes()).unwrap_or(false)
    })
}
