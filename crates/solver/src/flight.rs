//! Keeping equal work in several processes apart.

use distil_oci::Digest;

use crate::cancel::CancelToken;
use crate::error::StoreError;

/// Holds a key until it is dropped.
pub type FlightGuard = Box<dyn Send>;

/// Lets one holder at a time work on a cache key, over all processes that share a cache.
///
/// The lock of a process must end with the process, however that ends: a waiter then takes over. The solver holds at
/// most one key for each op that is running, takes it right before the op runs and waits for none while it holds
/// another within one op, so that two processes cannot wait for each other.
pub trait SingleFlight: Send + Sync {
    /// Takes the key when nobody holds it.
    ///
    /// # Errors
    /// When the lock cannot be tried, for example because the disk is read-only.
    fn try_acquire(&self, key: &Digest) -> Result<Option<FlightGuard>, StoreError>;

    /// Waits for the key; `None` when `cancel` was set first.
    ///
    /// # Errors
    /// As [`SingleFlight::try_acquire`].
    fn acquire(&self, key: &Digest, cancel: &CancelToken) -> Result<Option<FlightGuard>, StoreError>;
}
