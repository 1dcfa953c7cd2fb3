//! `example.toml`: how the program of an example is tried, and what must hold for its images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Failure;

/// The file `example.toml` in the folder of an example.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// What the program is, on one line.
    pub(super) about: String,
    /// A program that reads standard input.
    pub(super) talk: Option<Talk>,
    /// A service that answers over HTTP.
    pub(super) serve: Option<Serve>,
    /// The edit after which each build is timed again.
    pub(super) change: Change,
    /// Most bytes of an image, such as `90MB`, by the name of its Dockerfile.
    #[serde(default)]
    pub(super) limits: BTreeMap<String, String>,
    /// Dockerfiles that give, or need, more than one image, by name.
    #[serde(default)]
    pub(super) variants: BTreeMap<String, Parts>,
    /// The images of such a Dockerfile, by the name of the stage.
    #[serde(default)]
    pub(super) targets: BTreeMap<String, Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Talk {
    #[serde(default)]
    pub(super) args: Vec<String>,
    pub(super) input: String,
    /// These occur in the output in this order.
    pub(super) answers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Serve {
    /// The port on this machine; the program gets it as `PORT` too.
    pub(super) port: u16,
    /// The path that answers 200 as soon as the service is ready.
    pub(super) health: String,
    #[serde(default)]
    pub(super) asks: Vec<Ask>,
    #[serde(default)]
    pub(super) tmpfs: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
}

/// One request, and what the answer must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) get: Option<String>,
    pub(super) post: Option<String>,
    pub(super) put: Option<String>,
    pub(super) patch: Option<String>,
    pub(super) delete: Option<String>,
    /// The body, sent as `application/json`.
    pub(super) json: Option<String>,
    /// Part of the answer's body.
    pub(super) says: Option<String>,
    /// The answer's status; any of 200 to 299 where it is not given.
    pub(super) status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    pub(super) file: PathBuf,
    pub(super) find: String,
    pub(super) replace: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Parts {
    /// Stages that are built to an image each and started in this order; the last one is asked.
    #[serde(default)]
    pub(super) targets: Vec<String>,
    /// Stages of `Dockerfile.distroless` that must run beside the image.
    #[serde(default)]
    pub(super) beside: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// The port that takes connections when it has started.
    pub(super) port: Option<u16>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) tmpfs: Vec<String>,
    /// As for `distil run -v`.
    #[serde(default)]
    pub(super) volumes: Vec<String>,
}

/// An example: its folder, its Dockerfiles, its `example.toml`.
pub(super) struct Example {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    /// File names: `Dockerfile.single`, `Dockerfile`, `Dockerfile.distroless`, then the others.
    pub(super) dockerfiles: Vec<String>,
    pub(super) spec: Spec,
}

pub(super) const SINGLE: &str = "Dockerfile.single";
pub(super) const DISTROLESS: &str = "Dockerfile.distroless";

impl Example {
    /// Reads the example in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let name = file_name(folder);
        let path = folder.join("example.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
        let spec: Spec =
            toml::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        if spec.talk.is_some() == spec.serve.is_some() {
            return Err(Failure::new(format!(
                "{}: one of [talk] and [serve] is needed",
                path.display()
            )));
        }
        let mut dockerfiles: Vec<String> = std::fs::read_dir(folder)
            .map_err(|error| Failure::file(folder, &error))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|file| file == "Dockerfile" || file.starts_with("Dockerfile."))
            .collect();
        dockerfiles.sort_by_key(|file| {
            let rank = [SINGLE, "Dockerfile", DISTROLESS]
                .iter()
                .position(|known| known == file);
            (rank.unwrap_or(3), file.clone())
        });
        Ok(Self {
            name,
            folder: folder.to_owned(),
            dockerfiles,
            spec,
        })
    }

    /// The stages that a Dockerfile is built to; none for its last stage alone.
    pub(super) fn targets(&self, dockerfile: &str) -> &[String] {
        self.spec
            .variants
            .get(dockerfile)
            .map_or(&[], |parts| &parts.targets)
    }

    /// Whether the image of a Dockerfile must be distroless: its name says so.
    pub(super) fn is_distroless(dockerfile: &str) -> bool {
        [
            "Dockerfile.distroless",
            "Dockerfile.closure",
            "Dockerfile.scratch",
        ]
        .iter()
        .any(|name| dockerfile.starts_with(name))
    }
}

/// Every folder below `examples` that has an `example.toml`, by name; those of `names` alone unless that is empty.
///
/// # Errors
/// A name without an example, which are listed then; a file that cannot be read.
pub(super) fn find(examples: &Path, names: &[String]) -> Result<Vec<Example>, Failure> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(examples)
        .map_err(|error| Failure::file(examples, &error))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("example.toml").is_file())
        .collect();
    folders.sort();
    let known: Vec<String> = folders.iter().map(|folder| file_name(folder)).collect();
    for name in names {
        if !known.contains(name) {
            return Err(Failure::new(format!(
                "there is no example `{name}`; there are {}",
                known.join(", ")
            )));
        }
    }
    folders
        .iter()
        .filter(|folder| names.is_empty() || names.contains(&file_name(folder)))
        .map(|folder| Example::read(folder))
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Bytes of a size such as `90MB` or `2.5MB`, in powers of 1000 as `distil images` shows them.
pub(super) fn bytes(text: &str) -> Result<u64, Failure> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "B" => 1e0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(Failure::new(format!("`{text}` is not a size such as `90MB`"))),
    };
    match number.trim().parse::<f64>() {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be in range"
        )]
        Ok(value) if (0.0..1e15).contains(&value) => Ok((value * unit).round() as u64),
        _ => Err(Failure::new(format!("`{text}` is not a size such as `90MB`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("90MB", 90_000_000),
            ("2.5MB", 2_500_000),
            ("7", 7),
            ("1.2GB", 1_200_000_000),
        ] {
            assert_eq!(bytes(text).ok(), Some(expected), "{text}");
        }
        for text in ["", "MB", "-1MB", "1MiB", "nan", "1e30GB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_example_has_its_three_dockerfiles() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        for example in find(&examples, &[]).expect("examples") {
            for needed in [SINGLE, "Dockerfile", DISTROLESS] {
                assert!(
                    example.dockerfiles.iter().any(|file| file == needed),
                    "{}: {needed}",
                    example.name
                );
            }
            assert!(example.folder.join("REGISTRY.md").is_file(), "{}", example.name);
            let changed = example.folder.join(&example.spec.change.file);
            let text = std::fs::read_to_string(&changed).expect("the file of [change]");
            assert!(
                text.contains(&example.spec.change.find),
                "{}: [change]",
                example.name
            );
            for limit in example.spec.limits.values() {
                bytes(limit).expect("a size");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let error = find(&examples, &["cobol-web".into()])
            .err()
            .expect("no such example");
        let text = error.to_string();
        assert!(
            text.contains("cobol-web") && text.contains("go-calculator"),
            "{text}"
        );
    }
}
