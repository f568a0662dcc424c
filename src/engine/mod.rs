//! Runs one operation under a claim: begin, run, settle. No HTTP here.

mod call;
mod lease;
mod rejection;
mod running;
mod settle;
mod supervise;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::call::{Call, Chain};
use self::lease::Renewals;
pub use self::rejection::Rejection;
use self::running::Proof;
pub use self::running::RunningClaim;
pub(crate) use self::running::{Held, Terms};
pub(crate) use self::supervise::{Ran as Run, Supervised};
use crate::clock::Clock;
use crate::protocol::{
    Attempt, FenceToken, Fingerprint, Found, Grant, Guarantee, IdempotencyKey, Outcome, Ran, Reply,
    Scheme, Timestamp,
};
use crate::store::{ErasedStore, Error, ErrorKind, Operation};

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
            (Self::Ambiguous, Guarantee::AtLeastOnce) => Some(Ran::Maybe),
            (Self::Definitive, _) | (Self::Ambiguous, Guarantee::AtMostOnce) => None,
        }
    }
}

/// What to do with a request.
pub(crate) enum Admission {
    /// Run the handler under this claim.
    Proceed(Arc<Held>),
    /// Do not run it.
    Answer(Answer),
}

/// An answer that is not the handler's own.
pub(crate) enum Answer {
    /// From the record, stored this long ago.
    Replay(Outcome, Duration),
    /// A refusal.
    Reject(Rejection),
}

/// What becomes of the slot after a run.
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
}

pub(crate) struct Engine {
    store: Box<dyn ErasedStore>,
    clock: Arc<dyn Clock>,
    store_timeout: Duration,
    renewals: Renewals,
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

impl Engine {
    pub(crate) fn new(
        store: Box<dyn ErasedStore>,
        clock: Arc<dyn Clock>,
        store_timeout: Duration,
    ) -> Self {
        let work = TaskTracker::new();
        let renewals = Renewals::default();
        let unclaimed = Arc::new(Semaphore::new(UNCLAIMED_KIBIBYTES));
        let cancels = Arc::new(Semaphore::new(CANCELS));
        Self { store, clock, store_timeout, renewals, work, unclaimed, cancels }
    }

    pub(crate) const fn work(&self) -> &TaskTracker {
        &self.work
    }

    /// Asks the store for the claim. `compare` gives the fingerprint of the same request under
    /// another scheme, if that can be done.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        mut attempt: Attempt,
        terms: Terms,
        named: (IdempotencyKey, Arc<str>),
        compare: impl Fn(&Scheme) -> Option<Fingerprint> + Send,
    ) -> Admission {
        let sent = self.clock.monotonic();
        let mut call = self.begin_call(&attempt).await;
        let mut lost = call.lost;
        if let Ok(Reply::Found(Found::OtherScheme(scheme))) = &call.result
            && let Some(fingerprint) = compare(scheme)
        {
            attempt.fingerprint = fingerprint;
            call = self.begin_call(&attempt).await;
            lost |= call.lost;
        }
        let lost_until = lost.then(|| self.clock.monotonic().saturating_add(self.store_timeout));
        let held = |attempt: Attempt, grant, proof| {
            Held::new(attempt.claim(grant), terms, named, proof, lost_until, &self.clock)
        };
        let (attempt, answer) = match call.result {
            Ok(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant)) => {
                tracing::debug!(slot = %attempt.slot, attempt = grant.number, "claimed");
                let held = held(attempt, grant, Proof::Claimed { sent });
                match self.make_live(&held).await {
                    None => return Admission::Proceed(held),
                    Some(answer) => (held.claim.attempt().clone(), answer),
                }
            }
            Ok(Reply::Found(found)) if !lost => return Admission::Answer(answer(found)),
            Ok(Reply::Found(found)) => (attempt, answer(found)),
            failed => match unable(&attempt, &failed) {
                Rejection::StoreUnavailable { .. } if terms.run_unprotected => {
                    tracing::warn!(slot = %attempt.slot, "running unprotected");
                    let fence = FenceToken::at(Timestamp::from_micros(0).after(self.clock.unix()));
                    let full = failed.is_err_and(|error| error.kind() == ErrorKind::Full);
                    let proof = Proof::None { recorded: lost || !full };
                    return Admission::Proceed(held(attempt, Grant { number: 1, fence }, proof));
                }
                rejection if !lost => return Admission::Answer(Answer::Reject(rejection)),
                rejection => (attempt, Answer::Reject(rejection)),
            },
        };
        // The store may hold a claim of this attempt, or come to hold one, and nobody will run
        // under it (rule C5).
        self.cancel_later(attempt);
        Admission::Answer(answer)
    }

    /// The reply of a slow store can arrive when the lease that it grants has lapsed already, and
    /// another may have taken over: then the claim has to be renewed before anything runs. Gives
    /// the answer where that fails.
    async fn make_live(&self, held: &Held) -> Option<Answer> {
        if held.is_live() {
            return None;
        }
        let sent = self.clock.monotonic();
        let renew = |within| self.store.renew(&held.claim, within);
        match self.repeat(Operation::Renew, renew).await.result {
            Ok(Reply::Applied) => held.extended(sent),
            Ok(Reply::Fenced(found)) => return Some(answer(found)),
            _ => {}
        }
        // Where running unprotected is better than being refused, it runs with what it has.
        let run = held.is_live() || held.terms.run_unprotected;
        (!run).then(|| Answer::Reject(Rejection::unavailable()))
    }

    /// Polls the work of a claim in place, keeps its lease, and ends it at its limit.
    pub(crate) async fn run<W: Future>(
        self: &Arc<Self>,
        held: &Arc<Held>,
        work: W,
    ) -> Run<W::Output> {
        let ran = supervise::run(work, held, || self.renewals.register(self, held)).await;
        match &ran {
            Run::Finished(_) => {}
            Run::Panicked => tracing::error!(slot = %held.slot(), "the handler panicked"),
            Run::Stopped => tracing::error!(slot = %held.slot(), "the handler exceeded max_run"),
        }
        ran
    }

    async fn begin_call(&self, attempt: &Attempt) -> Call {
        self.repeat(Operation::Begin, |within| self.store.begin(attempt, within)).await
    }
}

/// What a client is told when the store did not answer `begin`.
fn unable(attempt: &Attempt, failed: &Result<Reply, Error>) -> Rejection {
    let Err(error) = failed else { return Rejection::unavailable() };
    tracing::warn!(slot = %attempt.slot, error = %Chain(error), "begin failed");
    match error.kind() {
        ErrorKind::Corrupt => Rejection::RecordCorrupt,
        ErrorKind::Unsupported => Rejection::RecordUnsupported,
        _ => Rejection::unavailable(),
    }
}

/// What a client is told about a slot that is not its own.
fn answer(found: Found) -> Answer {
    Answer::Reject(match found {
        Found::Completed { outcome, age } => return Answer::Replay(outcome, age),
        Found::Mismatch => Rejection::KeyReused,
        Found::Busy { remaining, age } => Rejection::in_progress(remaining.min(age)),
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
