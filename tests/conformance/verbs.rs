//! A decorator has one way for all verbs that change a slot.

use std::time::Duration;

use tower_idempotency::protocol::{Reply, Slot, Verb};
use tower_idempotency::store::{Error, Store};

/// The store of a type with `run`, `seen` and `watched`: one for all that change a slot, and two for
/// those that only tell.
macro_rules! store_by_verbs {
    ($store:ty) => {
        impl Store for $store {
            async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
                self.run(attempt.slot, Verb::Begin(attempt), within).await
            }
            async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
                self.run(claim.attempt().slot, Verb::Renew(claim), within).await
            }
            async fn complete(
                &self,
                claim: &Claim,
                outcome: &Outcome,
                within: Duration,
            ) -> Result<Reply, Error> {
                self.run(claim.attempt().slot, Verb::Complete(claim, outcome), within).await
            }
            async fn release(
                &self,
                attempt: &Attempt,
                ran: Ran,
                tombstone: Duration,
                within: Duration,
            ) -> Result<Reply, Error> {
                let verb = Verb::Release { attempt, ran, tombstone };
                self.run(attempt.slot, verb, within).await
            }
            async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
                self.seen(slot, within).await
            }
            async fn watch(
                &self,
                slot: Slot,
                fence: FenceToken,
                within: Duration,
            ) -> Result<Seen, Error> {
                self.watched(slot, fence, within).await
            }
            async fn resolve(
                &self,
                slot: Slot,
                fence: FenceToken,
                outcome: &Outcome,
                retention: Duration,
                within: Duration,
            ) -> Result<Reply, Error> {
                self.run(slot, Verb::Resolve { fence, outcome, retention }, within).await
            }
        }
    };
}
pub(crate) use store_by_verbs;

/// Calls a store by a verb.
pub async fn call(
    store: &impl Store,
    slot: Slot,
    verb: Verb<'_>,
    within: Duration,
) -> Result<Reply, Error> {
    match verb {
        Verb::Begin(attempt) => store.begin(attempt, within).await,
        Verb::Renew(claim) => store.renew(claim, within).await,
        Verb::Complete(claim, outcome) => store.complete(claim, outcome, within).await,
        Verb::Release { attempt, ran, tombstone } => {
            store.release(attempt, ran, tombstone, within).await
        }
        Verb::Resolve { fence, outcome, retention } => {
            store.resolve(slot, fence, outcome, retention, within).await
        }
    }
}
