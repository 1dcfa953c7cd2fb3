//! One line an event, as buildx prints where there is no terminal.

use std::collections::HashMap;
use std::io::Write;
use std::time::SystemTime;

use distil_engine::progress::{LogStream, ProgressEvent, VertexStatus};
use distil_oci::Digest;

use super::{Renderer, seconds};

/// What is known of a vertex that was printed.
struct Shown {
    number: usize,
    name: String,
    started: SystemTime,
    done: bool,
    /// The unfinished last line of each stream.
    rest: HashMap<LogStream, Vec<u8>>,
}

/// Numbers vertices in the order their work began and prints `#N ...` lines.
#[derive(Default)]
pub(super) struct Plain {
    shown: HashMap<Digest, Shown>,
    current: Option<Digest>,
    tasks: HashMap<(Digest, String), bool>,
}

impl Plain {
    /// Prints the header of a vertex when another one was printed last; gives its number.
    fn head(&mut self, digest: Digest, out: &mut dyn Write) -> std::io::Result<Option<usize>> {
        let Some(shown) = self.shown.get(&digest) else {
            return Ok(None);
        };
        let number = shown.number;
        if self.current != Some(digest) {
            if let Some(previous) = self.current.and_then(|digest| self.shown.get(&digest)) {
                if !previous.done {
                    writeln!(out, "#{} ...", previous.number)?;
                }
                writeln!(out)?;
            }
            writeln!(out, "#{number} {}", shown.name)?;
            self.current = Some(digest);
        }
        Ok(Some(number))
    }

    fn vertex(&mut self, vertex: &VertexStatus, out: &mut dyn Write) -> std::io::Result<()> {
        let started = match (vertex.started, vertex.completed) {
            (Some(started), _) => started,
            // It failed before it began; one that was cancelled before that is of no interest.
            (None, Some(completed)) if !vertex.is_cancelled() => completed,
            _ => return Ok(()),
        };
        let number = self.shown.len() + 1;
        let shown = self.shown.entry(vertex.digest).or_insert_with(|| Shown {
            number,
            name: vertex.name.clone(),
            started,
            done: false,
            rest: HashMap::new(),
        });
        if shown.done {
            return Ok(());
        }
        let Some(completed) = vertex.completed else {
            self.head(vertex.digest, out)?;
            return Ok(());
        };
        self.flush(vertex.digest, out)?;
        let Some(number) = self.head(vertex.digest, out)? else {
            return Ok(());
        };
        match (&vertex.error, vertex.cached) {
            (Some(_), _) if vertex.is_cancelled() => writeln!(out, "#{number} CANCELED")?,
            (Some(error), _) => writeln!(out, "#{number} ERROR: {error}")?,
            (None, true) => writeln!(out, "#{number} CACHED")?,
            (None, false) => writeln!(out, "#{number} DONE {}", seconds(started, completed))?,
        }
        if let Some(shown) = self.shown.get_mut(&vertex.digest) {
            shown.done = true;
        }
        Ok(())
    }

    /// Prints the last lines of a vertex that have no line end.
    fn flush(&mut self, digest: Digest, out: &mut dyn Write) -> std::io::Result<()> {
        let Some(shown) = self.shown.get_mut(&digest) else {
            return Ok(());
        };
        let started = shown.started;
        let rests: Vec<Vec<u8>> = shown.rest.drain().map(|(_, rest)| rest).collect();
        for rest in rests.iter().filter(|rest| !rest.is_empty()) {
            self.line(digest, rest, started, SystemTime::now(), out)?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        digest: Digest,
        line: &[u8],
        started: SystemTime,
        at: SystemTime,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        if let Some(number) = self.head(digest, out)? {
            let elapsed = at.duration_since(started).unwrap_or_default().as_secs_f64();
            write!(out, "#{number} {elapsed:.3} ")?;
            out.write_all(line)?;
            writeln!(out)?;
        }
        Ok(())
    }
}

impl Renderer for Plain {
    fn event(&mut self, event: ProgressEvent, out: &mut dyn Write) -> std::io::Result<()> {
        match event {
            ProgressEvent::Vertex(vertex) => self.vertex(&vertex, out),
            ProgressEvent::Log {
                vertex,
                stream,
                data,
                at,
            } => {
                let Some(shown) = self.shown.get_mut(&vertex) else {
                    return Ok(());
                };
                let started = shown.started;
                let rest = shown.rest.entry(stream).or_default();
                rest.extend_from_slice(&data);
                let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                    return Ok(());
                };
                let tail = rest.split_off(end + 1);
                let lines = std::mem::replace(rest, tail);
                for line in lines[..lines.len() - 1].split(|byte| *byte == b'\n') {
                    self.line(vertex, line, started, at, out)?;
                }
                Ok(())
            }
            ProgressEvent::Task {
                vertex,
                name,
                current,
                total,
                started,
                completed,
            } => {
                let done = completed.is_some();
                match self.tasks.insert((vertex, name.clone()), done) {
                    // Progress between begin and end would only fill a log.
                    Some(before) if before || !done => return Ok(()),
                    _ => {}
                }
                let Some(number) = self.head(vertex, out)? else {
                    return Ok(());
                };
                write!(out, "#{number} {name}{}", super::amount(current, total))?;
                match completed {
                    Some(completed) => writeln!(out, " {} done", seconds(started, completed)),
                    None => writeln!(out),
                }
            }
            ProgressEvent::Check { vertex, warning, .. } => {
                let text = warning.to_string();
                let text = distil_dockerfile::printable(&text);
                match self.head(vertex, out)? {
                    Some(number) => writeln!(out, "#{number} WARN: {text}"),
                    None => writeln!(out, "WARN: {text}"),
                }
            }
            ProgressEvent::Warning { vertex, message } => {
                match vertex.map(|vertex| self.head(vertex, out)).transpose()?.flatten() {
                    Some(number) => writeln!(out, "#{number} WARNING: {message}"),
                    None => writeln!(out, "WARNING: {message}"),
                }
            }
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        let unfinished: Vec<Digest> = self
            .shown
            .iter()
            .filter(|(_, shown)| !shown.done)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in unfinished {
            self.flush(digest, out)?;
        }
        Ok(())
    }
}
