//! The stores under test: memory with a clock that is set by hand, and Redis with its own.

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::clock::ManualClock;
use tower_idempotency::store::{MemoryStore, RedisStore, Store};

/// A store under test, and its time.
pub trait Harness {
    fn store(&self) -> &impl Store;
    async fn advance(&self, span: Duration);
}

pub struct Memory {
    store: MemoryStore,
    clock: Arc<ManualClock>,
}

impl Memory {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: MemoryStore::with_clock(Arc::clone(&clock)), clock }
    }
}

impl Harness for Memory {
    fn store(&self) -> &impl Store {
        &self.store
    }
    async fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }
}

pub struct Redis(RedisStore);

impl Redis {
    pub fn new() -> Self {
        Self(crate::support::redis::redis())
    }
}

impl Harness for Redis {
    fn store(&self) -> &impl Store {
        &self.0
    }
    async fn advance(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
