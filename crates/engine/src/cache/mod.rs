//! The build cache of a store, in the solver's terms.

mod codec;
mod flight;
mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use distil_solver::{CacheStore, SingleFlight};
use distil_store::{Store, Timestamp};

use codec::{OutputCodec, ResultCodec};
use flight::StoreFlight;
use records::StoreCache;

/// The build cache of `store`. What is saved or loaded is held under the lease of `store`; `now` is the time that
/// records are created and used at. Results are loaded only when their layers were written under `id_map`, the
/// snapshotter's.
pub(crate) fn store(store: Arc<Store>, id_map: &str, now: Timestamp) -> Arc<dyn CacheStore> {
    Arc::new(StoreCache::new(store, Box::new(OutputCodec), id_map, now))
}

/// Keeps equal steps of all processes that share `store` apart.
pub(crate) fn single_flight(store: Arc<Store>) -> Arc<dyn SingleFlight> {
    Arc::new(StoreFlight::new(store))
}
