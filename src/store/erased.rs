use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use super::{Error, Store};
use crate::protocol::{Attempt, Claim, Outcome, Ran, Reply};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send + 'a>>;

/// [`Store`] as an object, so that no type of this crate carries the store's type. Only what the
/// engine calls.
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
}
