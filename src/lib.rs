//! Runs a request once per `Idempotency-Key` and replays its answer to retries.

pub mod clock;
pub mod protocol;
pub mod store;

pub use crate::store::MemoryStore;
