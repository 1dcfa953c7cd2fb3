//! One process at a time on a cache key.

use std::sync::Arc;
use std::time::Duration;

use distil_oci::Digest;
use distil_solver::{CancelToken, FlightGuard, SingleFlight, StoreError};
use distil_store::{LockMode, Store};

/// Pauses between attempts grow up to this: what a waiter may come late when a step has ended.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// File locks of a store, which end with the process that has them.
pub(crate) struct StoreFlight {
    store: Arc<Store>,
}

impl StoreFlight {
    /// Locks of `store`.
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl SingleFlight for StoreFlight {
    fn try_acquire(&self, key: &Digest) -> Result<Option<FlightGuard>, StoreError> {
        let lock = self.store.try_lock(&format!("step {key}"), LockMode::Exclusive);
        Ok(lock
            .map_err(StoreError::new)?
            .map(|lock| Box::new(lock) as FlightGuard))
    }

    // Asking again and again, because a thread that sleeps in flock(2) cannot be cancelled.
    fn acquire(&self, key: &Digest, cancel: &CancelToken) -> Result<Option<FlightGuard>, StoreError> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(guard) = self.try_acquire(key)? {
                return Ok(Some(guard));
            }
            if cancel.wait(pause) {
                return Ok(None);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
