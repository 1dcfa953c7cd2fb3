//! Questions to the C library's name look-up, which cannot be cut short and waits five seconds before it repeats a
//! packet that was lost.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer is awaited before the question is asked once more.
const PATIENCE: Duration = Duration::from_millis(800);

/// The first answer to `question` before the deadline; `None` when there is none.
///
/// The question is asked again, beside those that are not answered yet, whenever [`PATIENCE`] ends. Each is asked by
/// a thread that may outlive this call.
///
/// # Errors
/// The answer is an error, or no thread could be started.
pub(crate) fn ask<T: Send + 'static>(
    deadline: Instant,
    question: impl Fn() -> io::Result<T> + Send + Sync + 'static,
) -> io::Result<Option<T>> {
    let question = Arc::new(question);
    let (sender, receiver) = mpsc::channel();
    loop {
        let (question, sender) = (Arc::clone(&question), sender.clone());
        thread::Builder::new()
            .name("name lookup".to_owned())
            .spawn(move || {
                // Nobody listens any more after the first answer.
                let _ = sender.send(question());
            })?;
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(PATIENCE)) {
            Ok(answer) => return answer.map(Some),
            Err(RecvTimeoutError::Timeout) if left > PATIENCE => {}
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3)
    }

    #[test]
    fn a_lost_question_is_asked_again() {
        let asked = AtomicU32::new(0);
        let answer = ask(soon(), move || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            if number == 0 {
                thread::sleep(Duration::from_secs(60));
            }
            Ok(number)
        });
        assert_eq!(answer.unwrap(), Some(1));
    }

    #[test]
    fn a_slow_answer_to_the_first_question_counts() {
        let asked = AtomicU32::new(0);
        let answer = ask(soon(), move || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            thread::sleep(match number {
                0 => PATIENCE + Duration::from_millis(200),
                _ => Duration::from_secs(60),
            });
            Ok(number)
        });
        assert_eq!(answer.unwrap(), Some(0));
    }

    #[test]
    fn silence_ends_at_the_deadline_and_an_error_at_once() {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(900);
        let answer = ask(deadline, || {
            thread::sleep(Duration::from_secs(60));
            Ok(())
        });
        assert_eq!(answer.unwrap(), None);
        assert!(start.elapsed() < Duration::from_secs(3));
        let error = ask::<()>(soon(), || Err(io::Error::other("no such host"))).unwrap_err();
        assert_eq!(error.to_string(), "no such host");
    }
}
