//! How many claims that counted a fail-over loses, with and without waiting for the replica. Each
//! test prints it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tower_idempotency::protocol::{Reply, Slot};
use tower_idempotency::store::redis::Durability;
use tower_idempotency::store::{RedisStore, Store};

use super::{DURABLE, WITHIN, attempt, key, slot};
use crate::support::launch::Kind;
use crate::support::patience::wait_until;
use crate::support::redis::RedisServer;
use crate::support::sentinel::SentinelTrio;

/// The time that a call of the layer has.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// How many requests there are at once.
const CROWD: usize = 16;

/// How many claims have counted when the fail-over begins.
const BEFORE: usize = 500;

/// What a fail-over has left of the claims.
#[derive(Debug, Default)]
struct Loss {
    counted: usize,
    lost: usize,
    after: bool,
}

/// Claims slots while the master is failed over, and looks on the new one for what counted.
async fn claims(
    trio: &SentinelTrio,
    durability: Durability,
    fail_over: impl AsyncFnOnce() -> usize,
) -> Loss {
    let store = RedisStore::connect(trio.url()).expect("valid addresses").durability(durability);
    let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || async {
        let mut counted = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let attempt = attempt(slot());
            if matches!(store.begin(&attempt, STORE_TIMEOUT).await, Ok(Reply::Started(_))) {
                counted.push(attempt.slot);
                count.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        counted
    };
    let events = async {
        wait_until("claims count", || count.load(Ordering::Relaxed) >= BEFORE).await;
        let new = fail_over().await;
        // Whoever is still with the old master goes on for a moment.
        tokio::time::sleep(STORE_TIMEOUT * 2).await;
        over.store(true, Ordering::Relaxed);
        new
    };
    let (counted, new) = tokio::join!(join_all((0..CROWD).map(|_| work())), events);
    let counted = counted.concat();
    let lost = counted.iter().filter(|slot| !has(&trio.nodes[new], slot)).count();
    let plain = RedisStore::connect(trio.url()).expect("valid addresses");
    let after = plain.begin(&attempt(slot()), WITHIN).await.is_ok();
    Loss { counted: counted.len(), lost, after }
}

fn has(node: &RedisServer, slot: &Slot) -> bool {
    node.command(&[b"EXISTS", &key("idempotency", *slot)]) == Ok(redis::Value::Int(1))
}

async fn killed(durability: Durability) -> Loss {
    let mut trio = SentinelTrio::start(Kind::Redis, DURABLE);
    let old = trio.master().expect("there is one");
    let mut master = std::mem::replace(&mut trio.nodes[old], RedisServer::start(&[]));
    claims(&trio, durability, async || {
        master.kill();
        trio.await_failover(old).await
    })
    .await
}

async fn cut_off(durability: Durability) -> Loss {
    let trio = SentinelTrio::in_namespaces(Kind::Redis, DURABLE);
    claims(&trio, durability, async || {
        let old = trio.cut_off_master();
        trio.await_failover(old).await
    })
    .await
}

#[tokio::test]
async fn no_claim_that_waited_for_the_replica_is_lost_with_a_killed_master() {
    for durability in [Durability::local(), Durability::replicas(1)] {
        let loss = killed(durability).await;
        eprintln!("master killed, {durability:?}: {} of {} lost", loss.lost, loss.counted);
        assert!(loss.counted > 0 && loss.after, "{loss:?}");
        assert!(loss.lost == 0 || durability == Durability::local(), "{loss:?}");
    }
}

#[tokio::test]
async fn no_claim_that_waited_for_the_replica_is_lost_with_a_cut_off_master() {
    for durability in [Durability::local(), Durability::replicas(1)] {
        let loss = cut_off(durability).await;
        eprintln!("master cut off, {durability:?}: {} of {} lost", loss.lost, loss.counted);
        assert!(loss.counted > 0 && loss.after, "{loss:?}");
        assert_eq!(loss.lost > 0, durability == Durability::local(), "{loss:?}");
    }
}
