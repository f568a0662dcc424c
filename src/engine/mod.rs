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

use tokio_util::task::TaskTracker;

use self::call::{Call, Chain};
use self::lease::Renewals;
pub use self::rejection::Rejection;
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
}

impl Engine {
    pub(crate) fn new(
        store: Box<dyn ErasedStore>,
        clock: Arc<dyn Clock>,
        store_timeout: Duration,
    ) -> Self {
        let work = TaskTracker::new();
        Self { store, clock, store_timeout, renewals: Renewals::default(), work }
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
        let answer = match call.result {
            Ok(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant)) => {
                tracing::debug!(slot = %attempt.slot, attempt = grant.number, "claimed");
                let lost_until = lost.then(|| sent + self.store_timeout);
                let claim = attempt.claim(grant);
                let held = Held::new(claim, terms, named, sent, lost_until, &self.clock);
                return Admission::Proceed(held);
            }
            Ok(Reply::Found(found)) => answer(found),
            failed => match unable(&attempt, &failed) {
                Rejection::StoreUnavailable { .. } if terms.run_unprotected => {
                    return Admission::Proceed(self.unprotected(attempt, terms, named));
                }
                rejection => Answer::Reject(rejection),
            },
        };
        if lost {
            // A copy of `begin` may land yet, and nobody would run under its claim (rule C5).
            let engine = Arc::clone(self);
            self.work.spawn(async move { engine.cancel(attempt, sent, terms.max_run).await });
        }
        Admission::Answer(answer)
    }

    /// A run without a claim, where being refused would be worse.
    fn unprotected(
        &self,
        attempt: Attempt,
        terms: Terms,
        named: (IdempotencyKey, Arc<str>),
    ) -> Arc<Held> {
        tracing::warn!(slot = %attempt.slot, "running unprotected");
        let fence = FenceToken::at(Timestamp::from_micros(0).after(self.clock.unix()));
        let claim = attempt.claim(Grant { number: 1, fence });
        Held::unprotected(claim, terms, named, &self.clock)
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
