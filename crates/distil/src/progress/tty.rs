//! A live view of the steps for a terminal, in the shape buildx users know.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::time::SystemTime;

use distil_engine::progress::{ProgressEvent, VertexStatus};
use distil_oci::Digest;

use super::{Renderer, seconds};

/// Log lines shown below a running step.
const LOG_LINES: usize = 6;

struct Step {
    status: VertexStatus,
    /// Last lines of output, the last one perhaps unfinished.
    log: VecDeque<String>,
    tasks: Vec<(String, u64, u64, bool)>,
}

/// Draws all started steps, rewriting the same lines.
pub(super) struct Tty {
    colour: bool,
    begun: SystemTime,
    order: Vec<Digest>,
    steps: HashMap<Digest, Step>,
    warnings: Vec<String>,
    /// Lines drawn last time, to go back over.
    drawn: usize,
    changed: bool,
}

impl Tty {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            colour,
            begun: SystemTime::now(),
            order: Vec::new(),
            steps: HashMap::new(),
            warnings: Vec::new(),
            drawn: 0,
            changed: false,
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// The lines of the view, at most `height`; the oldest finished steps give way first.
    fn lines(&self, width: usize, height: usize, last: bool) -> Vec<String> {
        let now = SystemTime::now();
        let started: Vec<&Step> = self
            .order
            .iter()
            .filter_map(|digest| self.steps.get(digest))
            .filter(|step| step.status.started.is_some() || step.status.completed.is_some())
            .collect();
        let done = started
            .iter()
            .filter(|step| step.status.completed.is_some())
            .count();
        let finished = if last { " FINISHED" } else { "" };
        let title = format!(
            "[+] Building {} ({done}/{}){finished}",
            seconds(self.begun, now),
            self.order.len()
        );
        let mut body = Vec::new();
        for step in started {
            self.step(step, now, width, last, &mut body);
        }
        body.extend(
            self.warnings
                .iter()
                .map(|warning| cut(&format!(" ! {warning}"), width)),
        );
        let room = height.saturating_sub(2).max(1);
        if !last && body.len() > room {
            body.drain(..body.len() - room);
        }
        body.insert(0, cut(&title, width));
        body
    }

    fn step(&self, step: &Step, now: SystemTime, width: usize, last: bool, lines: &mut Vec<String>) {
        let status = &step.status;
        let begun = status.started.or(status.completed).unwrap_or(now);
        let time = seconds(begun, status.completed.unwrap_or(now));
        let mark = match (&status.error, status.cached) {
            (Some(_), _) => "ERROR ",
            (None, true) => "CACHED ",
            (None, false) => "",
        };
        let left = format!(" => {mark}{}", status.name);
        let room = width.saturating_sub(time.len() + 2);
        let text = format!("{:<room$} {time}", cut(&left, room));
        lines.push(match (&status.error, status.completed) {
            (Some(_), _) => self.paint("31", &text),
            (None, Some(_)) => self.paint("34", &text),
            (None, None) => text,
        });
        if status.completed.is_some() || last {
            return;
        }
        for (name, current, total, done) in step.tasks.iter().filter(|task| !task.3).take(LOG_LINES) {
            let amount = match (*done, *total) {
                (_, 0) => crate::units::bytes(*current),
                (_, total) => format!(
                    "{} / {}",
                    crate::units::bytes(*current),
                    crate::units::bytes(total)
                ),
            };
            lines.push(cut(&format!(" => => {name} {amount}"), width));
        }
        for line in &step.log {
            lines.push(self.paint("2", &cut(&format!(" => => # {line}"), width)));
        }
    }

    fn draw(&mut self, out: &mut dyn Write, last: bool) -> std::io::Result<()> {
        let (width, height) = crate::terminal_size();
        let lines = self.lines(width, height, last);
        if self.drawn > 0 {
            write!(out, "\x1b[{}A", self.drawn)?;
        }
        write!(out, "\r\x1b[?25l")?;
        for line in &lines {
            writeln!(out, "\x1b[2K{line}")?;
        }
        write!(out, "\x1b[J\x1b[?25h")?;
        self.drawn = lines.len();
        self.changed = false;
        Ok(())
    }
}

impl Renderer for Tty {
    fn event(&mut self, event: ProgressEvent, _out: &mut dyn Write) -> std::io::Result<()> {
        self.changed = true;
        match event {
            ProgressEvent::Vertex(status) => {
                let digest = status.digest;
                if let Some(step) = self.steps.get_mut(&digest) {
                    step.status = status;
                } else {
                    self.order.push(digest);
                    self.steps.insert(
                        digest,
                        Step {
                            status,
                            log: VecDeque::new(),
                            tasks: Vec::new(),
                        },
                    );
                }
            }
            ProgressEvent::Log { vertex, data, .. } => {
                if let Some(step) = self.steps.get_mut(&vertex) {
                    append(&mut step.log, &String::from_utf8_lossy(&data));
                }
            }
            ProgressEvent::Task {
                vertex,
                name,
                current,
                total,
                completed,
                ..
            } => {
                if let Some(step) = self.steps.get_mut(&vertex) {
                    let task = (name, current, total, completed.is_some());
                    match step.tasks.iter_mut().find(|known| known.0 == task.0) {
                        Some(known) => *known = task,
                        None => step.tasks.push(task),
                    }
                }
            }
            ProgressEvent::Warning { message, .. } => self.warnings.push(message),
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        let running = self.steps.values().any(|step| step.status.completed.is_none());
        if self.changed || running {
            self.draw(out, false)
        } else {
            Ok(())
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        if self.order.is_empty() {
            Ok(())
        } else {
            self.draw(out, true)
        }
    }
}

/// Adds output to the last lines; a carriage return starts its line again, as on a terminal.
fn append(log: &mut VecDeque<String>, text: &str) {
    for piece in text.split_inclusive('\n') {
        if log.is_empty() {
            log.push_back(String::new());
        }
        let (content, ended) = match piece.strip_suffix('\n') {
            Some(content) => (content, true),
            None => (piece, false),
        };
        if let Some(line) = log.back_mut() {
            line.push_str(content);
            if let Some(at) = line.trim_end_matches('\r').rfind('\r') {
                line.drain(..=at);
            }
        }
        if ended {
            log.push_back(String::new());
        }
    }
    while log.len() > LOG_LINES {
        log.pop_front();
    }
}

/// Cuts a line to `width` columns; control characters would break the drawing and become spaces.
fn cut(text: &str, width: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(width)
        .collect()
}
