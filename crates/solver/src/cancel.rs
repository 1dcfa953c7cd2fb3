//! Telling work to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Callbacks {
    next: u64,
    waiting: BTreeMap<u64, Callback>,
}

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    callbacks: Mutex<Callbacks>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Callbacks> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flag that is set once, shared by its clones.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Shared>);

impl CancelToken {
    /// A token that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, wakes waiters and calls what [`CancelToken::on_cancel`] registered. Later calls do nothing.
    pub fn cancel(&self) {
        if self.0.cancelled.swap(true, Ordering::SeqCst) {
            return;
        }
        let callbacks = std::mem::take(&mut self.0.lock().waiting);
        self.0.changed.notify_all();
        for callback in callbacks.into_values() {
            callback();
        }
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Sleeps for `timeout` or until it is set; says whether it is.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let guard = self.0.lock();
        let waited = self
            .0
            .changed
            .wait_timeout_while(guard, timeout, |_| !self.is_cancelled());
        drop(waited);
        self.is_cancelled()
    }

    /// Calls `callback` when it is set, at once when it is already. Dropping the registration takes it back.
    #[must_use]
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> CancelRegistration {
        let mut callbacks = self.0.lock();
        if self.is_cancelled() {
            drop(callbacks);
            callback();
            return CancelRegistration {
                shared: Weak::new(),
                id: 0,
            };
        }
        let id = callbacks.next;
        callbacks.next += 1;
        callbacks.waiting.insert(id, Box::new(callback));
        CancelRegistration {
            shared: Arc::downgrade(&self.0),
            id,
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// A callback that waits for a [`CancelToken`]; it is forgotten when this is dropped.
pub struct CancelRegistration {
    shared: Weak<Shared>,
    id: u64,
}

impl Drop for CancelRegistration {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn callbacks_run_once_and_only_while_registered() {
        let token = CancelToken::new();
        let calls = Arc::new(AtomicU32::new(0));
        let count = |step: u32| {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(step, Ordering::SeqCst);
            }
        };
        let kept = token.on_cancel(count(1));
        drop(token.on_cancel(count(10)));
        token.cancel();
        token.cancel();
        let late = token.on_cancel(count(100));
        drop((kept, late));
        assert_eq!(calls.load(Ordering::SeqCst), 101);
    }

    #[test]
    fn waiting_ends_when_it_is_set() {
        let token = CancelToken::new();
        assert!(!token.wait(Duration::from_millis(1)));
        let other = token.clone();
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        token.cancel();
        assert!(thread.join().unwrap());
    }
}
