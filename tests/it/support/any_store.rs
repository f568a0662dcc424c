//! Every store under one type, so that one test runs on all of them.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tower_idempotency::MemoryStore;
use tower_idempotency::protocol::{Attempt, Claim, FenceToken, Outcome, Ran, Reply, Slot};
use tower_idempotency::store::{Error, RedisStore, Seen, Store};

/// A fresh store that nobody else uses.
#[derive(Clone, Debug)]
pub enum AnyStore {
    Memory(Arc<MemoryStore>),
    /// The store, and what its keys begin with.
    Redis(Arc<RedisStore>, String),
}

impl AnyStore {
    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::new()))
    }

    /// On the server that all tests share.
    pub fn redis() -> Self {
        let prefix = format!("rules-{:016x}", rand::rng().random::<u64>());
        let store = super::redis::shared().store().prefix(&prefix);
        Self::Redis(Arc::new(store), prefix)
    }

    /// How many records there are, released ones included.
    pub async fn records(&self) -> usize {
        match self {
            Self::Memory(store) => store.len(),
            Self::Redis(..) => self.raw().await.len() / 2,
        }
    }

    /// Everything that a server keeps, as it keeps it: each key, each value.
    pub async fn raw(&self) -> Vec<Vec<u8>> {
        let Self::Redis(_, prefix) = self else { return Vec::new() };
        let mut server = connection().await;
        let keys = keys(&mut server, prefix).await;
        let mut raw = Vec::new();
        for key in keys {
            let value = redis::cmd("GET").arg(&key).query_async(&mut server).await;
            raw.extend([key, value.expect("a value")]);
        }
        raw
    }

    /// Overwrites the first byte of all that a server keeps; memory keeps no bytes.
    pub async fn overwritten(&self, first: u8) {
        let Self::Redis(_, prefix) = self else { return };
        let mut server = connection().await;
        let keys = keys(&mut server, prefix).await;
        for key in keys {
            let mut command = redis::cmd("SETRANGE");
            let command = command.arg(key).arg(0).arg(&[first]);
            let _length: usize = command.query_async(&mut server).await.expect("a length");
        }
    }

    /// What is in a slot.
    pub async fn seen(&self, slot: Slot) -> Seen {
        self.look(slot, Duration::from_secs(5)).await.expect("the store answers")
    }
}

/// The keys of all records. The canary is none.
async fn keys(server: &mut redis::aio::MultiplexedConnection, prefix: &str) -> Vec<Vec<u8>> {
    let pattern = format!("{prefix}*");
    let keys = redis::cmd("KEYS").arg(pattern).query_async(server).await;
    let mut keys: Vec<Vec<u8>> = keys.expect("keys");
    keys.retain(|key| !key.ends_with(b":canary"));
    keys
}

/// Runs tests with a store as their argument on every store, in a module for each.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::any_store::AnyStore::memory()).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::any_store::AnyStore::redis()).await;
            })+
        }
    };
}
pub(crate) use on_every_store;

macro_rules! call {
    ($store:ident.$verb:ident($($argument:expr),*)) => {
        match $store {
            AnyStore::Memory(store) => store.$verb($($argument),*).await,
            AnyStore::Redis(store, _) => store.$verb($($argument),*).await,
        }
    };
}

impl Store for AnyStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        call!(self.begin(attempt, within))
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        call!(self.renew(claim, within))
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        call!(self.complete(claim, outcome, within))
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        call!(self.release(attempt, ran, tombstone, within))
    }
    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        call!(self.look(slot, within))
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        call!(self.watch(slot, fence, within))
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        call!(self.resolve(slot, fence, outcome, retention, within))
    }
}

/// A connection to the shared server, without any store in between.
async fn connection() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(super::redis::shared().url()).expect("an address");
    client.get_multiplexed_async_connection().await.expect("the server accepts")
}
