//! Whether every store is linearizable: histories of concurrent calls on real stores, each slot for
//! itself, against [`apply`](tower_idempotency::protocol::apply).
//!
//! # The model
//! A call takes effect at one moment between its call and its return. The order of these moments must
//! give the answers that came, if `apply` is asked one after another ([`checker`]).
//!
//! *Time.* `apply` is given the time, and only the store knows which. What the test knows are bounds
//! of it: a call took effect not before it was called and not after it had returned, on the store's
//! clock, which looks before the history compare with the clock of the test. Many answers tell more:
//! a fence is the time of its claim, unless that is not later than the fence before; an age and what is
//! left of a lease tell the time, too. So a slot's state is a record whose end of the lease, time of
//! completion and expiry are known within bounds ([`spec`]). A lease may have lapsed, or a record
//! expired, where the bounds allow it; where they allow both, both are looked at, each with a record
//! and a time for `apply` that fit. Nothing is ever refused that a store could have done; what is let
//! through for want of exactness is as small as the bounds, a few tens of microseconds and what
//! [`Precision`] says.
//!
//! *The unknown.* A call that was not answered, or was dropped, may take effect between its call and
//! its deadline, or never; a `complete` also later, but then only on its own claim. Its answer may be
//! any. If it was a `begin`, others may have seen its fence. A call that is said to have had no effect,
//! or to have been late, must have had none. A store may send a call again without saying so, when a
//! connection breaks; so a call that was under way while a connection of its process broke counts
//! twice, the second time as unknown. Where so much is unknown that the search does not
//! end, the history is counted as undecided; of twenty, one may be.
//!
//! *Reads* are calls like others. A look at Redis tells a time a moment later than that at which it
//! read, and an expiry that may be of the next record; neither is compared.
//!
//! *Near cache.* What is seen late by its documentation is a purge, and an end of the record that the
//! request's own retention does not say. Here is neither: nothing is purged, and all attempts at a
//! slot have one retention. So two caches in front of one store have to be linearizable, as one store.
//!
//! `LINEARIZABILITY_SECONDS` sets how long the histories of each store take, and
//! `LINEARIZABILITY_SEED` has the clients choose as in an earlier run; how their calls meet is left to
//! the machine.

mod brief;
mod broken;
mod checker;
mod clients;
mod history;
mod made;
mod proxy;
mod span;
mod spec;
mod workload;

use std::sync::Arc;

use tower_idempotency::store::{MemoryStore, NearCache, PostgresStore, RedisStore};

use crate::support;
use proxy::Proxy;
use support::postgres::PostgresServer;
use workload::{MEMORY, POSTGRES, REDIS, Stores, histories};

/// Two processes on one server.
fn two(url: &str) -> Stores<RedisStore> {
    let prefix = format!("linear-{:016x}", rand::random::<u64>());
    let store = || RedisStore::connect(url).expect("a valid address").prefix(&prefix);
    Stores::new([store(), store()])
}

/// Two processes with a cache each in front of one store.
fn near(url: &str) -> Stores<NearCache<RedisStore>> {
    two(url).map(NearCache::new)
}

/// Two processes on one PostgreSQL.
fn two_on(server: &PostgresServer) -> Stores<PostgresStore> {
    let table = format!("linear_{:016x}", rand::random::<u64>());
    Stores::new([(); 2].map(|()| server.store_at(&server.url(), &table)))
}

macro_rules! linearizable {
    ($($name:ident: $precision:expr, $stores:expr;)*) => {
        $(mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
            async fn concurrent_histories_agree_with_the_contract() {
                histories($precision, |_| $stores).await;
            }
        })*
    };
}

linearizable! {
    memory: MEMORY, Stores::one(MemoryStore::new());
    near_memory: MEMORY.near(), {
        let store = Arc::new(MemoryStore::new());
        Stores::new([NearCache::new(Arc::clone(&store)), NearCache::new(store)])
    };
    redis: REDIS, two(&support::redis::shared().url());
    valkey: REDIS, two(&support::redis::shared_valkey().url());
    sentinel: REDIS, two(&support::sentinel::shared().url());
    cluster: REDIS, two(&support::cluster::shared().url());
    postgres: POSTGRES, two_on(support::postgres::shared());
    postgres18: POSTGRES, two_on(support::postgres::shared_newer());
    near_redis: REDIS.near(), near(&support::redis::shared().url());
}

/// Two processes whose connections break, and one whose connections do not.
async fn with_faults(server: &support::redis::RedisServer) {
    histories(REDIS, |seed| {
        let proxies = [0, 1].map(|way| Proxy::to(server.address(), seed ^ way));
        let prefix = format!("linear-{:016x}", rand::random::<u64>());
        let store = |url| RedisStore::connect(url).expect("a valid address").prefix(&prefix);
        let [one, two] = &proxies;
        let broken = |proxy: &Proxy| store(format!("redis://127.0.0.1:{}", proxy.port));
        Stores::new([broken(one), broken(two), store(server.url())]).behind(proxies.into())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn histories_with_broken_connections_agree_with_the_contract_on_redis() {
    with_faults(support::redis::shared()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn histories_with_broken_connections_agree_with_the_contract_on_valkey() {
    with_faults(support::redis::shared_valkey()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn histories_with_broken_connections_agree_with_the_contract_on_postgres() {
    let server = support::postgres::shared();
    histories(POSTGRES, |seed| {
        let proxies = [0, 1].map(|way| Proxy::to(server.address(), seed ^ way));
        let table = format!("linear_{:016x}", rand::random::<u64>());
        let [one, two] = proxies.each_ref().map(|proxy| proxy.port);
        let store = |port| server.store_at(&server.url_at(port), &table);
        Stores::new([one, two, server.port()].map(store)).behind(proxies.into())
    })
    .await;
}
