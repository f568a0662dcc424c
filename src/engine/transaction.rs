use std::sync::Arc;

use super::call::Chain;
use super::joint::{Ended, Joint};
use super::settle::announce;
use super::wait::Ticket;
use super::{Answer, Conclusion, Engine, Held, Rejection, Settled};
use crate::protocol::{Found, Outcome, Ran, Reply};
use crate::store::{Error, ErrorKind, Uncommitted, Writes};

impl Engine {
    /// Settles a claim in the transaction in which its handler worked. `None` if there is none, or
    /// no more: then it is settled without.
    pub(super) async fn settle_jointly(
        self: &Arc<Self>,
        joint: &Joint,
        held: &Arc<Held>,
        conclusion: &Conclusion,
        ticket: &mut Ticket,
    ) -> Option<Settled> {
        let ended = joint.end();
        let outcome = match (conclusion, &ended) {
            (_, Ended::Never) => return None,
            (Conclusion::Keep(outcome), _) => outcome,
            (Conclusion::Free(_), _) => {
                self.roll_back(ended).await;
                return None;
            }
        };
        let Ended::Here(transaction) = ended else {
            tracing::error!(slot = %held.slot(), "the handler has kept its transaction or its recovery points, which end now");
            let failed = Rejection::HandlerFailed { retryable: true };
            return Some(self.fence(held, outcome, failed, ticket).await);
        };
        let writes = match outcome.status() {
            ..400 => Writes::Keep,
            _ => held.terms.refused_writes,
        };
        let commit = transaction.commit(&held.claim, outcome, writes, self.store_timeout);
        match commit.await {
            Ok(()) => {
                announce(ticket.take(), held, conclusion);
                Some(Settled::Answer)
            }
            Err(Uncommitted { lost_a_race: true, .. }) if joint.may_try_again() => {
                joint.reopen();
                Some(Settled::Again)
            }
            Err(Uncommitted { error, .. }) => {
                tracing::warn!(slot = %held.slot(), error = %Chain(&error), "not committed");
                Some(self.fence(held, outcome, uncommitted(&error), ticket).await)
            }
        }
    }

    /// Rolls a transaction back that has lost against others, so that its handler can run again.
    pub(crate) async fn start_over(&self, held: &Held) {
        if let Some(joint) = &held.joint {
            self.roll_back(joint.end()).await;
            joint.reopen();
        }
    }

    async fn roll_back(&self, ended: Ended) {
        if let Ended::Here(transaction) = ended {
            transaction.roll_back(self.store_timeout).await;
        }
    }

    /// Nothing is said before it is certain what became of a transaction: once its claim is released it
    /// can never be committed, since that fails then; and if it has been, the claim is not released.
    async fn fence(
        self: &Arc<Self>,
        held: &Arc<Held>,
        outcome: &Outcome,
        never_committed: Rejection,
        ticket: &mut Ticket,
    ) -> Settled {
        if let Some(wait) = held.begin_may_land_for(self.clock.monotonic()) {
            tokio::time::sleep(wait).await;
        }
        match self.release(held.claim.attempt(), Ran::Maybe).await.result {
            Ok(Reply::Applied) => Settled::Instead(Answer::Reject(never_committed)),
            Ok(Reply::Fenced(Found::Completed { outcome: stored, .. })) if stored == *outcome => {
                announce(ticket.take(), held, &Conclusion::Keep(stored));
                Settled::Answer
            }
            Ok(Reply::Fenced(found)) => {
                Settled::Instead(self.instead(held, found, ticket.take()).await)
            }
            Ok(_) | Err(_) => {
                self.settle_in_background(held, &Conclusion::Free(Ran::Maybe), ticket.take());
                Settled::Instead(Answer::Reject(Rejection::unavailable()))
            }
        }
    }
}

/// What a client is told whose operation has been rolled back.
fn uncommitted(error: &Error) -> Rejection {
    match error.kind() {
        // A constraint that is checked at the end, a statement that had failed before.
        ErrorKind::Refused => Rejection::HandlerFailed { retryable: true },
        _ => Rejection::unavailable(),
    }
}
