//! What has expired goes, and nothing else does.

use std::num::NonZeroU32;
use std::sync::Arc;

use tower_idempotency::protocol::{Attempt, Reply};
use tower_idempotency::store::{PostgresStore, Store};

use super::{
    A_MOMENT, WITHIN, attempt, claimed, complete, is_busy, replayed, response, rows, slot, start,
    table,
};
use crate::support::patience::wait_until;
use crate::support::postgres::shared;

fn expiring() -> Attempt {
    Attempt { lease: A_MOMENT, retention: A_MOMENT * 2, ..attempt(slot()) }
}

/// A store with `live` claims and as many records that expire soon.
async fn half_expired(name: &str, live: usize) -> (Arc<PostgresStore>, Vec<Attempt>) {
    let store = Arc::new(shared().store_at(&shared().url(), name));
    let mut kept = Vec::new();
    for _ in 0..live {
        let claim = claimed(&store, expiring()).await;
        complete(&store, &claim, &"gone ".repeat(100)).await;
        let claim = start(&store).await;
        complete(&store, &claim, "kept").await;
        kept.push(claim.attempt().clone());
    }
    tokio::time::sleep(A_MOMENT * 4).await;
    (store, kept)
}

#[tokio::test]
async fn a_purge_deletes_all_that_has_expired_and_nothing_else() {
    let name = table();
    let (store, kept) = half_expired(&name, 100).await;
    assert_eq!(store.purge().await.expect("purge"), 100);
    assert_eq!(rows(shared(), &name), 100);
    assert_eq!(store.purge().await.expect("purge"), 0);
    for attempt in kept {
        let retry = super::attempt(attempt.slot);
        assert_eq!(replayed(store.begin(&retry, WITHIN).await), response("kept"));
    }
}

#[tokio::test]
async fn a_table_of_many_blocks_is_purged_to_its_end() {
    let name = table();
    let store = shared().store_at(&shared().url(), &name);
    shared().query(&format!(
        "INSERT INTO {name} SELECT sha256(n::text::bytea), n % 2 * 9000000000000000, 0, 1, 1, 2,
            false, false, '\\x00', '\\x00', '\\x00', repeat('x', 500)::bytea FROM generate_series(1, 5000) n"
    ));
    assert_eq!(store.purge().await.expect("purge"), 2500);
    assert_eq!(rows(shared(), &name), 2500);
}

#[tokio::test]
async fn a_purge_passes_over_what_somebody_holds() {
    let name = table();
    let (store, _) = half_expired(&name, 10).await;
    let mut client = shared().client().await;
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&format!("SELECT FROM {name} FOR UPDATE"), &[]).await.expect("locked");
    let purged = tokio::time::timeout(A_MOMENT * 100, store.purge()).await;
    assert_eq!(purged.expect("it does not wait").expect("purge"), 0);
    transaction.rollback().await.expect("unlocked");
    assert_eq!(store.purge().await.expect("purge"), 10);
}

#[tokio::test]
async fn w31_claims_of_expired_slots_and_a_purge_meet_and_none_is_lost() {
    let name = table();
    let store = Arc::new(shared().store_at(&shared().url(), &name));
    let slots: Vec<_> = (0..20).map(|_| slot()).collect();
    let purging = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                store.purge().await.expect("purge");
            }
        })
    };
    let mut claimed = 0;
    for round in 0..20 {
        for &slot in &slots {
            let begins = Attempt { slot, ..expiring() };
            let Ok(Reply::Started(grant)) = store.begin(&begins, WITHIN).await else { continue };
            claimed += 1;
            // For an hour from now on, so no purge may take it.
            let claim = Attempt { retention: super::HOUR, ..begins }.claim(grant);
            let reply = store.renew(&claim, WITHIN).await;
            assert!(matches!(reply, Ok(Reply::Applied)), "{reply:?}");
            let seen = store.look(slot, WITHIN).await.expect("look");
            assert_eq!(seen.record.expect("it is live").fence, grant.fence, "round {round}");
            let short = Attempt { slot, retention: A_MOMENT, ..claim.attempt().clone() };
            complete(&store, &short.claim(grant), "done").await;
        }
    }
    purging.abort();
    assert!(claimed > 100, "{claimed}");
}

#[tokio::test]
async fn nothing_depends_on_a_purge() {
    let store = shared().store();
    let begins = expiring();
    let claim = claimed(&store, begins.clone()).await;
    complete(&store, &claim, "old").await;
    tokio::time::sleep(A_MOMENT * 4).await;
    let claim = claimed(&store, attempt(begins.slot)).await;
    assert_eq!(claim.grant().number, 1);
    assert!(is_busy(&store.begin(&attempt(begins.slot), WITHIN).await));
}

#[tokio::test]
async fn the_background_purges_until_the_store_is_dropped() {
    let name = table();
    let (store, _) = half_expired(&name, 10).await;
    drop(store);
    let often = NonZeroU32::new(10_000).expect("a rate");
    let store = shared().store_at(&shared().url(), &name).purging(often);
    wait_until("all is purged", || rows(shared(), &name) == 10).await;
    drop(store);
    let (_store, _) = half_expired(&name, 10).await;
    tokio::time::sleep(A_MOMENT * 20).await;
    assert_eq!(rows(shared(), &name), 30);
}
