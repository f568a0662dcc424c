//! Runs a request once per `Idempotency-Key` and replays its answer to retries.

pub mod clock;
mod engine;
pub mod layer;
pub mod protocol;
pub mod store;

pub use crate::engine::{Rejection, RunningClaim, Verdict};
pub use crate::layer::{
    Drain, FingerprintPolicy, IdempotencyLayer, InvalidConfig, Policy, Problems, Required, Scope,
    StoreFailure, Tenant, Unresolved,
};
pub use crate::protocol::{Guarantee, IdempotencyKey, InvalidKey, KeySyntax, Secret};
pub use crate::store::MemoryStore;
