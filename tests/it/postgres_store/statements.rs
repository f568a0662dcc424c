//! What the verbs cost: round trips, locks, transactions, log, and where a record is written.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::task::JoinSet;
use tower_idempotency::protocol::{Attempt, Fingerprint, Found, Nonce, Ran, Reply, Scheme};
use tower_idempotency::store::{Effect, ErrorKind, Store};

use super::{
    A_MOMENT, HOUR, WITHIN, attempt, claimed, complete, is_busy, lapsed, number, replayed,
    rerunning, response, slot, start, table, warm_up, wired,
};
use crate::support::postgres::{PostgresServer, Version, shared};

#[tokio::test]
async fn every_verb_is_one_round_trip() {
    let (wire, store) = wired().await;
    let mut trips = 0;
    let mut one_more = |verb: &str| {
        trips += 1;
        assert_eq!((wire.calls(), wire.connections()), (trips, 0), "{verb}");
    };
    let claim = start(&store).await;
    one_more("begin");
    let retry = attempt(claim.attempt().slot);
    assert!(is_busy(&store.begin(&retry, WITHIN).await));
    one_more("begin, busy");
    store.renew(&claim, WITHIN).await.expect("renew");
    one_more("renew");
    store.look(retry.slot, WITHIN).await.expect("look");
    one_more("look");
    complete(&store, &claim, &"long ".repeat(100_000)).await;
    one_more("complete");
    replayed(store.begin(&retry, WITHIN).await);
    one_more("begin, replayed");
    let lapsed = lapsed(&store).await;
    one_more("begin");
    let claim = claimed(&store, rerunning(lapsed.attempt().slot)).await;
    one_more("begin, taken over");
    store.release(claim.attempt(), Ran::Maybe, HOUR, WITHIN).await.expect("release");
    one_more("release");
    store
        .resolve(slot(), claim.grant().fence, &response("o"), HOUR, WITHIN)
        .await
        .expect("resolve");
    one_more("resolve");
}

/// A server on which nothing happens unless a test does it.
fn quiet() -> PostgresServer {
    let settings = ["autovacuum=off", "wal_level=minimal", "max_wal_senders=0"];
    PostgresServer::start(
        Version::Packaged,
        &[&settings[..], &["bgwriter_lru_maxpages=0"]].concat(),
    )
}

#[tokio::test]
async fn who_is_not_let_in_writes_nothing_and_takes_no_row_lock() {
    let server = quiet();
    let (name, mut client) = (table(), server.client().await);
    let store = server.store_at(&server.url(), &name);
    let (running, abandoned) = (start(&store).await, lapsed(&store).await);
    let done = start(&store).await;
    complete(&store, &done, "done").await;
    // Somebody holds all rows, so whoever wants a lock would wait for it in vain.
    let holding = client.transaction().await.expect("a transaction");
    holding.execute(&format!("SELECT FROM {name} FOR UPDATE"), &[]).await.expect("locked");
    let watching = server.client().await;
    // The next transaction that writes, and where the log ends.
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let log = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let before = (number(&watching, next).await, number(&watching, log).await);
    for _ in 0..20 {
        let reply = store.begin(&attempt(done.attempt().slot), WITHIN).await;
        assert_eq!(replayed(reply), response("done"));
        assert!(is_busy(&store.begin(&attempt(running.attempt().slot), WITHIN).await));
        let reply = store.begin(&attempt(abandoned.attempt().slot), WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Found(Found::Unknown { .. }))), "{reply:?}");
        let other = Attempt {
            fingerprint: Fingerprint::new(Scheme::raw(), [8; 32]),
            ..attempt(done.attempt().slot)
        };
        let reply = store.begin(&other, WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Found(Found::Mismatch))), "{reply:?}");
        store.look(slot(), WITHIN).await.expect("look");
    }
    let after = (number(&watching, next).await, number(&watching, log).await);
    assert_eq!(before, after, "something was written");
    // Whereas what would write to such a row waits for its lock, and not for ever.
    let error = store.renew(&running, WITHIN).await.expect_err("the row is held");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
}

