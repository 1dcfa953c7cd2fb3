//! `distil base list`.

use clap::Args;
use distil_audit::advise::{BaseImage, images};
use distil_base::DebianRelease;
use distil_base::recipe::{Builtin, ImageSpec, RecipeChain, Request, Variant, builtin_chains};
use serde_json::{Value, json};

use crate::error::{CliError, chain};
use crate::output::{Form, print};
use crate::units;

/// Arguments of `distil base list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// `table`, `json` or a template such as `{{.Name}} {{.Runs}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints the built-in recipes: for each release one row.
pub(crate) fn list(args: &ListArgs) -> Result<(), CliError> {
    let form = Form::parse(
        args.format.as_deref(),
        &["Name", "Version", "Size", "Slim", "Packages", "Runs"],
    )?;
    let as_table = matches!(form, Form::Table(_));
    let mut rows = Vec::new();
    for (builtin, recipe) in builtin_chains().filter(|(one, _)| one.is_image) {
        for release in recipe.releases() {
            let spec = recipe
                .compose(&Request {
                    release: Some(release),
                    architecture: recipe.architectures().first().copied().unwrap_or_default(),
                    variant: Variant::default(),
                })
                .map_err(|error| CliError::failed(chain(&error)))?;
            rows.push(row(builtin, recipe, release, &spec, as_table));
        }
    }
    print(&form, &rows, str::to_uppercase)
}

/// One recipe for one release. In a table the packages are counted and the variants are those that the
/// other tags combine.
fn row(
    builtin: &Builtin,
    recipe: &RecipeChain,
    release: DebianRelease,
    spec: &ImageSpec,
    as_table: bool,
) -> Value {
    let tags: Vec<String> = Variant::all().map(Variant::tag).collect();
    let (variants, packages) = if as_table {
        let simple: Vec<&str> = tags
            .iter()
            .map(String::as_str)
            .filter(|tag| !tag.contains('-'))
            .collect();
        (json!(simple.join(" ")), json!(spec.needed_packages().len()))
    } else {
        (json!(tags), json!(spec.needed_packages()))
    };
    let name = format!("{}-debian{}", builtin.name, release.number());
    let facts = images().iter().find(|image| image.name == name);
    let size = |bytes: fn(&BaseImage) -> u64| match facts {
        Some(facts) if as_table => json!(units::bytes(bytes(facts))),
        facts => json!(facts.map(bytes)),
    };
    json!({
        "Name": name,
        "Version": facts.map(|facts| facts.version.clone()),
        "Size": size(|facts| facts.size),
        "Slim": size(|facts| facts.slim),
        "Recipe": builtin.name,
        "Release": release.codename(),
        "Variants": variants,
        "Architectures": recipe.architectures(),
        "Packages": packages,
        "Description": recipe.recipe().description,
        "Runs": recipe.recipe().runs,
        "Differs": spec.differs,
    })
}
