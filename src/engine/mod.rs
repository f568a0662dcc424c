//! Runs one operation under a claim: begin, run, settle. No HTTP here.

mod lease;
mod rejection;
mod running;
mod supervise;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

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
use crate::store::{Effect, ErasedStore, Error, ErrorKind, Operation};

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

/// The first pause before a store call is repeated; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between repeats while the lease is live.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

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
        if let Ok(Reply::Found(Found::OtherScheme(scheme))) = &call.result {
            let Some(fingerprint) = compare(scheme) else {
                return refuse(Rejection::incomparable());
            };
            attempt.fingerprint = fingerprint;
            call = self.begin_call(&attempt).await;
        }
        let lost_until = call.lost.then(|| sent + self.store_timeout);
        match call.result {
            Ok(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant)) => {
                tracing::debug!(slot = %attempt.slot, attempt = grant.number, "claimed");
                let claim = attempt.claim(grant);
                Admission::Proceed(Held::new(claim, terms, named, sent, lost_until, &self.clock))
            }
            Ok(Reply::Found(found)) => Admission::Answer(answer(found)),
            Ok(_) => self.unavailable(attempt, terms, named, sent, call.lost),
            Err(error) => {
                tracing::warn!(slot = %attempt.slot, error = %Chain(&error), "begin failed");
                match error.kind() {
                    ErrorKind::Corrupt => refuse(Rejection::RecordCorrupt),
                    ErrorKind::Unsupported => refuse(Rejection::RecordUnsupported),
                    _ => self.unavailable(attempt, terms, named, sent, call.lost),
                }
            }
        }
    }

    /// The store cannot protect this request: refuse it, or run it all the same where that was
    /// asked for. An attempt that was given up on and never starts is cancelled (rule C5).
    fn unavailable(
        self: &Arc<Self>,
        attempt: Attempt,
        terms: Terms,
        named: (IdempotencyKey, Arc<str>),
        sent: Duration,
        lost: bool,
    ) -> Admission {
        if terms.run_unprotected {
            tracing::warn!(slot = %attempt.slot, "running unprotected");
            let fence = FenceToken::at(Timestamp::from_micros(0).after(self.clock.unix()));
            let claim = attempt.claim(Grant { number: 1, fence });
            return Admission::Proceed(Held::unprotected(claim, terms, named, &self.clock));
        }
        if lost {
            let engine = Arc::clone(self);
            self.work.spawn(async move { engine.cancel(attempt, sent, terms.max_run).await });
        }
        refuse(Rejection::unavailable())
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

    /// Makes the conclusion of a run the slot's, and tells what to answer.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        held: Arc<Held>,
        conclusion: Conclusion,
    ) -> Settled {
        if !held.is_protected() {
            let engine = Arc::clone(self);
            self.work.spawn(async move { engine.settle_late(&held, &conclusion).await });
            return Settled::Answer;
        }
        let begin_may_land = held.lost_until.is_some_and(|at| self.clock.monotonic() < at);
        if begin_may_land && matches!(conclusion, Conclusion::Free(_)) {
            let engine = Arc::clone(self);
            self.work.spawn(async move { engine.settle_late(&held, &conclusion).await });
            return Settled::Answer;
        }
        match self.settle_call(&held, &conclusion).await {
            Ok(Reply::Applied) => Settled::Answer,
            Ok(Reply::Fenced(found)) => {
                tracing::warn!(slot = %held.slot(), "the claim was lost while the handler ran");
                Settled::Instead(answer(found))
            }
            Ok(_) => self.unsettled(held, conclusion),
            Err(error) => {
                tracing::warn!(slot = %held.slot(), error = %Chain(&error), "not settled yet");
                match error.kind() {
                    ErrorKind::Corrupt | ErrorKind::Unsupported => Settled::Unstored,
                    _ => self.unsettled(held, conclusion),
                }
            }
        }
    }

    /// The store did not take the outcome: keep trying, and answer what is still safe to answer
    /// (semantics, rule 27).
    fn unsettled(self: &Arc<Self>, held: Arc<Held>, conclusion: Conclusion) -> Settled {
        let safe = held.terms.guarantee == Guarantee::AtMostOnce || held.is_live();
        let settled = match (&conclusion, safe) {
            (Conclusion::Free(_), _) => Settled::Answer,
            (Conclusion::Keep(_), true) => Settled::Unstored,
            (Conclusion::Keep(_), false) => {
                Settled::Instead(Answer::Reject(Rejection::unavailable()))
            }
        };
        let engine = Arc::clone(self);
        self.work.spawn(async move { engine.settle_late(&held, &conclusion).await });
        settled
    }

    /// Settles in the background: in short steps until the lease would lapse, then once a lease
    /// until `max_run`.
    async fn settle_late(&self, held: &Held, conclusion: &Conclusion) {
        if let Some(wait) = held.lost_until.and_then(|at| at.checked_sub(self.clock.monotonic())) {
            tokio::time::sleep(wait).await;
        }
        let lease = held.claim.attempt().lease;
        let mut pause = FIRST_PAUSE;
        for _ in 0..held.terms.completion_tries {
            match self.settle_call(held, conclusion).await {
                Ok(Reply::Late) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(slot = %held.slot(), error = %Chain(&error), "not settled yet");
                    if !error.is_transient() {
                        break;
                    }
                }
            }
            if held.age() > held.terms.max_run.max(lease) {
                break;
            }
            pause = if held.age() < lease { (pause * 2).min(LONGEST_PAUSE) } else { lease };
            tokio::time::sleep(pause).await;
        }
        tracing::error!(slot = %held.slot(), "gave up storing the outcome; the lease will lapse");
    }

    async fn settle_call(&self, held: &Held, conclusion: &Conclusion) -> Result<Reply, Error> {
        let call = match conclusion {
            Conclusion::Free(ran) => self.release(held.claim.attempt(), *ran).await,
            Conclusion::Keep(outcome) => {
                self.persist(Operation::Complete, |within| {
                    self.store.complete(&held.claim, outcome, within)
                })
                .await
            }
        };
        call.result
    }

    /// Frees the slot of an attempt whose `begin` was given up on, once no copy of it can land.
    async fn cancel(&self, attempt: Attempt, sent: Duration, give_up_after: Duration) {
        let mut pause = self.store_timeout;
        while self.clock.monotonic().saturating_sub(sent) < give_up_after {
            tokio::time::sleep(pause).await;
            if let Ok(Reply::Applied | Reply::Fenced(_)) =
                self.release(&attempt, Ran::No).await.result
            {
                return;
            }
            pause = (pause * 2).min(attempt.lease);
        }
    }

    async fn release(&self, attempt: &Attempt, ran: Ran) -> Call {
        // Twice the lease or four time-outs: longer than any deadline of this attempt's calls.
        let tombstone = (attempt.lease * 2).max(self.store_timeout * 4);
        self.persist(Operation::Release, |within| {
            self.store.release(attempt, ran, tombstone, within)
        })
        .await
    }

    async fn begin_call(&self, attempt: &Attempt) -> Call {
        self.persist(Operation::Begin, |within| self.store.begin(attempt, within)).await
    }

    /// Calls a verb, repeating it while the store may still answer in time. The nonce makes the
    /// repeats harmless.
    async fn persist<'a, F>(&'a self, verb: Operation, call: impl Fn(Duration) -> F + Send) -> Call
    where
        F: Future<Output = Result<Reply, Error>> + Send + 'a,
    {
        let begun = self.clock.monotonic();
        let mut pause = FIRST_PAUSE;
        let mut lost = false;
        loop {
            let spent = self.clock.monotonic().saturating_sub(begun);
            let left = self.store_timeout.saturating_sub(spent);
            let result = match tokio::time::timeout(left, call(left)).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(ErrorKind::TimedOut, verb, Effect::Unknown)),
            };
            lost |= result.as_ref().is_err_and(|error| error.effect() == Effect::Unknown);
            let passing = match &result {
                Ok(reply) => *reply == Reply::Late,
                Err(error) => matches!(
                    error.kind(),
                    ErrorKind::Unreachable
                        | ErrorKind::TimedOut
                        | ErrorKind::NotReady
                        | ErrorKind::ReadOnly
                ),
            };
            let spent = self.clock.monotonic().saturating_sub(begun);
            if !passing || spent + pause >= self.store_timeout {
                return Call { result, lost };
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

const fn refuse(rejection: Rejection) -> Admission {
    Admission::Answer(Answer::Reject(rejection))
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

/// The last answer to a repeated call, and whether a copy of it may still be under way.
struct Call {
    result: Result<Reply, Error>,
    lost: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("store", &self.store).finish_non_exhaustive()
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
