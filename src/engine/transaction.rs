use std::sync::Arc;

use super::call::Chain;
use super::joint::{Ended, Joint};
use super::settle::announce;
use super::wait::Ticket;
use super::{Answer, Conclusion, Engine, Held, Rejection, Settled};
use crate::protocol::{Found, Ran, Reply};
use crate::store::{Effect, Error, ErrorKind, Uncommitted, Writes};

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
        let ended = end(joint, held);
        let outcome = match (conclusion, &ended) {
            (_, Ended::Never) => return None,
            (Conclusion::Keep(outcome), _) => outcome,
            (Conclusion::Free(_), _) => {
                self.roll_back(ended).await;
                return None;
            }
        };
        let Ended::Here(transaction) = ended else {
            let failed = Rejection::HandlerFailed { retryable: true };
            return Some(self.fence(held, conclusion, (Effect::None, failed), ticket).await);
        };
        let writes = match outcome.status() {
            ..400 => Writes::Keep,
            _ => held.terms.refused_writes,
        };
        let commit = transaction.commit(&held.claim, outcome, writes, self.store_timeout);
        match commit.await {
            Ok(()) => {
                joint.transactions.tell(&held.slot());
                announce(ticket.take(), held, conclusion);
                Some(Settled::Answer)
            }
            Err(Uncommitted { lost_a_race: true, .. })
                if held.is_live() && joint.may_try_again() =>
            {
                joint.reopen();
                Some(Settled::Again)
            }
            Err(Uncommitted { error, .. }) => {
                tracing::warn!(slot = %held.slot(), error = %Chain(&error), "not committed");
                let uncommitted = (error.effect(), uncommitted(&error));
                Some(self.fence(held, conclusion, uncommitted, ticket).await)
            }
        }
    }

    /// Rolls a transaction back that has lost against others, so that its handler can run again. Where
    /// somebody keeps it, there is no other for the next run.
    pub(crate) async fn start_over(&self, held: &Held) {
        let Some(joint) = &held.joint else { return };
        match end(joint, held) {
            Ended::Kept => {}
            ended => {
                self.roll_back(ended).await;
                joint.reopen();
            }
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
        conclusion: &Conclusion,
        (effect, never_committed): (Effect, Rejection),
        ticket: &mut Ticket,
    ) -> Settled {
        if let Some(wait) = held.begin_may_land_for(self.clock.monotonic()) {
            tokio::time::sleep(wait).await;
        }
        match self.release(held.claim.attempt(), Ran::Maybe).await.result {
            Ok(Reply::Applied) => Settled::Instead(Answer::Reject(never_committed)),
            Ok(Reply::Fenced(Found::Completed { .. }))
                if effect == Effect::Unknown && self.is_committed(held).await =>
            {
                announce(ticket.take(), held, conclusion);
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

    /// Whether the outcome in the record is that of this claim, and not one that another worker has
    /// stored meanwhile.
    async fn is_committed(&self, held: &Held) -> bool {
        let seen = self.look(held.slot()).await.and_then(|seen| seen.record);
        seen.is_some_and(|record| record.fence == held.claim.grant().fence)
    }
}

/// Ends the use of a transaction, and says so where somebody goes on.
fn end(joint: &Joint, held: &Held) -> Ended {
    let ended = joint.end();
    if let Ended::Kept = ended {
        tracing::error!(slot = %held.slot(), "the handler has kept its transaction or its recovery points, which end now");
    }
    ended
}

/// What a client is told whose operation has been rolled back.
fn uncommitted(error: &Error) -> Rejection {
    match error.kind() {
        // A constraint that is checked at the end, a statement that had failed before.
        ErrorKind::Refused => Rejection::HandlerFailed { retryable: true },
        _ => Rejection::unavailable(),
    }
}
