//! The final image config: layers, history and times filled in.

use distil_oci::{DiffId, History, ImageConfig};

use crate::{ExportError, time};

/// Comment of history entries that stand for layers which no instruction accounts for. BuildKit's, so that tools
/// that know it treat them alike.
const FILLED_COMMENT: &str = "buildkit.exporter.image.v0";

/// What is known of a layer besides its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerHistory {
    /// When it was made, in nanoseconds since 1970.
    pub created: Option<i64>,
    /// What made it, for a layer that the config's history does not account for.
    pub description: String,
}

/// Fills a config that the frontend made.
///
/// The history gets exactly one entry that is not empty per layer; entries without a time get one; with an epoch,
/// times of entries that are not `base`'s and lie after it (or are missing) become it. Source of the rules:
/// BuildKit's `exporter/containerimage/writer.go`.
pub(crate) fn finish(
    mut config: ImageConfig,
    diff_ids: &[DiffId],
    layers: &[LayerHistory],
    base: &[History],
    epoch: Option<i64>,
) -> Result<ImageConfig, ExportError> {
    if config.os.is_empty() {
        return Err(ExportError::Incomplete("os"));
    }
    if config.architecture.is_empty() {
        return Err(ExportError::Incomplete("architecture"));
    }
    config.rootfs.diff_ids = diff_ids.to_vec();
    match_layers(&mut config.history, layers)?;
    fill_times(&mut config.history);
    if let Some(epoch) = epoch {
        clamp(&mut config, base, epoch)?;
    }
    if config.created.is_none() {
        config.created = config
            .history
            .iter()
            .rev()
            .find_map(|entry| entry.created.clone());
    }
    Ok(config)
}

/// Makes as many entries non-empty as there are layers, and gives them the layers' times.
fn match_layers(history: &mut Vec<History>, layers: &[LayerHistory]) -> Result<(), ExportError> {
    let mut used = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        // More entries than layers: an image that came with a wrong history.
        entry.empty_layer = used >= layers.len();
        used = (used + 1).min(layers.len());
    }
    for layer in &layers[used..] {
        history.push(History {
            created_by: layer.description.clone(),
            comment: FILLED_COMMENT.to_owned(),
            ..History::default()
        });
    }
    let entries = history.iter_mut().filter(|entry| !entry.empty_layer);
    for (entry, layer) in entries.zip(layers) {
        if entry.created.is_none() {
            entry.created = layer.created.map(time::format).transpose()?;
        }
    }
    Ok(())
}

/// Entries without a time get that of the first new layer (the first time after a gap), or of the last entry before
/// them.
fn fill_times(history: &mut [History]) {
    let gap = history
        .iter()
        .position(|entry| entry.created.is_none())
        .unwrap_or(history.len());
    let after_gap = history[gap..].iter().find_map(|entry| entry.created.clone());
    let before_gap = history[..gap].last().and_then(|entry| entry.created.clone());
    let mut current = after_gap.or(before_gap);
    for entry in &mut history[gap..] {
        match &entry.created {
            Some(created) => current = Some(created.clone()),
            None => entry.created.clone_from(&current),
        }
    }
}

