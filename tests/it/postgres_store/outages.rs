//! A server that goes away and comes back, and calls whose replies are lost.

use std::time::Duration;

use tower_idempotency::protocol::Reply;
use tower_idempotency::store::{Effect, ErrorKind, PostgresStore, Store};

use super::{
    A_MOMENT, WITHIN, attempt, complete, is_busy, lapsed, replayed, rerunning, response, slot,
    start, table, warm_up, wired,
};
use crate::support::patience::wait_until;
use crate::support::postgres::{PostgresServer, Version};
use crate::support::wire::{Loss, Point};

/// Ends the connections of everybody else.
const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";

#[tokio::test]
async fn a_begin_whose_reply_is_lost_finds_its_own_claim() {
    let (wire, store) = wired().await;
    wire.lose(Loss::Close);
    let attempt = attempt(slot());
    let reply = store.begin(&attempt, WITHIN).await;
    let Ok(Reply::Mine(grant)) = reply else { panic!("{reply:?}") };
    complete(&store, &attempt.claim(grant), "done").await;
}

#[tokio::test]
async fn a_completion_whose_reply_is_lost_is_complete() {
    let (wire, store) = wired().await;
    let claim = start(&store).await;
    wire.lose(Loss::Close);
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn of_a_call_whose_reply_never_comes_nothing_is_known_and_its_connection_is_left() {
    let (wire, store) = wired().await;
    wire.lose(Loss::Silence);
    let attempt = attempt(slot());
    let error = store.begin(&attempt, A_MOMENT * 40).await.expect_err("no reply");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    let reply = store.begin(&attempt, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
    assert_eq!(wire.connections(), 1);
}

#[tokio::test]
async fn a_refused_claim_whose_first_copy_was_lost_is_no_refusal() {
    let (wire, store) = wired().await;
    let claim = start(&store).await;
    wire.lose(Loss::Close);
    // The lost copy might claim the slot when it is free, for all that the store can know.
    let error = store.begin(&attempt(claim.attempt().slot), WITHIN).await.expect_err("lost");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown));
    complete(&store, &claim, "done").await;
    wire.lose(Loss::Close);
    replayed(store.begin(&attempt(claim.attempt().slot), WITHIN).await);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_call_on_its_connection() {
    let (wire, store) = wired().await;
    wire.hold(0, Point::Reply);
    let attempt = attempt(slot());
    tokio::time::timeout(A_MOMENT * 20, store.begin(&attempt, WITHIN))
        .await
        .expect_err("it is held");
    assert!(wire.holds());
    let reply = store.begin(&attempt, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
}

#[tokio::test]
async fn connections_that_were_ended_while_nobody_used_them_are_replaced() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    let store = server.store();
    warm_up(&store).await;
    let claim = start(&store).await;
    server.query(TERMINATE);
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn a_statement_whose_backend_is_terminated_is_sent_again() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    let name = table();
    let store = server.store_at(&server.url(), &name);
    let claim = lapsed(&store).await;
    let mut client = server.client().await;
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&format!("SELECT FROM {name} FOR UPDATE"), &[]).await.expect("locked");
    let retry = rerunning(claim.attempt().slot);
    let terminate = async {
        tokio::time::sleep(A_MOMENT * 20).await;
        let waiting = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE wait_event_type = 'Lock'";
        let ended: i64 = transaction.query_one(waiting, &[]).await.expect("ended").get(0);
        assert_eq!(ended, 1);
        transaction.rollback().await.expect("unlocked");
    };
    let (reply, ()) = tokio::join!(store.begin(&retry, WITHIN), terminate);
    assert!(matches!(reply, Ok(Reply::Reclaimed(_) | Reply::Mine(_))), "{reply:?}");
}

#[tokio::test]
async fn a_statement_that_is_cancelled_has_done_nothing() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    server.query("ALTER ROLE postgres SET statement_timeout = '50ms'");
    let name = table();
    let store = server.store_at(&server.url(), &name);
    let claim = start(&store).await;
    let mut client = server.client().await;
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&format!("SELECT FROM {name} FOR UPDATE"), &[]).await.expect("locked");
    let error = store.renew(&claim, WITHIN).await.expect_err("it is cancelled");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::None));
    transaction.rollback().await.expect("unlocked");
    complete(&store, &claim, "done").await;
}

#[tokio::test]
async fn a_killed_server_loses_nothing_and_the_store_is_back_within_a_second() {
    let mut server = PostgresServer::start(Version::Packaged, &[]);
    let store = server.store();
    warm_up(&store).await;
    let (claim, done) = (start(&store).await, start(&store).await);
    complete(&store, &done, "done").await;
    server.kill();
    let error = store.begin(&attempt(slot()), WITHIN).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let error = store.begin(&attempt(slot()), WITHIN).await.expect_err("nobody is there");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::None));
    assert!(error.is_transient());
    server.restart();
    let back = tokio::time::timeout(Duration::from_secs(1), async {
        while store.look(slot(), WITHIN).await.is_err() {
            tokio::time::sleep(A_MOMENT).await;
        }
    });
    back.await.expect("within a second");
    assert!(is_busy(&store.begin(&attempt(claim.attempt().slot), WITHIN).await));
    complete(&store, &claim, "later").await;
    replayed(store.begin(&attempt(done.attempt().slot), WITHIN).await);
}

#[tokio::test]
async fn w07_a_begin_that_a_frozen_server_reads_too_late_claims_nothing() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    let store = server.store();
    warm_up(&store).await;
    server.pause();
    let attempt = attempt(slot());
    let error = store.begin(&attempt, A_MOMENT * 40).await.expect_err("it is frozen");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    tokio::time::sleep(A_MOMENT * 10).await;
    server.resume();
    let seen = store.look(attempt.slot, WITHIN).await.expect("look");
    assert_eq!(seen.record, None);
    tokio::time::sleep(A_MOMENT * 10).await;
    let seen = store.look(attempt.slot, WITHIN).await.expect("look");
    assert_eq!(seen.record, None);
}

#[tokio::test]
async fn w21_a_replica_decides_nothing() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    let name = table();
    let store = server.store_at(&server.url(), &name);
    let claim = start(&store).await;
    complete(&store, &claim, "done").await;
    let replica = server.replica();
    let reading = PostgresStore::connect(&replica.url()).expect("an address");
    let reading = reading.table(&name).expect("a name");
    let begun = reading.begin(&attempt(claim.attempt().slot), WITHIN).await.expect_err("begin");
    let looked = reading.look(claim.attempt().slot, WITHIN).await.expect_err("look");
    let other = response("other");
    let completed = reading.complete(&claim, &other, WITHIN).await.expect_err("complete");
    for error in [begun, looked, completed] {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::ReadOnly, Effect::None));
    }
}

#[tokio::test]
async fn w12_a_store_follows_a_fail_over() {
    let mut server = PostgresServer::start(Version::Packaged, &[]);
    let replica = server.replica();
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        server.port(),
        replica.port()
    );
    let store = server.store_at(&url, &table());
    let claim = start(&store).await;
    complete(&store, &claim, "done").await;
    let written = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
    let written: i64 = server.query(written)[0].get(0);
    let replayed_to = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
    wait_until("the replica has it", || replica.query(replayed_to)[0].get::<_, i64>(0) >= written)
        .await;
    server.kill();
    replica.query("SELECT pg_promote()");
    // The first call may meet the connection that is no more.
    let _lost = store.begin(&attempt(slot()), WITHIN).await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
    let _claim = start(&store).await;
}
