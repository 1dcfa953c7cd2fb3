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
    tasks: Vec<Task>,
    /// What the build checks found in what it read.
    checks: Vec<String>,
}

/// A part of a step's work.
struct Task {
    name: String,
    current: u64,
    total: u64,
    started: SystemTime,
    completed: Option<SystemTime>,
}

impl Task {
    fn ended(&self) -> bool {
        self.completed.is_some()
    }

    fn text(&self) -> String {
        let amount = super::amount(self.current, self.total);
        match self.completed {
            Some(completed) => format!("{}{amount} {}", self.name, seconds(self.started, completed)),
            None => format!("{}{amount}", self.name),
        }
    }
}

/// The lines of one step.
struct Block {
    finished: bool,
    lines: Vec<String>,
}

/// Makes the blocks fit into `room` lines: the parts of finished steps give way first, then finished steps from
/// the oldest on, then the output of running ones, then the newest.
fn fit(blocks: &mut Vec<Block>, room: usize) {
    let count = |blocks: &[Block]| blocks.iter().map(|block| block.lines.len()).sum::<usize>();
    if count(blocks) <= room {
        return;
    }
    for block in blocks.iter_mut().filter(|block| block.finished) {
        block.lines.truncate(1);
    }
    let mut surplus = count(blocks).saturating_sub(room);
    blocks.retain(|block| {
        let keep = surplus == 0 || !block.finished;
        if !keep {
            surplus -= 1;
        }
        keep
    });
    for block in blocks.iter_mut() {
        let reduced = block.lines.len().saturating_sub(surplus).max(1);
        surplus -= block.lines.len() - reduced;
        block.lines.truncate(reduced);
    }
    blocks.truncate(room);
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

    /// The lines of the view, at most `height` less the cursor's own.
    fn lines(&self, width: usize, height: usize, last: bool) -> Vec<String> {
        let now = SystemTime::now();
        let started: Vec<&Step> = self
            .order
            .iter()
            .filter_map(|digest| self.steps.get(digest))
            .filter(|step| step.status.started.is_some())
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
        let mut blocks: Vec<Block> = started
            .into_iter()
            .map(|step| Block {
                finished: step.status.completed.is_some(),
                lines: self.step(step, now, width),
            })
            .collect();
        blocks.extend(self.warnings.iter().map(|warning| Block {
            finished: false,
            lines: vec![cut(&format!(" ! {warning}"), width)],
        }));
        if !last {
            fit(&mut blocks, height.saturating_sub(2));
        }
        let mut lines = vec![cut(&title, width)];
        lines.extend(blocks.into_iter().flat_map(|block| block.lines));
        lines
    }

    fn step(&self, step: &Step, now: SystemTime, width: usize) -> Vec<String> {
        let status = &step.status;
        let begun = status.started.or(status.completed).unwrap_or(now);
        let time = seconds(begun, status.completed.unwrap_or(now));
        let cancelled = status.is_cancelled();
        let mark = match (&status.error, status.cached) {
            (Some(_), _) if cancelled => "CANCELED ",
            (Some(_), _) => "ERROR ",
            (None, true) => "CACHED ",
            (None, false) => "",
        };
        let left = format!(" => {mark}{}", status.name);
        let room = width.saturating_sub(time.len() + 2);
        let text = cut(&format!("{} {time}", pad(cut(&left, room), room)), width);
        let mut lines = vec![match (&status.error, status.completed) {
            (Some(_), _) if cancelled => self.paint("33", &text),
            (Some(_), _) => self.paint("31", &text),
            (None, Some(_)) => self.paint("34", &text),
            (None, None) => text,
        }];
        let running = status.completed.is_none();
        let tasks = step.tasks.iter().filter(|task| running != task.ended());
        lines.extend(tasks.map(|task| cut(&format!(" => => {}", task.text()), width)));
        let checks = step.checks.iter();
        lines.extend(checks.map(|text| self.paint("33", &cut(&format!(" => => WARN: {text}"), width))));
        if running {
            // The last one is empty after a line end.
            for line in step.log.iter().filter(|line| !line.is_empty()) {
                lines.push(self.paint("2", &cut(&format!(" => => # {line}"), width)));
            }
        }
        lines
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
                            checks: Vec::new(),
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
                started,
                completed,
            } => {
                if let Some(step) = self.steps.get_mut(&vertex) {
                    let task = Task {
                        name,
                        current,
                        total,
                        started,
                        completed,
                    };
                    match step.tasks.iter_mut().find(|known| known.name == task.name) {
                        Some(known) => *known = task,
                        None => step.tasks.push(task),
                    }
                }
            }
            ProgressEvent::Warning { message, .. } => self.warnings.push(message),
            ProgressEvent::Check { vertex, warning, .. } => {
                if let Some(step) = self.steps.get_mut(&vertex) {
                    step.checks.push(warning.to_string());
                }
            }
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

/// Cuts a line to `width` columns. Colours and other control sequences would break the drawing and go; other
/// control characters become spaces.
fn cut(text: &str, width: usize) -> String {
    let mut room = width;
    let mut result = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\x1b' && chars.next_if_eq(&'[').is_some() {
            // The sequence ends with its first letter.
            while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            continue;
        }
        let c = if c.is_control() { ' ' } else { c };
        match room.checked_sub(columns(c)) {
            Some(left) => room = left,
            None => break,
        }
        result.push(c);
    }
    result
}

