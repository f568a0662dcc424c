use std::fmt;
use std::sync::Arc;

use super::Held;
use crate::protocol::{FenceToken, IdempotencyKey, Slot};

/// What a handler can know of the claim under which it runs.
///
/// The layer puts it into the extensions of every request that it protects. With the `axum`
/// feature it is an extractor: `Option<RunningClaim>` where a key is optional, `RunningClaim` where
/// the handler cannot work without one.
///
/// ```
/// use tower_idempotency::RunningClaim;
///
/// async fn charge(claim: RunningClaim) -> String {
///     // Pass a stable key on to the next service,
///     let key_for_the_bank = claim.derived_key("bank");
///     // and give the database an ordered number by which it can refuse a stale worker.
///     let fence = claim.fence().number();
///     format!("UPDATE … SET fence = {fence} WHERE fence < {fence} -- {key_for_the_bank}")
/// }
/// # let _ = charge;
/// ```
#[derive(Clone)]
pub struct RunningClaim(pub(crate) Arc<Held>);

impl RunningClaim {
    /// The key that the client sent.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.0.key
    }

    /// The tenant that the layer resolved.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// More than 1 if an earlier run of this operation was abandoned, or freed its key without
    /// saying that nothing was executed. That is remembered for the retention, counted from the last
    /// such run.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// An ordered number: a later claim of the same key has a larger one, so a database that keeps
    /// it can reject the writes of a worker that has lost its claim:
    ///
    /// ```sql
    /// UPDATE accounts SET balance = balance - 5, fence = $1 WHERE id = $2 AND fence < $1
    /// -- no row was updated: a later worker has been here, give up
    /// ```
    #[must_use]
    pub fn fence(&self) -> FenceToken {
        self.0.claim.grant().fence
    }

    /// Whether the claim is known to keep others out at this moment. Once it is false, another
    /// worker may be running the same operation. Always false in a run without protection.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0.is_live()
    }

    /// Waits until another attempt is known to own the key; then this run is in vain, since its
    /// answer will not be sent. Never ends while the claim is this run's.
    pub async fn lost(&self) {
        self.0.lost().await;
    }

    /// A key for a call that the handler makes to another service: 32 hex digits, the same on
    /// every attempt at this operation, and another for every `step`.
    #[must_use]
    pub fn derived_key(&self, step: &str) -> String {
        self.0.slot().derived_key(step)
    }

    /// The name of this operation in logs: 16 hex digits from which the key cannot be found.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.0.slot()
    }
}

impl fmt::Debug for RunningClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningClaim")
            .field("slot", &self.0.slot())
            .field("attempt", &self.attempt())
            .field("fence", &self.fence())
            .finish_non_exhaustive()
    }
}
