//! More calls than connections.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::{Config, NoTls};
use tower_idempotency::store::{Effect, ErrorKind, PostgresStore, Store};

use super::{A_MOMENT, WITHIN, attempt, complete, is_busy, lapsed, rerunning, slot, start, table};
use crate::support::postgres::shared;

#[tokio::test]
async fn w26_a_storm_of_claims_keeps_no_running_work_from_its_renewal_and_its_end() {
    let name = table();
    let one = NonZeroU32::MIN;
    let store = shared().store_at(&shared().url(), &name).connections(one);
    let store = Arc::new(store);
    let (claim, abandoned) = (start(&store).await, lapsed(&store).await);
    // The only connection for claims is kept busy, by who waits for a row.
    let mut client = shared().client().await;
    let transaction = client.transaction().await.expect("a transaction");
    let slot_of = abandoned.attempt().slot;
    let held = format!("SELECT FROM {name} WHERE slot = $1 FOR UPDATE");
    transaction.execute(&held, &[&&slot_of.as_bytes()[..]]).await.expect("locked");
    let mut storm = JoinSet::new();
    for number in 0..200 {
        let store = Arc::clone(&store);
        let attempt = if number == 0 { rerunning(slot_of) } else { attempt(slot()) };
        storm.spawn(async move { store.begin(&attempt, A_MOMENT * 80).await });
    }
    tokio::time::sleep(A_MOMENT * 5).await;
    let in_time = A_MOMENT * 50;
    let reply = store.renew(&claim, in_time).await;
    assert!(matches!(reply, Ok(Reply::Applied)), "{reply:?}");
    complete(&store, &claim, "done").await;
    // Who got no connection has done nothing and says so.
    let replies = storm.join_all().await;
    let errors: Vec<_> = replies.into_iter().filter_map(Result::err).collect();
    assert!(errors.len() > 100, "{}", errors.len());
    let sent = errors.iter().filter(|error| error.effect() == Effect::Unknown).count();
    assert!(sent <= 1, "only one call was sent");
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::TimedOut));
    transaction.rollback().await.expect("unlocked");
    let _claim = start(&store).await;
}

#[tokio::test]
async fn handlers_that_hold_the_whole_pool_keep_no_claim_waiting() {
    let config: Config = shared().url().parse().expect("an address");
    let pool = Pool::builder(Manager::new(config, NoTls)).max_size(1).build().expect("a pool");
    let store = PostgresStore::new(pool.clone()).table(&table()).expect("a name");
    store.migrate().await.expect("migrated");
    let _held = pool.get().await.expect("the only connection");
    let claim = start(&store).await;
    complete(&store, &claim, "done").await;
}

#[tokio::test]
async fn no_more_connections_are_made_than_were_asked_for() {
    let name = table();
    let two = NonZeroU32::new(2).expect("two");
    let url = format!("{}?application_name={name}", shared().url());
    let store = Arc::new(shared().store_at(&url, &name).connections(two));
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let store = Arc::clone(&store);
        calls.spawn(async move { start(&store).await });
    }
    assert_eq!(calls.join_all().await.len(), 100);
    let connected =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    assert_eq!(shared().query(&connected)[0].get::<_, i64>(0), 2);
    drop(store);
    while shared().query(&connected)[0].get::<_, i64>(0) > 0 {
        tokio::time::sleep(A_MOMENT).await;
    }
}

#[tokio::test]
async fn a_hundred_callers_that_go_away_leave_the_lanes_whole() {
    let store = Arc::new(shared().store().connections(NonZeroU32::new(3).expect("three")));
    let slot = slot();
    let mut calls = JoinSet::new();
    for number in 0..100_u64 {
        let store = Arc::clone(&store);
        calls.spawn(async move {
            let patience = Duration::from_micros(number * 100);
            let _ = tokio::time::timeout(patience, store.begin(&attempt(slot), WITHIN)).await;
        });
    }
    calls.join_all().await;
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.begin(&attempt(slot), WITHIN).await });
    }
    assert!(calls.join_all().await.iter().all(|reply| is_busy(reply) || reply.is_ok()));
}
