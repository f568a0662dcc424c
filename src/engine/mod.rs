//! Runs one operation under a claim: begin, run, settle. No HTTP here.

mod abandoned;
mod admission;
mod begin;
mod call;
#[cfg(all(test, shuttle))]
mod interleavings;
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "no store has transactions"))]
mod joint;
mod lease;
mod recovery;
mod rejection;
mod room;
mod run;
mod running;
mod running_claim;
mod settle;
mod supervise;
mod transaction;
mod wait;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::abandoned::Abandoned;
pub(crate) use self::abandoned::{Finding, Recover};
pub(crate) use self::admission::{Admission, Admitted, Asking};
#[cfg(all(feature = "axum", feature = "postgres"))]
pub(crate) use self::call::Chain;
#[cfg(feature = "postgres")]
pub(crate) use self::joint::{Joint, Lent};
use self::lease::Renewals;
pub use self::rejection::Rejection;
use self::room::Rooms;
pub(crate) use self::run::Ran as Run;
pub(crate) use self::running::{Held, Terms};
pub use self::running_claim::RunningClaim;
pub(crate) use self::supervise::{Supervised, Supervising, Supervision};
use self::wait::Queues;
pub(crate) use self::wait::{Place, Ticket, Turn, WaiterLimits};
use crate::clock::Clock;
use crate::protocol::{Fingerprint, Found, Guarantee, Outcome, Ran, Slot};
use crate::store::{BoxStore, Store as _, Transactions};

/// What a handler's answer says about the operation.
///
/// A handler can put one into the extensions of its response, where it wins over the status:
///
/// ```
/// use http::{Response, StatusCode};
/// use tower_idempotency::Verdict;
///
/// let mut response = Response::new("the warehouse is closed, nothing was ordered");
/// *response.status_mut() = StatusCode::CONFLICT;
/// response.extensions_mut().insert(Verdict::NotExecuted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It succeeded or failed for good: every retry gets this answer.
    Definitive,
    /// Nothing happened: the key is free again, a retry runs.
    NotExecuted,
    /// Nobody knows what happened: the guarantee decides.
    Ambiguous,
}

impl Verdict {
    /// Whether this verdict frees the key, and what that says about effects.
    pub(crate) const fn frees(self, guarantee: Guarantee) -> Option<Ran> {
        match (self, guarantee) {
            (Self::NotExecuted, _) => Some(Ran::No),
            (Self::Ambiguous, Guarantee::AtLeastOnce | Guarantee::Transactional) => {
                Some(Ran::Maybe)
            }
            (Self::Definitive, _) | (Self::Ambiguous, Guarantee::AtMostOnce) => None,
        }
    }
}

/// An answer that is not the handler's own.
#[derive(Clone)]
pub(crate) enum Answer {
    /// From the record, stored this long ago.
    Replay(Outcome, Duration),
    /// A refusal.
    Reject(Rejection),
}

/// What becomes of the slot after a run.
#[derive(Clone)]
pub(crate) enum Conclusion {
    /// It keeps this outcome.
    Keep(Outcome),
    /// It is free again.
    Free(Ran),
}

/// What the client is told after a run.
pub(crate) enum Settled {
    /// The handler's answer; the record says the same.
    Answer,
    /// The handler's answer; the record does not say so yet.
    Unstored,
    /// Not the handler's answer: the claim was lost, or the store was.
    Instead(Answer),
    /// None yet: the handler's transaction lost against others and was rolled back.
    Again,
}

pub(crate) struct Engine {
    store: BoxStore,
    transactions: Option<Transactions>,
    clock: Arc<dyn Clock>,
    store_timeout: Duration,
    renewals: Renewals,
    queues: Arc<Queues>,
    rooms: Rooms,
    /// Everything that must end before the process may.
    work: TaskTracker,
    /// Kibibytes of outcomes without a claim that may wait for a store that is down. The outcome of
    /// a claim always waits.
    unclaimed: Arc<Semaphore>,
    /// How many attempts that never start may wait to be cancelled.
    cancels: Arc<Semaphore>,
}

const UNCLAIMED_KIBIBYTES: usize = 64 << 10;
const CANCELS: usize = 32 << 10;

/// How much an engine does at once.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) waiters: WaiterLimits,
    pub(crate) in_flight: Option<usize>,
    pub(crate) in_flight_per_tenant: Option<usize>,
}

impl Engine {
    pub(crate) fn new(
        store: BoxStore,
        clock: Arc<dyn Clock>,
        store_timeout: Duration,
        limits: &Limits,
    ) -> Self {
        Self {
            queues: Queues::new(limits.waiters, Arc::clone(&clock)),
            rooms: Rooms::new(limits.in_flight, limits.in_flight_per_tenant),
            transactions: store.transactions(),
            store,
            clock,
            store_timeout,
            renewals: Renewals::default(),
            work: TaskTracker::new(),
            unclaimed: Arc::new(Semaphore::new(UNCLAIMED_KIBIBYTES)),
            cancels: Arc::new(Semaphore::new(CANCELS)),
        }
    }

    /// A place among the requests that are the same as this one, for one that would rather wait than
    /// be refused.
    pub(crate) fn queue(
        &self,
        slot: Slot,
        fingerprint: &Fingerprint,
        lease: Duration,
        max: Duration,
    ) -> Place {
        self.queues.join(slot, fingerprint, lease, max)
    }

    pub(crate) const fn work(&self) -> &TaskTracker {
        &self.work
    }
}

/// What a client is told about a slot that is not its own.
fn answer(found: Found) -> Answer {
    Answer::Reject(match found {
        Found::Completed { outcome, age } => return Answer::Replay(outcome, age),
        Found::Mismatch => Rejection::KeyReused,
        Found::Busy { remaining, age, .. } => Rejection::in_progress(remaining.min(age)),
        Found::Nothing => Rejection::in_progress(Duration::ZERO),
        Found::Unknown { attempt, .. } => Rejection::OutcomeUnknown { attempt },
        Found::OtherScheme(_) => Rejection::incomparable(),
    })
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("store", &self.store).finish_non_exhaustive()
    }
}
