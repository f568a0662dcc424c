use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use super::abandoned::{Abandoned, Finding, Lapsed, Recover};
use super::admission::{Asking, Refused, unable};
use super::running::Proof;
use super::wait::Ticket;
use super::{Conclusion, Engine, Held, Rejection, Run, Terms};
use crate::protocol::{
    Attempt, FenceToken, Fields, Found, Nonce, Outcome, Phase, Ran, Reply, TakeOver,
};
use crate::store::{Operation, Store};

pub(super) enum Recovered {
    /// That abandoned claim may be taken over, and no other.
    Rerun(Question),
    Refused(Refused),
}

/// The right to ask what became of an abandoned claim: a claim of a slot of its own, so that of all
/// servers one asks. It does not touch the abandoned claim: should its worker come back, its outcome
/// counts.
pub(super) struct Question(Arc<Held>);

impl Engine {
    /// Finds out what became of an abandoned claim; of all who meet it, one asks.
    pub(super) async fn recover(
        self: &Arc<Self>,
        asking: &Asking<'_>,
        recover: &Recover,
        lapsed: Lapsed,
    ) -> Recovered {
        let attempt = &*asking.attempt;
        let question = match self.question(asking, lapsed).await {
            Ok(question) => question,
            Err(refused) => return Recovered::Refused(refused),
        };
        // Somebody may have answered between the look that found the claim and the question.
        let refused = match self.look_again(attempt, lapsed.fence).await {
            Err(refused) => refused,
            Ok(()) => match self.ask(&question, asking, recover, lapsed).await {
                Finding::Rerun => return Recovered::Rerun(question),
                Finding::Outcome(outcome) => self.resolve(attempt, lapsed.fence, outcome).await,
                Finding::Unknown => self.unknown(attempt, lapsed).await,
            },
        };
        self.conclude(question, !matches!(refused, Refused::Because(_))).await;
        Recovered::Refused(refused)
    }

    async fn question(
        self: &Arc<Self>,
        asking: &Asking<'_>,
        lapsed: Lapsed,
    ) -> Result<Question, Refused> {
        let abandoned = &*asking.attempt;
        let attempt = Attempt {
            slot: abandoned.slot.recovery(lapsed.fence),
            nonce: Nonce::from_bytes(rand::rng().random()),
            // An answer stands for a lease: the application is not asked again by every retry.
            retention: abandoned.lease,
            take_over: TakeOver::Below(u32::MAX),
            transactional: false,
            ..abandoned.clone()
        };
        let call = self.begin_call(&attempt).await;
        if call.lost {
            self.cancel_later(attempt.clone());
        }
        match call.result {
            Ok(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant))
                if !call.lost =>
            {
                let named = (asking.key.clone(), Arc::clone(asking.tenant));
                let proof = Proof::Claimed { sent: call.sent };
                let claim = attempt.claim(grant);
                // Whoever else asks by then, nobody waits for it.
                let terms = Terms { wait: None, ..asking.terms };
                let held = Held::new(claim, terms, named, proof, None, None, &self.clock);
                Ok(Question(held))
            }
            Ok(Reply::Found(Found::Completed { .. })) => Err(self.unknown(abandoned, lapsed).await),
            Ok(Reply::Found(found)) => Err(Refused::Found(attempt.slot, found)),
            failed => Err(Refused::Because(unable(abandoned, &failed))),
        }
    }

    /// Sees that the claim is still abandoned; what else is in the slot is the answer.
    async fn look_again(&self, attempt: &Attempt, fence: FenceToken) -> Result<(), Refused> {
        let Some(seen) = self.look(attempt.slot).await else {
            return Err(Refused::Because(Rejection::unavailable()));
        };
        let abandoned = seen.running(fence).is_none()
            && seen.record.as_ref().is_some_and(|record| {
                record.fence == fence && matches!(record.phase, Phase::InProgress { .. })
            });
        if abandoned {
            return Ok(());
        }
        let found = seen.record.map_or(Found::Nothing, |record| record.seen_by(attempt, seen.now));
        Err(Refused::Found(attempt.slot, found))
    }

    /// Nobody knows what became of the claim, unless its worker has come back.
    async fn unknown(&self, attempt: &Attempt, lapsed: Lapsed) -> Refused {
        let unknown = || Refused::Found(attempt.slot, lapsed.found());
        self.look_again(attempt, lapsed.fence).await.err().unwrap_or_else(unknown)
    }

    /// Asks the application, under a lease and with a limit. An answer that it does not give is
    /// none.
    async fn ask(
        self: &Arc<Self>,
        Question(held): &Question,
        asking: &Asking<'_>,
        recover: &Recover,
        lapsed: Lapsed,
    ) -> Finding {
        let abandoned = Abandoned {
            tenant: Arc::clone(asking.tenant),
            key: asking.key.clone(),
            slot: asking.attempt.slot,
            fingerprint: asking.attempt.fingerprint.clone(),
            lapsed,
        };
        tracing::info!(slot = %abandoned.slot, attempt = abandoned.attempt(), "abandoned");
        // Called inside, where a panic is caught.
        let mut work = pin!(Some(async { recover(abandoned).await }));
        match self.run(held, &mut Ticket::none(), work.as_mut()).await {
            Run::Finished(finding) => finding,
            Run::Panicked | Run::Stopped => {
                tracing::error!(slot = %held.slot(), "the recovery hook gave no answer");
                Finding::Unknown
            }
        }
    }

    /// Gives the abandoned claim its outcome.
    async fn resolve(&self, attempt: &Attempt, fence: FenceToken, outcome: Outcome) -> Refused {
        let call = self.repeat(Operation::Resolve, self.store_timeout, |within| {
            self.store.resolve(attempt.slot, fence, &outcome, attempt.retention, within)
        });
        match call.await.result {
            Ok(Reply::Applied) => {
                Refused::Found(attempt.slot, Found::Completed { outcome, age: Duration::ZERO })
            }
            // An earlier copy of the call may have resolved it, or somebody has the slot now; even
            // another request, to which the answer is not told.
            Ok(Reply::Fenced(_)) => match self.look_again(attempt, fence).await {
                Err(refused) => refused,
                Ok(()) => Refused::Because(Rejection::unavailable()),
            },
            failed => Refused::Because(unable(attempt, &failed)),
        }
    }

    /// The question has been answered, for everybody who meets the same claim; or it has to be asked
    /// again.
    pub(super) async fn conclude(self: &Arc<Self>, Question(held): Question, answered: bool) {
        let conclusion = if answered {
            Conclusion::Keep(Outcome::Tombstone { status: 200, headers: Fields::none() })
        } else {
            Conclusion::Free(Ran::No)
        };
        drop(self.settle(&held, &conclusion, &mut Ticket::none()).await);
    }
}
