//! What tells of the ends of claims.

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::protocol::Phase;
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;
use tower_idempotency::store::{PostgresStore, Store};

use super::{A_MOMENT, WITHIN, complete, end, is_completed, release, start, table, watch};
use crate::support::patience::wait_until;
use crate::support::postgres::{PostgresServer, Version, shared};

/// Sooner than somebody who looks now and then has looked again.
const AT_ONCE: Duration = Duration::from_millis(400);

/// Two processes with one table.
fn pair() -> (String, Arc<PostgresStore>, Arc<PostgresStore>) {
    let name = table();
    let store = || Arc::new(shared().store_at(&shared().url(), &name));
    (name.clone(), store(), store())
}

async fn is_marked(server: &PostgresServer, name: &str) {
    let marked = format!("SELECT count(*) FROM {name} WHERE waited AND phase = 1");
    wait_until("it is marked", || server.query(&marked)[0].get::<_, i64>(0) == 1).await;
}

fn listeners(server: &PostgresServer, name: &str) -> i64 {
    let query = format!("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"{name}\"'");
    server.query(&query)[0].get(0)
}

#[tokio::test]
async fn who_waits_in_another_process_is_told_at_once() {
    let (name, store, other) = pair();
    for what in ["complete", "release"] {
        let claim = start(&other).await;
        let watches: Vec<_> = (0..50).map(|_| watch(&store, &claim)).collect();
        is_marked(shared(), &name).await;
        // Everybody is between two looks.
        tokio::time::sleep(A_MOMENT * 20).await;
        let ended = SystemClock.monotonic();
        match what {
            "complete" => complete(&other, &claim, "done").await,
            _ => release(&other, &claim).await,
        }
        for watch in watches {
            let seen = end(watch).await;
            let released =
                seen.record.as_ref().is_some_and(|record| record.phase == Phase::Released);
            assert!(is_completed(&seen) || released, "{seen:?}");
        }
        let took = SystemClock.monotonic() - ended;
        assert!(took < AT_ONCE, "{what} was told after {took:?}");
    }
    assert_eq!(listeners(shared(), &name), 1, "of one process, however many wait");
}

#[tokio::test]
async fn who_is_not_waited_for_notifies_nobody() {
    let (name, store, _) = pair();
    let client = shared().client().await;
    let notified = "SELECT pg_notification_queue_usage()";
    let claim = start(&store).await;
    complete(&store, &claim, "done").await;
    // The store itself does not listen before somebody waits, and nothing was marked.
    assert_eq!(listeners(shared(), &name), 0);
    let marked = format!("SELECT count(*) FROM {name} WHERE waited");
    assert_eq!(super::number(&client, &marked).await, 0);
    client.query_one(notified, &[]).await.expect("an answer");
}

#[tokio::test]
async fn who_waits_in_the_same_process_needs_no_notification() {
    let config = shared().url().parse().expect("an address");
    let pool = Pool::builder(Manager::new(config, NoTls)).build().expect("a pool");
    let store = PostgresStore::new(pool).table(&table()).expect("a name");
    store.migrate().await.expect("migrated");
    let store = Arc::new(store);
    let mut watches = Vec::new();
    for _ in 0..5 {
        let claim = start(&store).await;
        watches.push((watch(&store, &claim), claim));
    }
    // By now they look only about once a second.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    for (watch, claim) in watches {
        let ended = SystemClock.monotonic();
        complete(&store, &claim, "done").await;
        assert!(is_completed(&end(watch).await));
        assert!(SystemClock.monotonic() - ended < AT_ONCE / 4);
    }
}

#[tokio::test]
async fn who_cannot_listen_looks_now_and_then() {
    let name = table();
    let store = shared().store_at(&shared().url(), &name);
    let nowhere = "postgres://postgres@127.0.0.1:1/postgres".parse().expect("an address");
    let (store, other) =
        (Arc::new(store.listening(nowhere, NoTls)), shared().store_at(&shared().url(), &name));
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    tokio::time::sleep(A_MOMENT * 20).await;
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(watch).await));
}

#[tokio::test]
async fn a_watch_survives_the_end_of_the_connection_that_listens() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    let name = table();
    let store = Arc::new(server.store_at(&server.url(), &name));
    let other = server.store_at(&server.url(), &name);
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    is_marked(&server, &name).await;
    server
        .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    wait_until("it listens again", || listeners(&server, &name) == 1).await;
    let ended = SystemClock.monotonic();
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(watch).await));
    assert!(SystemClock.monotonic() - ended < WITHIN / 4);
}

#[tokio::test]
async fn a_claim_that_is_renewed_and_taken_over_later_is_watched_to_its_end() {
    let (name, store, other) = pair();
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    is_marked(shared(), &name).await;
    for _ in 0..3 {
        other.renew(&claim, WITHIN).await.expect("renew");
        tokio::time::sleep(A_MOMENT).await;
    }
    is_marked(shared(), &name).await;
    assert!(!watch.is_finished());
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(watch).await));
}
