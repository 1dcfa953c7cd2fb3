//! Which instruction made which layer, as far as an image's history tells.

use distil_oci::{History, ImageConfig};
use serde::Serialize;

/// A history entry as the instruction that it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Instruction {
    text: String,
}

impl Instruction {
    /// Reads the `created_by` of a history entry. What builders add is taken away: BuildKit's comment at the
    /// end, the shell and the build arguments of a RUN, the legacy builder's `#(nop)`.
    #[must_use]
    pub fn parse(created_by: &str) -> Self {
        let text = created_by.trim();
        let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
        let words = text.strip_prefix("RUN ").unwrap_or(text);
        let shell = without_arguments(words).strip_prefix("/bin/sh -c ");
        let text = match shell.map(str::trim_start) {
            Some(command) => match command.strip_prefix("#(nop)") {
                Some(instruction) => instruction.trim_start().to_owned(),
                None => format!("RUN {command}"),
            },
            None => text.to_owned(),
        };
        Self { text }
    }

    /// The instruction, in one line or several as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Instruction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(&self.text)
    }
}

/// Without `|2 A=x B=y `, which is how builders note the build arguments of a RUN. Values with blanks in them
/// cannot be told apart, so the shell that follows is looked for.
fn without_arguments(words: &str) -> &str {
    match words.strip_prefix('|') {
        Some(rest) => rest.find(" /bin/sh -c ").map_or(words, |at| &rest[at + 1..]),
        None => words,
    }
}

/// The instruction of each of `layers` layers, lowest first. None where the history does not say: it is
/// missing, or has another number of entries that made a layer.
pub(crate) fn of_layers(config: &ImageConfig, layers: usize) -> Vec<Option<Instruction>> {
    let made: Vec<&History> = config.history.iter().filter(|entry| !entry.empty_layer).collect();
    if made.len() != layers {
        return vec![None; layers];
    }
    made.into_iter()
        .map(|entry| Instruction::parse(&entry.created_by))
        .map(|instruction| Some(instruction).filter(|known| !known.text.is_empty()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_as_they_were_written() {
        for (created_by, instruction) in [
            ("COPY /app /app # buildkit", "COPY /app /app"),
            ("RUN /bin/sh -c apt-get update # buildkit", "RUN apt-get update"),
            ("RUN |1 V=a b /bin/sh -c make $V # buildkit", "RUN make $V"),
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", "CMD [\"sh\"]"),
            ("/bin/sh -c make", "RUN make"),
            ("|2 A=1 B= /bin/sh -c make", "RUN make"),
            ("RUN [\"/app\"]", "RUN [\"/app\"]"),
            ("bazel build ...", "bazel build ..."),
            ("", ""),
        ] {
            assert_eq!(
                Instruction::parse(created_by).as_str(),
                instruction,
                "{created_by}"
            );
        }
    }

    #[test]
    fn a_history_that_does_not_fit_says_nothing() {
        let mut config = ImageConfig::default();
        config.history.push(History {
            created_by: "COPY a b".into(),
            ..History::default()
        });
        assert_eq!(of_layers(&config, 2), [None, None]);
        assert_eq!(of_layers(&config, 1), [Some(Instruction::parse("COPY a b"))]);
    }
}
