//! Preflight: whether the image that a build made can run, told before it is written.
//!
//! What was found is kept in the store beside the layers and config that it was found for, so that a build from the
//! cache says the same without reading a file.

use clap::ValueEnum;
use distil_audit::preflight::{LayerDir, Subject, decode, encode, preflight};
use distil_audit::{Finding, Severity};
use distil_engine::{BuildResult, Engine};
use distil_oci::Digest;
use distil_store::Store;

use super::BuildArgs;
use super::output::Output;
use super::report::Recorder;
use crate::error::{CliError, chain};
use crate::session::{Session, store_error};

/// The step that progress shows.
const STEP: &str = "preflight: checking that the image can run";

/// Where the store keeps what was found; the key is the first byte of a digest.
const BUCKET: &str = "preflight";

/// Results that are kept under one key.
const KEPT: usize = 8;

/// Values of `--preflight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PreflightMode {
    /// What is found is told, and the build goes on.
    Warn,
    /// What is found ends the build, before the image is written.
    Error,
    /// Nothing is checked.
    Off,
}

/// The check of one build.
pub(super) struct Preflight {
    mode: PreflightMode,
    wanted: bool,
}

impl Preflight {
    /// Argument over `DISTIL_PREFLIGHT` (which clap reads) over the config file. Only images are checked.
    pub(super) fn new(session: &Session, args: &BuildArgs, outputs: &[Output]) -> Self {
        let mode = args.output.preflight.or(session.config.preflight);
        let mode = mode.unwrap_or(PreflightMode::Warn);
        Self {
            mode,
            wanted: mode != PreflightMode::Off && outputs.iter().any(Output::is_image),
        }
    }

    /// Whether nothing has to be read to tell what is wrong with the result.
    pub(super) fn is_known(&self, engine: &Engine, result: &BuildResult) -> Result<bool, CliError> {
        Ok(!self.wanted || stored(engine.store(), &key(result))?.is_some())
    }

    /// Checks the result and tells what was found, as a step with warnings.
    ///
    /// With `--preflight=error` findings are an error.
    pub(super) fn check(
        &self,
        engine: &Engine,
        result: &BuildResult,
        recorder: &Recorder,
    ) -> Result<Vec<Finding>, CliError> {
        if !self.wanted {
            return Ok(Vec::new());
        }
        let key = key(result);
        let findings = match stored(engine.store(), &key)? {
            Some(findings) => {
                if !findings.is_empty() {
                    recorder.step(STEP, |_| {
                        self.tell(&findings, recorder);
                        Ok(())
                    })?;
                }
                findings
            }
            None => recorder.step(STEP, |_| {
                let findings = found(engine, result)?;
                keep(engine.store(), &key, &findings)?;
                self.tell(&findings, recorder);
                Ok(findings)
            })?,
        };
        if self.mode == PreflightMode::Error && !findings.is_empty() {
            return Err(refused(&findings));
        }
        Ok(findings)
    }

    fn tell(&self, findings: &[Finding], recorder: &Recorder) {
        if self.mode == PreflightMode::Error {
            // They are the error.
            return;
        }
        for finding in findings {
            let text = line(finding);
            if finding.severity == Severity::Note {
                recorder.note(text);
            } else {
                recorder.warn(STEP, text);
            }
        }
    }
}

/// A finding in one line.
fn line(finding: &Finding) -> String {
    let mut text = format!("{}: {}", finding.id, finding.message);
    if let Some(fix) = &finding.fix {
        text = format!("{text}; {fix}");
    }
    if let Some(instruction) = &finding.instruction {
        text = format!("{text} ({})", crate::view::one_line(instruction, 80));
    }
    text
}

fn refused(findings: &[Finding]) -> CliError {
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("  {}", line(finding)))
        .collect();
    let count = match findings.len() {
        1 => "a problem".to_owned(),
        count => format!("{count} problems"),
    };
    CliError::failed(format!("preflight found {count}:\n{}", lines.join("\n")))
        .hint("`--preflight=warn` writes the image all the same")
}

fn found(engine: &Engine, result: &BuildResult) -> Result<Vec<Finding>, CliError> {
    let snapshots = engine.snapshotter();
    let tree = snapshots.tree(&result.layers);
    let tree = tree.map_err(|error| CliError::failed(chain(&error)))?;
    let places = snapshots.places(&result.layers).into_iter();
    let dir = |(layer, path): (usize, _)| LayerDir {
        layer,
        path,
        files: (layer >= result.base_layers)
            .then(|| snapshots.manifest(result.layers[layer]))
            .flatten(),
    };
    let subject = Subject::new(
        &tree,
        places.map(dir).collect(),
        &result.image,
        result.base_layers,
    );
    preflight(&subject).map_err(|error| CliError::failed(format!("preflight: {}", chain(&error))))
}

/// Digest of everything that decides what is found. Layers never change, and their numbers are never used again.
fn key(result: &BuildResult) -> Digest {
    let mut text = result.image.to_json();
    text.extend(format!("\0{}", result.base_layers).into_bytes());
    for layer in &result.layers {
        text.extend(format!("\0{layer}").into_bytes());
    }
    Digest::sha256(&text)
}

/// What was found in one image, as the store has it.
struct Kept {
    /// Digest of everything that decided it.
    key: Vec<u8>,
    findings: Vec<u8>,
}

/// What the store has under the first byte of a key, the newest first: key, length and bytes of each.
fn kept(store: &Store, key: &Digest) -> Result<Vec<Kept>, CliError> {
    let value = store
        .get_value(BUCKET, &key.as_bytes()[..1])
        .map_err(store_error)?;
    let value = value.unwrap_or_default();
    let mut rest = value.as_slice();
    let mut all = Vec::new();
    while let Some((key, more)) = rest.split_at_checked(key.as_bytes().len())
        && let Some((length, more)) = more.split_first_chunk::<4>()
        && let Some((findings, more)) = more.split_at_checked(u32::from_le_bytes(*length) as usize)
    {
        all.push(Kept {
            key: key.to_vec(),
            findings: findings.to_vec(),
        });
        rest = more;
    }
    Ok(all)
}

fn stored(store: &Store, key: &Digest) -> Result<Option<Vec<Finding>>, CliError> {
    let all = kept(store, key)?;
    let found = all.iter().find(|kept| kept.key == key.as_bytes());
    Ok(found.and_then(|kept| decode(&kept.findings)))
}

/// Keeps what was found; the oldest goes. When two builds do so at once one may be lost, and is found again.
fn keep(store: &Store, key: &Digest, findings: &[Finding]) -> Result<(), CliError> {
    let mut all = kept(store, key)?;
    all.retain(|kept| kept.key != key.as_bytes());
    let newest = Kept {
        key: key.as_bytes().to_vec(),
        findings: encode(findings),
    };
    all.insert(0, newest);
    let mut value = Vec::new();
    for kept in all.iter().take(KEPT) {
        let Ok(length) = u32::try_from(kept.findings.len()) else {
            continue;
        };
        value.extend(&kept.key);
        value.extend(length.to_le_bytes());
        value.extend(&kept.findings);
    }
    store
        .set_value(BUCKET, &key.as_bytes()[..1], Some(&value))
        .map_err(store_error)
}
