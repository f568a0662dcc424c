//! Two that share a store and do not see each other.

use std::time::Duration;

use rand::RngExt as _;
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Nonce, Outcome, Ran, Reply, Slot, Verb,
};
use tower_idempotency::store::{BoxStore, Error, Seen, Store};

use crate::verbs::{call, store_by_verbs};

/// A part of a store: its slots lie elsewhere than those of any other part.
///
/// In the other part, somebody else has always been there first: whatever comes to a slot here, the
/// same slot there is in use by another request. No case may notice.
#[derive(Debug)]
pub struct Namespaced {
    store: BoxStore,
    here: [u8; 16],
    there: [u8; 16],
}

impl Namespaced {
    pub fn new(store: BoxStore) -> Self {
        Self { store, here: rand::rng().random(), there: rand::rng().random() }
    }

    async fn run(&self, slot: Slot, verb: Verb<'_>, within: Duration) -> Result<Reply, Error> {
        self.occupy(slot, &verb, within).await?;
        let slot = moved(slot, self.here);
        let attempt = |attempt: &Attempt| Attempt { slot, ..attempt.clone() };
        let claim = |claim: &Claim| attempt(claim.attempt()).claim(claim.grant());
        match verb {
            Verb::Begin(begins) => self.store.begin(&attempt(begins), within).await,
            Verb::Renew(renewed) => self.store.renew(&claim(renewed), within).await,
            Verb::Complete(completed, outcome) => {
                self.store.complete(&claim(completed), outcome, within).await
            }
            Verb::Release { attempt: released, ran, tombstone } => {
                self.store.release(&attempt(released), ran, tombstone, within).await
            }
            resolve @ Verb::Resolve { .. } => call(&self.store, slot, resolve, within).await,
        }
    }

    /// Somebody else claims the same slot in the other namespace, for ever.
    async fn occupy(&self, slot: Slot, verb: &Verb<'_>, within: Duration) -> Result<(), Error> {
        if let Verb::Begin(attempt) = verb {
            let other = Attempt {
                slot: moved(slot, self.there),
                nonce: Nonce::from_bytes([0; 16]),
                lease: Duration::MAX,
                retention: Duration::MAX,
                ..(*attempt).clone()
            };
            self.store.begin(&other, within).await?;
        }
        Ok(())
    }

    async fn seen(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        self.store.look(moved(slot, self.here), within).await
    }

    async fn watched(
        &self,
        slot: Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        self.store.watch(moved(slot, self.here), fence, within).await
    }
}

/// Where a slot lies in a namespace.
fn moved(slot: Slot, namespace: [u8; 16]) -> Slot {
    let mut bytes = *slot.as_bytes();
    bytes.iter_mut().zip(namespace).for_each(|(byte, by)| *byte ^= by);
    Slot::from_bytes(bytes)
}

store_by_verbs!(Namespaced);
