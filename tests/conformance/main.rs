//! The contract on every store of this crate: in memory, on Redis, Valkey, Sentinel and Cluster, on two
//! versions of PostgreSQL; and through every decorator: behind a pointer, behind a cache, where replies
//! are lost, in a namespace.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]

mod lossy;
mod namespaced;
#[allow(dead_code, reason = "nobody kills or cuts off a server here")]
mod support;
mod verbs;

use std::process::ExitCode;
use std::sync::Arc;

use rand::RngExt as _;
use tower_idempotency::clock::ManualClock;
use tower_idempotency::conformance::{Harness, Suite};
use tower_idempotency::store::{BoxStore, MemoryStore, NearCache, RedisStore, Store};

use self::lossy::LossyStore;
use self::namespaced::Namespaced;
use self::support::{cluster, postgres, redis, sentinel};

fn main() -> ExitCode {
    Suite::new("memory", async || in_memory(|store, _| store))
        .and("redis", async || on(&redis::shared().url()))
        .and("valkey", async || on(&redis::shared_valkey().url()))
        .and("sentinel", async || on(&sentinel::shared().url()))
        .and("cluster", async || on(&cluster::shared().url()))
        .and("postgres", async || postgres::shared().store())
        .and("postgres18", async || postgres::shared_newer().store())
        .and("near_memory", async || in_memory(NearCache::with_clock))
        .and("near_redis", async || NearCache::new(on(&redis::shared().url())))
        .and("erased_memory", async || in_memory(|store, _| BoxStore::new(store)))
        .and("lossy_memory", async || in_memory(|store, _| LossyStore(BoxStore::new(store))))
        .and("lossy_redis", async || LossyStore(BoxStore::new(on(&redis::shared().url()))))
        .and("namespaced_memory", async || {
            in_memory(|store, _| Namespaced::new(BoxStore::new(store)))
        })
        .and("namespaced_redis", async || {
            Namespaced::new(BoxStore::new(on(&redis::shared().url())))
        })
        .run()
}

/// In memory, by a clock that goes on when it is told to.
fn in_memory<S: Store>(decorate: impl Fn(MemoryStore, Arc<ManualClock>) -> S) -> Harness {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::with_clock(Arc::clone(&clock));
    Harness::with_clock(decorate(store, Arc::clone(&clock)), clock)
}

/// On these servers, with keys of its own.
fn on(url: &str) -> RedisStore {
    let prefix = format!("contract-{:016x}", rand::rng().random::<u64>());
    RedisStore::connect(url).expect("a valid address").prefix(prefix)
}
