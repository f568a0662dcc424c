//! Every store under one type, so that one test runs on all of them.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use redis::Value;
use tower_idempotency::MemoryStore;
use tower_idempotency::protocol::{Attempt, Claim, FenceToken, Outcome, Ran, Reply, Slot};
use tower_idempotency::store::postgres::tokio_postgres::Row;
use tower_idempotency::store::{Error, PostgresStore, RedisStore, Seen, Store};

use super::postgres::PostgresServer;
use super::redis::RedisServer;

/// A fresh store that nobody else uses.
#[derive(Clone, Debug)]
pub enum AnyStore {
    Memory(Arc<MemoryStore>),
    Redis(Arc<RedisStore>, Namespace),
    Postgres(Arc<PostgresStore>, Table),
}

/// The table of a store, and the server on which it is.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    server: &'static PostgresServer,
}

/// What the keys of a store begin with, and the servers on which they are.
#[derive(Clone, Debug)]
pub struct Namespace {
    prefix: String,
    servers: Vec<&'static RedisServer>,
}

impl AnyStore {
    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::new()))
    }

    /// On the server that all tests share.
    pub fn redis() -> Self {
        let server = super::redis::shared();
        Self::at(&server.url(), vec![server])
    }

    /// The same of Valkey.
    pub fn valkey() -> Self {
        let server = super::redis::shared_valkey();
        Self::at(&server.url(), vec![server])
    }

    /// On the master that the sentinels name which all tests share.
    pub fn sentinel() -> Self {
        let trio = super::sentinel::shared();
        Self::at(&trio.url(), vec![&trio.nodes[0]])
    }

    /// On the Cluster that all tests share.
    pub fn cluster() -> Self {
        let cluster = super::cluster::shared();
        Self::at(&cluster.url(), cluster.nodes.iter().collect())
    }

    /// On the server that all tests share.
    pub fn postgres() -> Self {
        let server = super::postgres::shared();
        let name = format!("rules_{:016x}", rand::rng().random::<u64>());
        let store = server.store_at(&server.url(), &name);
        Self::Postgres(Arc::new(store), Table { name, server })
    }

    fn at(url: &str, servers: Vec<&'static RedisServer>) -> Self {
        let prefix = format!("rules-{:016x}", rand::rng().random::<u64>());
        let store = RedisStore::connect(url).expect("a valid address").prefix(&prefix);
        Self::Redis(Arc::new(store), Namespace { prefix, servers })
    }

    /// How many records there are, released ones included.
    pub fn records(&self) -> usize {
        match self {
            Self::Memory(store) => store.len(),
            Self::Redis(..) => self.raw().len() / 2,
            Self::Postgres(_, table) => table.query("SELECT slot").len(),
        }
    }

    /// Everything that a server keeps, as it keeps it: each key, each value.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        let mut raw = Vec::new();
        if let Self::Postgres(_, table) = self {
            let all = "SELECT slot, nonce, fingerprint, form, coalesce(outcome, '')";
            for row in table.query(all) {
                raw.extend((0..row.len()).map(|column| row.get::<_, Vec<u8>>(column)));
            }
        }
        for (server, key) in self.keys() {
            let Ok(Value::BulkString(value)) = server.command(&[b"GET", &key]) else {
                panic!("there is no such record any more")
            };
            raw.extend([key, value]);
        }
        raw
    }

    /// Overwrites the first byte of all that a server keeps; memory keeps no bytes.
    pub fn overwritten(&self, first: u8) {
        if let Self::Postgres(_, Table { name, server }) = self {
            server.query(&format!("UPDATE {name} SET form = set_byte(form, 0, {first})"));
        }
        for (server, key) in self.keys() {
            server.command(&[b"SETRANGE", &key, b"0", &[first]]).expect("it is overwritten");
        }
    }

    /// Deletes all records that a server keeps.
    pub fn emptied(&self) {
        if let Self::Postgres(_, Table { name, server }) = self {
            server.query(&format!("TRUNCATE {name}"));
        }
        for (server, key) in self.keys() {
            server.command(&[b"DEL", &key]).expect("it is deleted");
        }
    }

    /// The keys of the records, each with the server that it is on.
    fn keys(&self) -> Vec<(&'static RedisServer, Vec<u8>)> {
        let Self::Redis(_, Namespace { prefix, servers }) = self else { return Vec::new() };
        let mut keys = Vec::new();
        for &server in servers {
            let named: Vec<Vec<u8>> = server.query(&format!("KEYS {prefix}:*")).expect("keys");
            // A record's key ends with the 32 bytes of its slot.
            let records = named.into_iter().filter(|key| key.len() == prefix.len() + 33);
            keys.extend(records.map(|key| (server, key)));
        }
        keys
    }

    /// What is in a slot.
    pub async fn seen(&self, slot: Slot) -> Seen {
        self.look(slot, Duration::from_secs(5)).await.expect("the store answers")
    }
}

impl Table {
    fn query(&self, select: &str) -> Vec<Row> {
        self.server.query(&format!("{select} FROM {}", self.name))
    }
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
        $crate::support::any_store::on_server!(postgres: $($test),+);
        $crate::support::any_store::on_server!(redis: $($test),+);
        $crate::support::any_store::on_server!(valkey: $($test),+);
        $crate::support::any_store::on_server!(sentinel: $($test),+);
        $crate::support::any_store::on_server!(cluster: $($test),+);
    };
}
pub(crate) use on_every_store;

/// The same on servers of one kind.
macro_rules! on_server {
    ($kind:ident: $($test:ident),+) => {
        mod $kind {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::any_store::AnyStore::$kind()).await;
            })+
        }
    };
}
pub(crate) use on_server;

macro_rules! call {
    ($store:ident.$verb:ident($($argument:expr),*)) => {
        match $store {
            AnyStore::Memory(store) => store.$verb($($argument),*).await,
            AnyStore::Redis(store, _) => store.$verb($($argument),*).await,
            AnyStore::Postgres(store, _) => store.$verb($($argument),*).await,
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
