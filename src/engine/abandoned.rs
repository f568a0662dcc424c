use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::{FenceToken, Fingerprint, Found, IdempotencyKey, Outcome, Slot};

/// A claim whose lease has lapsed without an outcome: its process died, stands still, or could not
/// reach the store for so long. For [`Policy::on_abandoned`](crate::Policy::on_abandoned).
///
/// `Debug` shows neither key nor tenant.
#[derive(Clone)]
pub struct Abandoned {
    pub(super) tenant: Arc<str>,
    pub(super) key: IdempotencyKey,
    pub(super) slot: Slot,
    pub(super) fingerprint: Fingerprint,
    pub(super) lapsed: Lapsed,
}

impl Abandoned {
    /// The tenant that the layer resolved.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The key that the client sent.
    #[must_use]
    pub const fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// The number of the attempt that left no outcome.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.lapsed.attempt
    }

    /// The digest of its request.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// How long ago the claim was made, on the store's clock.
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.lapsed.age
    }

    /// The fence token of the claim: what its handler wrote to its own database carries it.
    #[must_use]
    pub const fn fence(&self) -> FenceToken {
        self.lapsed.fence
    }

    /// The key that the handler passed on in a call to another service, which can be asked for it;
    /// see [`RunningClaim::derived_key`](crate::RunningClaim::derived_key).
    #[must_use]
    pub fn derived_key(&self, step: &str) -> String {
        self.slot.derived_key(step)
    }

    /// The name of the operation in logs: 16 hex digits from which the key cannot be found.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }
}

impl fmt::Debug for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abandoned")
            .field("slot", &self.slot)
            .field("attempt", &self.attempt())
            .field("fence", &self.fence())
            .field("age", &self.age())
            .finish_non_exhaustive()
    }
}

/// What a look at the application's own books has brought to light.
pub(crate) enum Finding {
    Rerun,
    Outcome(Outcome),
    Unknown,
}

/// Looks what became of an abandoned claim.
pub(crate) type Recover =
    dyn Fn(Abandoned) -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync;

/// The claim that lapsed.
#[derive(Clone, Copy)]
pub(super) struct Lapsed {
    pub(super) fence: FenceToken,
    pub(super) attempt: u32,
    pub(super) age: Duration,
}

impl Lapsed {
    pub(super) const fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Unknown { fence, attempt, age } => {
                Some(Self { fence: *fence, attempt: *attempt, age: *age })
            }
            _ => None,
        }
    }

    /// The same, as a store would tell it.
    pub(super) const fn found(self) -> Found {
        Found::Unknown { fence: self.fence, attempt: self.attempt, age: self.age }
    }
}
