use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::call::{Call, Chain, FIRST_PAUSE};
use super::running::Proof;
use super::wait::Ticket;
use super::{Answer, Conclusion, Engine, Held, Rejection, Settled, answer};
use crate::protocol::{Attempt, Found, Guarantee, Ran, Reply};
use crate::store::{Error, ErrorKind, Operation, Store};

/// The longest pause between repeats while the lease is live.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Engine {
    /// Makes the conclusion of a run the slot's, and tells what to answer.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        held: &Arc<Held>,
        conclusion: &Conclusion,
        ticket: &mut Ticket,
    ) -> Settled {
        if let Some(joint) = &held.joint
            && let Some(settled) =
                Box::pin(self.settle_jointly(joint, held, conclusion, ticket)).await
        {
            return settled;
        }
        if let Proof::None { recorded, .. } = held.proof {
            // Those who wait here would only run unprotected as well.
            announce(ticket.take(), held, conclusion);
            if recorded {
                let size = match conclusion {
                    Conclusion::Keep(outcome) => outcome.size(),
                    Conclusion::Free(_) => 0,
                };
                let kibibytes = u32::try_from(2 + size / 1024).unwrap_or(u32::MAX);
                let (engine, held) = (Arc::clone(self), Arc::clone(held));
                let conclusion = conclusion.clone();
                self.as_far_as(&self.unclaimed, kibibytes, async move {
                    engine.settle_late(&held, &conclusion).await;
                });
            }
            return Settled::Answer;
        }
        if matches!(conclusion, Conclusion::Free(_))
            && held.begin_may_land_for(self.clock.monotonic()).is_some()
        {
            self.settle_in_background(held, conclusion, ticket.take());
            return Settled::Answer;
        }
        match self.settle_call(held, conclusion).await {
            Ok(Reply::Applied) => {
                announce(ticket.take(), held, conclusion);
                Settled::Answer
            }
            Ok(Reply::Fenced(found)) => {
                tracing::warn!(slot = %held.slot(), "the claim was lost while the handler ran");
                Settled::Instead(Box::pin(self.instead(held, found, ticket.take())).await)
            }
            Ok(_) => self.unsettled(held, conclusion, ticket.take()),
            Err(error) => {
                tracing::warn!(slot = %held.slot(), error = %Chain(&error), "not settled yet");
                self.unsettled(held, conclusion, ticket.take())
            }
        }
    }

    /// The answer of a worker that lost its claim: the winner's (rule C6).
    pub(super) async fn instead(&self, held: &Held, found: Found, ticket: Ticket) -> Answer {
        let awaited = match (&found, held.terms.wait) {
            (Found::Busy { fence, .. }, Some(max)) => {
                self.await_outcome(held.claim.attempt(), *fence, max).await
            }
            _ => None,
        };
        let answer = awaited.unwrap_or_else(|| answer(found));
        if let Answer::Replay(..) = answer {
            ticket.announce(&answer, &held.claim.attempt().fingerprint);
        }
        answer
    }

    /// The store did not take the outcome: keep trying, and answer what is still safe to answer
    /// (semantics, rule 27).
    fn unsettled(
        self: &Arc<Self>,
        held: &Arc<Held>,
        conclusion: &Conclusion,
        ticket: Ticket,
    ) -> Settled {
        // At most once nobody else will run, unless a hook says so once the lease has lapsed.
        let alone = held.guarantee() == Guarantee::AtMostOnce && !held.terms.recovers;
        let safe = alone || held.is_live();
        let settled = match (conclusion, safe) {
            (Conclusion::Free(_), _) => Settled::Answer,
            (Conclusion::Keep(_), true) => Settled::Unstored,
            (Conclusion::Keep(_), false) => {
                Settled::Instead(Answer::Reject(Rejection::unavailable()))
            }
        };
        self.settle_in_background(held, conclusion, ticket);
        settled
    }

    pub(super) fn settle_in_background(
        self: &Arc<Self>,
        held: &Arc<Held>,
        conclusion: &Conclusion,
        ticket: Ticket,
    ) {
        let (engine, held) = (Arc::clone(self), Arc::clone(held));
        let conclusion = conclusion.clone();
        self.work.spawn(async move {
            engine.settle_late(&held, &conclusion).await;
            // What the record says by then, the next finds out.
            drop(ticket);
        });
    }

    /// Settles in the background: in short steps until the lease would lapse, or for a lease where
    /// there is none, then once a lease until `max_run`.
    async fn settle_late(&self, held: &Held, conclusion: &Conclusion) {
        if let Some(wait) = held.begin_may_land_for(self.clock.monotonic()) {
            tokio::time::sleep(wait).await;
        }
        let begun = self.clock.monotonic();
        let lease = held.claim.attempt().lease;
        let mut pause = FIRST_PAUSE;
        for _ in 0..held.terms.completion_tries {
            match self.settle_call(held, conclusion).await {
                Ok(Reply::Late) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(slot = %held.slot(), error = %Chain(&error), "not settled yet");
                    if error.kind() == ErrorKind::Corrupt {
                        break;
                    }
                }
            }
            let spent = self.clock.monotonic().saturating_sub(begun);
            if !held.is_live() && spent > held.terms.max_run.max(lease) {
                break;
            }
            let soon = held.is_live() || (!held.is_protected() && spent < lease);
            pause = if soon { (pause * 2).min(LONGEST_PAUSE) } else { lease };
            tokio::time::sleep(pause).await;
        }
        tracing::error!(slot = %held.slot(), "gave up storing the outcome; the lease will lapse");
    }

    async fn settle_call(&self, held: &Held, conclusion: &Conclusion) -> Result<Reply, Error> {
        let outcome = match conclusion {
            Conclusion::Free(ran) => {
                return Box::pin(self.release(held.claim.attempt(), *ran)).await.result;
            }
            Conclusion::Keep(outcome) => outcome,
        };
        let complete = |within| self.store.complete(&held.claim, outcome, within);
        self.repeat(Operation::Complete, self.store_timeout, complete).await.result
    }

    /// Frees the slot of an attempt that never starts, once no copy of its `begin` can land.
    pub(super) fn cancel_later(self: &Arc<Self>, attempt: Attempt) {
        let engine = Arc::clone(self);
        self.as_far_as(&self.cancels, 1, async move {
            let begun = engine.clock.monotonic();
            let mut pause = engine.store_timeout;
            // A record that is not cancelled by then has expired.
            while engine.clock.monotonic().saturating_sub(begun) < attempt.retention {
                tokio::time::sleep(pause).await;
                if let Ok(Reply::Applied | Reply::Fenced(_)) =
                    engine.release(&attempt, Ran::No).await.result
                {
                    return;
                }
                pause = pause.saturating_mul(2).min(attempt.lease);
            }
        });
    }

    /// Does in the background what nobody waits for, as far as not too much of its kind is waiting
    /// for the store already.
    fn as_far_as(
        &self,
        limit: &Arc<Semaphore>,
        weight: u32,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        match Arc::clone(limit).try_acquire_many_owned(weight) {
            Ok(permit) => drop(self.work.spawn(async move {
                work.await;
                drop(permit);
            })),
            Err(_) => tracing::warn!("too much waits for the store; this is left to its lease"),
        }
    }

    pub(super) async fn release(&self, attempt: &Attempt, ran: Ran) -> Call {
        // Twice the lease or four time-outs: longer than any deadline of this attempt's calls.
        let tombstone = attempt.lease.saturating_mul(2).max(self.store_timeout.saturating_mul(4));
        self.repeat(Operation::Release, self.store_timeout, |within| {
            self.store.release(attempt, ran, tombstone, within)
        })
        .await
    }
}

/// Gives those who wait the outcome that the record has now. A freed key has none: the next asks.
pub(super) fn announce(ticket: Ticket, held: &Held, conclusion: &Conclusion) {
    if let Conclusion::Keep(outcome) = conclusion
        && !ticket.is_none()
    {
        let answer = Answer::Replay(outcome.clone(), Duration::ZERO);
        ticket.announce(&answer, &held.claim.attempt().fingerprint);
    }
}
