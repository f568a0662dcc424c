use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use super::{Error, MemoryStore, Seen, Store, Transactions};
use crate::protocol::{Attempt, Claim, FenceToken, Outcome, Ran, Reply, Slot};

type Answer<'a, T = Reply> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A store of whatever type behind a pointer: for programs that choose theirs when they start. A
/// layer keeps its store in one, so that its own type does not carry the store's.
///
/// Each call costs an allocation, which is small beside a trip over a network. A [`MemoryStore`] is
/// called without.
///
/// ```
/// use tower_idempotency::store::BoxStore;
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};
///
/// # let small = true;
/// let store = match small {
///     true => BoxStore::new(MemoryStore::new().max_records(1000)),
///     false => BoxStore::new(std::sync::Arc::new(MemoryStore::new())),
/// };
/// let layer = IdempotencyLayer::new(store, Tenant::single());
/// # let _ = layer;
/// ```
pub struct BoxStore(Kind);

enum Kind {
    /// Its calls are so short that an allocation would be a good part of each.
    Memory(MemoryStore),
    Other(Box<dyn ErasedStore>),
}

impl BoxStore {
    /// This store behind a pointer.
    #[expect(clippy::missing_panics_doc, reason = "a store is of its own type")]
    pub fn new<S: Store>(store: S) -> Self {
        let store: Box<dyn Any> = Box::new(store);
        let store = match store.downcast::<Self>() {
            Ok(boxed_already) => return *boxed_already,
            Err(store) => store,
        };
        Self(match store.downcast::<MemoryStore>() {
            Ok(memory) => Kind::Memory(*memory),
            Err(store) => Kind::Other(store.downcast::<S>().expect("a store is of its own type")),
        })
    }
}

impl fmt::Debug for BoxStore {
    /// That of the store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Memory(store) => store.fmt(f),
            Kind::Other(store) => store.fmt(f),
        }
    }
}

/// [`Store`] as an object.
trait ErasedStore: Send + Sync + fmt::Debug {
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
    fn transactions(&self) -> Option<Transactions>;
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
    fn transactions(&self) -> Option<Transactions> {
        Store::transactions(self)
    }
}

impl Store for BoxStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        match &self.0 {
            Kind::Memory(store) => Store::begin(store, attempt, within).await,
            Kind::Other(store) => ErasedStore::begin(&**store, attempt, within).await,
        }
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        match &self.0 {
            Kind::Memory(store) => Store::renew(store, claim, within).await,
            Kind::Other(store) => ErasedStore::renew(&**store, claim, within).await,
        }
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        match &self.0 {
            Kind::Memory(store) => Store::complete(store, claim, outcome, within).await,
            Kind::Other(store) => ErasedStore::complete(&**store, claim, outcome, within).await,
        }
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        match &self.0 {
            Kind::Memory(store) => Store::release(store, attempt, ran, tombstone, within).await,
            Kind::Other(store) => {
                ErasedStore::release(&**store, attempt, ran, tombstone, within).await
            }
        }
    }
    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        match &self.0 {
            Kind::Memory(store) => Store::look(store, slot, within).await,
            Kind::Other(store) => ErasedStore::look(&**store, slot, within).await,
        }
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        match &self.0 {
            Kind::Memory(store) => Store::watch(store, slot, fence, within).await,
            Kind::Other(store) => ErasedStore::watch(&**store, slot, fence, within).await,
        }
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        match &self.0 {
            Kind::Memory(store) => {
                Store::resolve(store, slot, fence, outcome, retention, within).await
            }
            Kind::Other(store) => {
                ErasedStore::resolve(&**store, slot, fence, outcome, retention, within).await
            }
        }
    }
    fn transactions(&self) -> Option<Transactions> {
        match &self.0 {
            Kind::Memory(store) => Store::transactions(store),
            Kind::Other(store) => ErasedStore::transactions(&**store),
        }
    }
}
