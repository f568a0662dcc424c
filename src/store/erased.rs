use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use super::{Error, Seen, Store};
use crate::protocol::{Attempt, Claim, FenceToken, Outcome, Ran, Reply, Slot};

type Answer<'a, T = Reply> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// [`Store`] as an object, so that no type of this crate carries the store's type.
pub(crate) trait ErasedStore: Send + Sync + fmt::Debug {
    fn begin<'a>(&'a self, attempt: &'a Attempt, within: Duration) -> Answer<'a>;
    fn renew<'a>(&'a self, claim: &'a Claim, within: Duration) -> Answer<'a>;
    fn complete<'a>(
        &'a self,
        claim: &'a Claim,
        outcome: &'a Outcome,
        within: Duration,
    ) -> Answer<'a>;
    fn release<'a>(
        &'a self,
        attempt: &'a Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Answer<'a>;
    fn look(&self, slot: Slot, within: Duration) -> Answer<'_, Seen>;
    fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Answer<'_, Seen>;
    fn resolve<'a>(
        &'a self,
        slot: Slot,
        fence: FenceToken,
        outcome: &'a Outcome,
        retention: Duration,
        within: Duration,
    ) -> Answer<'a>;
}

impl<S: Store> ErasedStore for S {
    fn begin<'a>(&'a self, attempt: &'a Attempt, within: Duration) -> Answer<'a> {
        Box::pin(Store::begin(self, attempt, within))
    }
    fn renew<'a>(&'a self, claim: &'a Claim, within: Duration) -> Answer<'a> {
        Box::pin(Store::renew(self, claim, within))
    }
    fn complete<'a>(
        &'a self,
        claim: &'a Claim,
        outcome: &'a Outcome,
        within: Duration,
    ) -> Answer<'a> {
        Box::pin(Store::complete(self, claim, outcome, within))
    }
    fn release<'a>(
        &'a self,
        attempt: &'a Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Answer<'a> {
        Box::pin(Store::release(self, attempt, ran, tombstone, within))
    }
    fn look(&self, slot: Slot, within: Duration) -> Answer<'_, Seen> {
        Box::pin(Store::look(self, slot, within))
    }
    fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Answer<'_, Seen> {
        Box::pin(Store::watch(self, slot, fence, within))
    }
    fn resolve<'a>(
        &'a self,
        slot: Slot,
        fence: FenceToken,
        outcome: &'a Outcome,
        retention: Duration,
        within: Duration,
    ) -> Answer<'a> {
        Box::pin(Store::resolve(self, slot, fence, outcome, retention, within))
    }
}