fn clamp(config: &mut ImageConfig, base: &[History], epoch: i64) -> Result<(), ExportError> {
    let limit = time::format_seconds(epoch)?;
    let latest = time::parse(&limit)?;
    let late = |text: &Option<String>| match text {
        Some(text) => time::parse(text).map(|time| time > latest),
        None => Ok(true),
    };
    let kept = config
        .history
        .iter()
        .zip(base)
        .take_while(|(entry, base)| entry == base)
        .count();
    for entry in &mut config.history[kept..] {
        if late(&entry.created)? {
            entry.created = Some(limit.clone());
        }
    }
    if config.created.is_some() && late(&config.created)? {
        config.created = Some(limit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use distil_oci::{Digest, Platform};

    use super::*;

    fn entry(text: &str) -> History {
        let (created, rest) = text.split_once(' ').unwrap();
        let created = (created != "-").then(|| format!("2020-01-0{created}T00:00:00Z"));
        let (created_by, empty_layer) = match rest.strip_prefix('!') {
            Some(rest) => (rest.to_owned(), true),
            None => (rest.to_owned(), false),
        };
        History {
            created,
            created_by,
            empty_layer,
            ..History::default()
        }
    }

    fn shown(history: &[History]) -> Vec<String> {
        let one = |entry: &History| {
            let day = entry
                .created
                .as_ref()
                .map_or("-".to_owned(), |created| created[9..10].to_owned());
            let comment = if entry.comment == FILLED_COMMENT { "+" } else { "" };
            format!(
                "{day} {}{}{comment}",
                if entry.empty_layer { "!" } else { "" },
                entry.created_by
            )
        };
        history.iter().map(one).collect()
    }

    /// The layer times are days of January 2020; 0 is none.
    fn finished(history: &[&str], layers: &[i64], base: usize, epoch: Option<i64>) -> ImageConfig {
        let mut config = ImageConfig::new(&Platform::new("linux", "amd64", ""));
        config.history = history.iter().map(|text| entry(text)).collect();
        let base = config.history[..base].to_vec();
        let day = |day: &i64| (*day > 0).then_some((1_577_836_800 + (day - 1) * 86_400) * 1_000_000_000);
        let layers: Vec<LayerHistory> = layers
            .iter()
            .map(|time| LayerHistory {
                created: day(time),
                description: "made".into(),
            })
            .collect();
        let diff_ids: Vec<DiffId> = (0..layers.len())
            .map(|n| DiffId(Digest::sha256(&[n as u8])))
            .collect();
        finish(
            config,
            &diff_ids,
            &layers,
            &base,
            epoch.map(|day| 1_577_836_800 + (day - 1) * 86_400),
        )
        .unwrap()
    }

    #[test]
    fn entries_match_layers() {
        let cases: &[(&[&str], &[i64], &[&str])] = &[
            // New entries take their layer's time; empty ones that of the first new layer.
            (
                &["1 base", "- !env", "- run", "- !cmd"],
                &[1, 5],
                &["1 base", "5 !env", "5 run", "5 !cmd"],
            ),
            (
                &["- copy", "- !x", "- run"],
                &[3, 4],
                &["3 copy", "4 !x", "4 run"],
            ),
            // Nothing new: the last time of the base.
            (&["1 a", "2 b", "- !env"], &[1, 2], &["1 a", "2 b", "2 !env"]),
            // Layers without an entry.
            (&["1 a"], &[1, 7], &["1 a", "7 made+"]),
            (&[], &[2], &["2 made+"]),
            // Entries without a layer.
            (&["1 a", "2 b"], &[1], &["1 a", "2 !b"]),
            // No time anywhere.
            (&["- a", "- !b"], &[0], &["- a", "- !b"]),
        ];
        for (history, layers, expected) in cases {
            assert_eq!(
                shown(&finished(history, layers, 0, None).history),
                *expected,
                "{history:?}"
            );
        }
        assert_eq!(
            finished(&["1 a", "- b"], &[1, 4], 0, None).created.unwrap(),
            "2020-01-04T00:00:00Z"
        );
    }

    #[test]
    fn epoch_clamps_what_is_new() {
        let config = finished(&["5 base", "- !env", "- run", "2 old"], &[5, 6, 2], 1, Some(3));
        assert_eq!(shown(&config.history), ["5 base", "3 !env", "3 run", "2 old"]);
        assert_eq!(config.created.unwrap(), "2020-01-02T00:00:00Z");
        let config = finished(&["- run"], &[0], 0, Some(3));
        assert_eq!(shown(&config.history), ["3 run"]);
    }

    #[test]
    fn platform_is_needed() {
        let config = ImageConfig::default();
        assert!(matches!(
            finish(config, &[], &[], &[], None),
            Err(ExportError::Incomplete("os"))
        ));
    }
}