/// Fills a line with spaces up to `width` columns.
fn pad(mut text: String, width: usize) -> String {
    let used: usize = text.chars().map(columns).sum();
    text.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    text
}

/// Columns that a character takes on a terminal, as far as its block tells.
fn columns(c: char) -> usize {
    match u32::from(c) {
        // Combining marks, joiners, variation selectors.
        0x0300..=0x036F | 0x200B..=0x200F | 0x20D0..=0x20FF | 0xFE00..=0xFE0F => 0,
        // East Asian letters and symbols, emoji.
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x1F680..=0x1F6FF
        | 0x1F900..=0x1F9FF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_columns_without_colours() {
        for (text, width, cut_text) in [
            ("abcdef", 3, "abc"),
            ("日本語", 5, "日本"),
            ("e\u{301}a", 1, "e\u{301}"),
            ("\x1b[1;32mok\x1b[0m\tx", 10, "ok x"),
            ("\x1b[", 10, ""),
            ("a\x07b", 10, "a b"),
        ] {
            assert_eq!(cut(text, width), cut_text, "{text:?}");
        }
        assert_eq!(pad("日".into(), 4), "日  ");
    }

    #[test]
    fn finished_steps_give_way_first() {
        let block = |finished, name: &str, count: usize| Block {
            finished,
            lines: (0..count).map(|at| format!("{name}{at}")).collect(),
        };
        let blocks = || {
            vec![
                block(true, "a", 2),
                block(false, "b", 4),
                block(true, "c", 1),
                block(false, "d", 1),
            ]
        };
        for (room, left) in [
            (8, "a0 a1 b0 b1 b2 b3 c0 d0"),
            (7, "a0 b0 b1 b2 b3 c0 d0"),
            (6, "b0 b1 b2 b3 c0 d0"),
            (5, "b0 b1 b2 b3 d0"),
            (3, "b0 b1 d0"),
            (2, "b0 d0"),
            (1, "b0"),
            (0, ""),
        ] {
            let mut blocks = blocks();
            fit(&mut blocks, room);
            let lines: Vec<String> = blocks.into_iter().flat_map(|block| block.lines).collect();
            assert_eq!(lines.join(" "), left, "{room}");
        }
    }

    #[test]
    fn a_carriage_return_starts_the_line_again() {
        let mut log = VecDeque::new();
        append(&mut log, "10%\r20%\r");
        append(&mut log, "30%\nnext");
        assert_eq!(log, ["30%", "next"]);
    }
}
