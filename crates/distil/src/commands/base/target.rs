//! Which recipe a command is about.

use std::path::Path;

use clap::Args;
use distil_base::names::{self, DistrolessImage};
use distil_base::recipe::{ImageSpec, Layout, RecipeChain, Request, Variant};
use distil_base::{DebianRelease, debian_architecture};
use distil_oci::{Platform, Reference};

use crate::commands::build::request;
use crate::error::{CliError, chain};

/// What says which image is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// A recipe file (`my.yaml`), or the name of an image: `java17-debian12:nonroot`, `distil/cc:slim`,
    /// `gcr.io/distroless/static`
    #[arg(value_name = "FILE|NAME")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
}

/// What is chosen of a recipe.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ChoiceArgs {
    /// Platform, `linux/arm64` for instance [default: that of this machine]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Release of Debian, `bookworm` or `12` for instance [default: the newest that the recipe is for]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    /// Variant of a recipe file: `nonroot`, `debug-nonroot`, `slim` and so on
    #[arg(long, value_name = "TAG")]
    pub(crate) variant: Option<String>,
    /// Layers: `merged` (one) or `per-package`
    #[arg(long, value_name = "LAYOUT")]
    pub(crate) layers: Option<String>,
}

/// A composed recipe and the platform that it is for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) spec: ImageSpec,
    pub(crate) platform: Platform,
    /// The whole name, when a name was given and no file.
    pub(crate) name: Option<Reference>,
}

impl TargetArgs {
    /// Reads and composes the recipe.
    pub(crate) fn resolve(&self) -> Result<Target, CliError> {
        resolve(&self.target, &self.choice)
    }
}

/// Reads and composes the recipe that `target` names.
pub(crate) fn resolve(target: &str, choice: &ChoiceArgs) -> Result<Target, CliError> {
    let platform = request::platform(&choice.platform)?.unwrap_or_else(Platform::host);
    let mut found = if is_file(target) {
        from_file(Path::new(target), choice, platform)?
    } else {
        from_name(target, choice, &platform)?
    };
    if let Some(layers) = &choice.layers {
        found.spec.layout = match layers.as_str() {
            "merged" => Layout::Merged,
            "per-package" => Layout::PerPackage,
            other => {
                return Err(CliError::usage(format!("`--layers {other}` is unknown"))
                    .hint("there are `merged` and `per-package`"));
            }
        };
    }
    Ok(found)
}

/// A name of an image never ends so, and a path without an ending is told by its slash at the front.
pub(crate) fn is_file(target: &str) -> bool {
    let ending = Path::new(target).extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("yaml" | "yml")) || target.starts_with(['/', '.'])
}

fn from_file(path: &Path, choice: &ChoiceArgs, platform: Platform) -> Result<Target, CliError> {
    let recipe = RecipeChain::open(path).map_err(|error| CliError::failed(chain(&error)))?;
    let normal = platform.normalized();
    let request = Request {
        release: release(choice)?,
        architecture: debian_architecture(&platform).unwrap_or(&normal.architecture),
        variant: variant(choice)?.unwrap_or_default(),
    };
    let spec = recipe
        .compose(&request)
        .map_err(|error| CliError::failed(chain(&error)))?;
    Ok(Target {
        spec,
        platform,
        name: None,
    })
}

fn release(choice: &ChoiceArgs) -> Result<Option<DebianRelease>, CliError> {
    let Some(name) = &choice.release else {
        return Ok(None);
    };
    let known = || {
        let names: Vec<&str> = DebianRelease::ALL.iter().map(|one| one.codename()).collect();
        format!("there are `{}`", names.join("`, `"))
    };
    DebianRelease::from_name(name)
        .map(Some)
        .ok_or_else(|| CliError::usage(format!("`--release {name}` is unknown")).hint(known()))
}

fn variant(choice: &ChoiceArgs) -> Result<Option<Variant>, CliError> {
    let Some(tag) = &choice.variant else {
        return Ok(None);
    };
    let known = || {
        let tags: Vec<String> = Variant::all().map(Variant::tag).collect();
        format!("there are `{}`", tags.join("`, `"))
    };
    Variant::from_tag(tag)
        .map(Some)
        .ok_or_else(|| CliError::usage(format!("`--variant {tag}` is unknown")).hint(known()))
}

fn from_name(name: &str, choice: &ChoiceArgs, platform: &Platform) -> Result<Target, CliError> {
    // A name without a slash is one of ours.
    let whole = if name.contains('/') {
        name.to_owned()
    } else {
        format!("distil/{name}")
    };
    let reference: Reference = whole
        .parse()
        .map_err(|error| CliError::usage(format!("`{name}` is neither a recipe file nor a name: {error}")))?;
    let image = DistrolessImage::from_reference(&reference)
        .or_else(|| newest(&reference))
        .ok_or_else(|| unknown(name, &reference))?;
    let image = DistrolessImage {
        release: release(choice)?.unwrap_or(image.release),
        variant: variant(choice)?.unwrap_or(image.variant),
        ..image
    };
    let spec = image
        .spec(platform)
        .map_err(|error| CliError::failed(chain(&error)))?;
    Ok(Target {
        spec,
        platform: image.platform(platform),
        name: image.name().parse().ok(),
    })
}

/// `java17` alone is made for Debian 12 only, and means that.
fn newest(reference: &Reference) -> Option<DistrolessImage> {
    let tag = reference.tag().unwrap_or("latest");
    let numbers = DebianRelease::ALL.iter().rev().map(|release| release.number());
    numbers
        .filter_map(|number| format!("{}-debian{number}:{tag}", reference.name()).parse().ok())
        .find_map(|candidate: Reference| DistrolessImage::from_reference(&candidate))
}

fn unknown(name: &str, reference: &Reference) -> CliError {
    let error = CliError::failed(format!("there is no recipe for `{name}`"));
    match names::nearest(reference) {
        Some(nearest) => error.hint(nearest.to_string()),
        None => error.hint("`distil base list` shows all; a recipe file ends in `.yaml`"),
    }
}