#[tokio::test]
async fn a_request_is_two_transactions_and_stays_on_its_page() {
    let server = quiet();
    let (name, client) = (table(), server.client().await);
    let store = server.store_at(&server.url(), &name);
    warm_up(&store).await;
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let before = number(&client, next).await;
    for _ in 0..50 {
        let claim = start(&store).await;
        complete(&store, &claim, &"body ".repeat(100)).await;
    }
    assert_eq!(number(&client, next).await - before, 100);
    let counted =
        |column: &str| format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = '{name}'");
    // Its own connections tell what they did when they have time, or when they end.
    drop(store);
    let mut updates = 0;
    while updates < 51 {
        tokio::time::sleep(A_MOMENT).await;
        updates = number(&client, &counted("n_tup_upd")).await;
    }
    assert_eq!((updates, number(&client, &counted("n_tup_hot_upd")).await), (51, 51));
}

#[tokio::test]
async fn a_plan_made_while_the_table_was_empty_does_not_read_all_of_it_later() {
    let server = PostgresServer::start(Version::Packaged, &["autovacuum=off"]);
    let (name, client) = (table(), server.client().await);
    let store = server.store_at(&server.url(), &name);
    client.execute(&format!("VACUUM ANALYZE {name}"), &[]).await.expect("analysed");
    let claim = start(&store).await;
    for _ in 0..20 {
        assert!(is_busy(&store.begin(&attempt(claim.attempt().slot), WITHIN).await));
    }
    drop(store);
    let scans = format!("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = '{name}'");
    // The first one makes the index, the second one analyses.
    tokio::time::sleep(A_MOMENT * 20).await;
    assert!(number(&client, &scans).await <= 2);
}

/// The defaults of a database that its users like to be strict.
const STRICT: &str = "ALTER ROLE postgres SET default_transaction_isolation = 'serializable';
    ALTER ROLE postgres SET synchronous_commit = 'off';";

#[tokio::test]
async fn w23_claims_fail_nobody_where_the_default_is_serializable() {
    let server = quiet();
    server.query(STRICT);
    let client = server.client().await;
    let connections = NonZeroU32::new(20).expect("twenty");
    let store = Arc::new(server.store().connections(connections));
    let slots: Vec<_> = (0..20).map(|_| slot()).collect();
    let mut claims = JoinSet::new();
    for &slot in slots.iter().cycle().take(400) {
        let store = Arc::clone(&store);
        claims.spawn(async move { store.begin(&attempt(slot), WITHIN).await });
    }
    let replies = claims.join_all().await;
    let started = replies.iter().filter(|reply| matches!(reply, Ok(Reply::Started(_)))).count();
    let busy = replies.iter().filter(|reply| is_busy(reply)).count();
    assert_eq!((started, busy), (20, 380), "{replies:?}");
    // They tell what they did when they end.
    drop(store);
    let ended = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    while number(&client, ended).await > 1 {
        tokio::time::sleep(A_MOMENT).await;
    }
    let failed = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'postgres'";
    assert_eq!(number(&client, failed).await, 0);
}

#[tokio::test]
async fn the_sessions_of_the_store_are_set_up_and_those_of_others_are_not() {
    let server = quiet();
    server.query(STRICT);
    let store = server.store();
    warm_up(&store).await;
    let client = server.client().await;
    let isolation = client.query_one("SHOW default_transaction_isolation", &[]).await;
    assert_eq!(isolation.expect("a setting").get::<_, &str>(0), "serializable");
    // A claim waits for the log to be on the disk although that is not the default, so it is there
    // whatever happens to the server.
    let claim = start(&store).await;
    let flushed = "SELECT (pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn())::int::bigint";
    assert_eq!(number(&client, flushed).await, 1);
    drop(claim);
}

#[tokio::test]
async fn nobody_else_can_have_the_nonce_of_a_claim() {
    let store = shared().store();
    let claim = start(&store).await;
    let stranger = Attempt { nonce: Nonce::from_bytes([1; 16]), ..claim.attempt().clone() };
    let stranger = stranger.claim(claim.grant());
    let reply = store.complete(&stranger, &response("stolen"), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Fenced(Found::Busy { .. }))), "{reply:?}");
    complete(&store, &claim, "mine").await;
}
