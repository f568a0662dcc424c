//! The stores under test: memory with a clock that is set by hand, and Redis with its own; each of
//! them as it is, and behind a near cache.

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::clock::ManualClock;
use tower_idempotency::store::{MemoryStore, NearCache, RedisStore, Store};

/// A store under test, and its time.
pub trait Harness {
    fn store(&self) -> &impl Store;
    async fn advance(&self, span: Duration);
}

pub struct Memory<S = MemoryStore> {
    store: S,
    clock: Arc<ManualClock>,
}

impl Memory {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: MemoryStore::with_clock(Arc::clone(&clock)), clock }
    }
}

impl Memory<NearCache<MemoryStore>> {
    pub fn near() -> Self {
        let Memory { store, clock } = Memory::new();
        Self { store: NearCache::with_clock(store, Arc::clone(&clock)), clock }
    }
}

impl<S: Store> Harness for Memory<S> {
    fn store(&self) -> &impl Store {
        &self.store
    }
    async fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }
}

pub struct Redis<S = RedisStore>(S);

impl Redis {
    pub fn new() -> Self {
        Self(crate::support::redis::redis())
    }

    pub fn valkey() -> Self {
        Self::at(&crate::support::redis::shared_valkey().url())
    }

    pub fn sentinel() -> Self {
        Self::at(&crate::support::sentinel::shared().url())
    }

    pub fn cluster() -> Self {
        Self::at(&crate::support::cluster::shared().url())
    }

    fn at(url: &str) -> Self {
        let prefix = format!("contract-{:016x}", rand::random::<u64>());
        Self(RedisStore::connect(url).expect("a valid address").prefix(prefix))
    }
}

impl Redis<NearCache<RedisStore>> {
    pub fn near() -> Self {
        Self(NearCache::new(crate::support::redis::redis()))
    }
}

impl<S: Store> Harness for Redis<S> {
    fn store(&self) -> &impl Store {
        &self.0
    }
    async fn advance(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
