//! Every call happens, its reply is lost, and it is sent again.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Found, Outcome, Ran, Reply, Slot, Verb,
};
use tower_idempotency::store::{BoxStore, Error, Seen, Store};

use crate::verbs::{call, store_by_verbs};

/// A store whose callers only ever get the reply to the second copy of a call.
///
/// Where the contract words that reply differently, since the first copy did it all, it is put into
/// the words of the first: that is what the caller makes of it.
#[derive(Debug)]
pub struct LossyStore(pub BoxStore);

impl LossyStore {
    async fn run(&self, slot: Slot, verb: Verb<'_>, within: Duration) -> Result<Reply, Error> {
        let lost = call(&self.0, slot, verb.clone(), within).await;
        let reply = call(&self.0, slot, verb.clone(), within).await?;
        Ok(match (lost, verb, reply) {
            (Ok(Reply::Started(lost)), _, Reply::Mine(grant)) if lost == grant => {
                Reply::Started(grant)
            }
            (Ok(Reply::Reclaimed(lost)), _, Reply::Mine(grant)) if lost == grant => {
                Reply::Reclaimed(grant)
            }
            (
                Ok(Reply::Applied),
                Verb::Resolve { outcome, .. },
                Reply::Fenced(Found::Completed { outcome: kept, .. }),
            ) if *outcome == kept => Reply::Applied,
            (_, _, reply) => reply,
        })
    }

    async fn seen(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        self.0.look(slot, within).await?;
        self.0.look(slot, within).await
    }

    async fn watched(
        &self,
        slot: Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        let dropped = tokio::time::timeout(Duration::ZERO, self.0.watch(slot, fence, within)).await;
        drop(dropped);
        self.0.watch(slot, fence, within).await
    }
}

store_by_verbs!(LossyStore);
