//! Draws the progress of a build on standard error.

mod plain;
mod raw;
mod tty;

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use distil_engine::progress::{ProgressEvent, ProgressSink};

use crate::commands::build::ProgressForm;

/// Draws events in one form.
trait Renderer: Send {
    /// Takes one event.
    fn event(&mut self, event: ProgressEvent, out: &mut dyn Write) -> std::io::Result<()>;
    /// Draws again without news; called about ten times a second.
    fn tick(&mut self, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }
    /// Ends the drawing; the terminal is the caller's again.
    fn finish(&mut self, out: &mut dyn Write) -> std::io::Result<()>;
}

/// A progress display. Dropping it ends the drawing.
pub(crate) struct Display {
    renderer: Arc<Mutex<Option<Box<dyn Renderer>>>>,
    ticker: Option<(std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl Display {
    /// Starts a display; `Auto` looks at standard error and `NO_COLOR` decides about colours.
    pub(crate) fn start(form: ProgressForm) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let renderer: Option<Box<dyn Renderer>> = match form {
            ProgressForm::Quiet => None,
            ProgressForm::Rawjson => Some(Box::new(raw::Raw)),
            ProgressForm::Tty => Some(Box::new(tty::Tty::new(colour))),
            ProgressForm::Auto if terminal => Some(Box::new(tty::Tty::new(colour))),
            ProgressForm::Auto | ProgressForm::Plain => Some(Box::new(plain::Plain::default())),
        };
        let live = matches!(form, ProgressForm::Tty) || (matches!(form, ProgressForm::Auto) && terminal);
        let renderer = Arc::new(Mutex::new(renderer));
        let ticker = live.then(|| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let renderer = Arc::clone(&renderer);
            let thread = std::thread::spawn(move || {
                while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                    stopped.recv_timeout(std::time::Duration::from_millis(100))
                {
                    with(&renderer, |renderer, out| renderer.tick(out));
                }
            });
            (stop, thread)
        });
        Self { renderer, ticker }
    }

    /// Ends the drawing; later events are dropped.
    pub(crate) fn finish(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A panic in the ticker has been printed; there is nothing left to end.
            let _ = thread.join();
        }
        with(&self.renderer, |renderer, out| renderer.finish(out));
        *self.renderer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ProgressSink for Display {
    fn event(&self, event: ProgressEvent) {
        with(&self.renderer, |renderer, out| renderer.event(event, out));
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Runs `draw` with the renderer and one buffered write to standard error; a closed standard error is not
/// worth failing a build for.
fn with(
    renderer: &Mutex<Option<Box<dyn Renderer>>>,
    draw: impl FnOnce(&mut dyn Renderer, &mut dyn Write) -> std::io::Result<()>,
) {
    let mut guard = renderer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(renderer) = guard.as_mut() {
        let mut buffer = Vec::new();
        if draw(renderer.as_mut(), &mut buffer).is_ok() && !buffer.is_empty() {
            let _ = std::io::stderr().lock().write_all(&buffer);
        }
    }
}

/// Seconds from `start` to `end` with one decimal; `end` before `start` counts as zero.
fn seconds(start: std::time::SystemTime, end: std::time::SystemTime) -> String {
    format!(
        "{:.1}s",
        end.duration_since(start).unwrap_or_default().as_secs_f64()
    )
}

/// How much of a task is done, with a space before it; nothing where it has no bytes.
fn amount(current: u64, total: u64) -> String {
    use crate::units::bytes;
    match (current, total) {
        (0 | 1, 0 | 1) => String::new(),
        (current, 0) => format!(" {}", bytes(current)),
        (current, total) => format!(" {} / {}", bytes(current), bytes(total)),
    }
}
