//! What becomes of a build: images in the store, archives, folders.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::OutputArgs;
use crate::error::CliError;

/// One `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// The local store.
    Image { rewrite_timestamp: Option<bool> },
    /// An archive that `docker load` reads; also an OCI archive.
    Docker(Destination),
    /// An OCI archive.
    Oci(Destination),
    /// The root file system as one archive.
    Tar(Destination),
    /// The root file system as a folder.
    Local(PathBuf),
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl Output {
    /// Reads every `-o`. Without one the image goes to the store; `--load` puts it there too.
    pub(crate) fn parse_all(args: &OutputArgs) -> Result<Vec<Self>, CliError> {
        let mut outputs = args
            .outputs
            .iter()
            .map(|text| Self::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let stored = outputs.iter().any(|output| matches!(output, Self::Image { .. }));
        if outputs.is_empty() || (!stored && (args.load || !args.tags.is_empty())) {
            outputs.insert(
                0,
                Self::Image {
                    rewrite_timestamp: None,
                },
            );
        }
        match outputs.iter().filter(|output| output.to_stdout()).count() {
            0 => {}
            1 if std::io::stdout().is_terminal() => {
                return Err(CliError::usage("an archive is not written to a terminal")
                    .hint("name a file with dest=FILE, or redirect standard output"));
            }
            1 => {}
            _ => return Err(CliError::usage("only one output can go to standard output")),
        }
        Ok(outputs)
    }

    /// Whether file times later than the epoch are cut off in it: unless it says otherwise, where there is one.
    pub(crate) fn rewrites(&self, epoch: Option<i64>) -> bool {
        match self {
            Self::Image {
                rewrite_timestamp: Some(asked),
            } => *asked,
            _ => epoch.is_some(),
        }
    }

    /// Whether an image is made of the result.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Image { .. } | Self::Docker(_) | Self::Oci(_))
    }

    fn parse(text: &str) -> Result<Self, CliError> {
        let wrong = |what: &str| CliError::usage(format!("`-o {text}`: {what}"));
        if text == "-" {
            return Ok(Self::Tar(Destination::Stdout));
        }
        if !text.contains('=') {
            return Ok(Self::Local(PathBuf::from(text)));
        }
        let (mut kind, mut destination, mut rewrite) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = Some(value),
                Some(("dest", value)) => destination = Some(value),
                Some(("rewrite-timestamp", "true")) => rewrite = Some(true),
                Some(("rewrite-timestamp", "false")) => rewrite = Some(false),
                Some(("name", _)) => return Err(wrong("names are given with -t")),
                _ => {
                    return Err(wrong(&format!(
                        "`{field}` is not supported; there are type, dest, rewrite-timestamp"
                    )));
                }
            }
        }
        let archive = || match destination {
            None | Some("-") => Destination::Stdout,
            Some(path) => Destination::File(PathBuf::from(path)),
        };
        match kind {
            Some("image") => Ok(Self::Image {
                rewrite_timestamp: rewrite,
            }),
            Some("docker") if destination.is_none() => Ok(Self::Image {
                rewrite_timestamp: rewrite,
            }),
            Some("docker") => Ok(Self::Docker(archive())),
            Some("oci") => Ok(Self::Oci(archive())),
            Some("tar") => Ok(Self::Tar(archive())),
            Some("local") => match destination {
                Some("-") | None => Err(wrong("a folder is needed: dest=FOLDER")),
                Some(path) => Ok(Self::Local(PathBuf::from(path))),
            },
            Some("registry") => Err(wrong(
                "pushing is not supported yet; save the image and push it with skopeo",
            )),
            Some(other) => Err(wrong(&format!(
                "`{other}` is no type; there are image, docker, oci, tar, local"
            ))),
            None => Err(wrong("type is missing; there are image, docker, oci, tar, local")),
        }
    }

    /// Whether it is written to standard output.
    pub(crate) fn to_stdout(&self) -> bool {
        matches!(
            self,
            Self::Docker(Destination::Stdout)
                | Self::Oci(Destination::Stdout)
                | Self::Tar(Destination::Stdout)
        )
    }

    /// Whether writing it reads the files of layers, which belong to subordinate ids of an ordinary user.
    pub(crate) fn reads_files(&self) -> bool {
        !matches!(self, Self::Image { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_buildx_does() {
        for (text, output) in [
            ("-", Output::Tar(Destination::Stdout)),
            ("out", Output::Local("out".into())),
            ("type=local,dest=out", Output::Local("out".into())),
            ("type=tar,dest=-", Output::Tar(Destination::Stdout)),
            (
                "type=oci,dest=a.tar",
                Output::Oci(Destination::File("a.tar".into())),
            ),
            (
                "type=docker",
                Output::Image {
                    rewrite_timestamp: None,
                },
            ),
            (
                "type=docker,dest=a.tar",
                Output::Docker(Destination::File("a.tar".into())),
            ),
            (
                "type=image,rewrite-timestamp=false",
                Output::Image {
                    rewrite_timestamp: Some(false),
                },
            ),
        ] {
            assert_eq!(Output::parse(text).unwrap(), output, "{text}");
        }
        for text in [
            "type=nope",
            "dest=x",
            "type=local",
            "type=registry,dest=x",
            "type=oci,push=true",
        ] {
            assert_eq!(Output::parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
