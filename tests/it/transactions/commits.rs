use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::future::join_all;
use tower_idempotency::store::PostgresStore;
use tower_idempotency::{IdempotentTx, Policy};

use super::{Shop, a_key, shared, short};
use crate::support::app::{App, layer_with};
use crate::support::postgres_wire::PostgresWire;
use crate::support::wire::{Loss, Point};

/// The calls that end a transaction go together.
const SAVEPOINT: usize = 0;
const STORE: usize = 1;
pub(super) const COMMIT: usize = 2;

/// A shop behind a proxy to this port that does this at the end of the first run.
pub(super) async fn wired(
    port: u16,
    tell: fn(PostgresStore) -> PostgresStore,
    at_the_end: impl Fn(&PostgresWire) + Clone + Send + Sync + 'static,
) -> (Shop, App) {
    let wire = PostgresWire::to(port).await;
    let shop = Shop::at(&shared().url_at(wire.port()), 4).with(tell);
    let app = shop
        .serve(short(), move |run, _tx| {
            if run.number == 1 {
                wire.reset();
                at_the_end(&wire);
            }
            async move { (StatusCode::CREATED, run.number.to_string()) }
        })
        .await;
    (shop, app)
}

/// The same without anything else in between.
async fn broken(at_the_end: impl Fn(&PostgresWire) + Clone + Send + Sync + 'static) -> (Shop, App) {
    wired(shared().port(), |store| store, at_the_end).await
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_commit_whose_answer_is_lost_is_told_as_what_it_is() {
    join_all([SAVEPOINT, STORE, COMMIT].map(async |call| {
        let (shop, app) = broken(move |wire| wire.hold(call, Point::Reply)).await;
        let (key, ask) = a_key();
        let first = app.send(&ask).await;
        assert_eq!((first.status, first.text()), (201, "1"), "the reply to call {call}");
        assert!(!first.is_replay(), "it is its own");
        assert_eq!((shop.rows(&key), app.runs()), (1, 1));
        let retry = app.send(&ask).await;
        assert_eq!((retry.text(), retry.is_replay()), ("1", true));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_stale_worker_that_hears_nothing_of_its_commit_answers_as_the_winner() {
    let wire = PostgresWire::to(shared().port()).await;
    let shop = Shop::at(&shared().url_at(wire.port()), 4);
    let direct = Arc::new(shared().store_at(&shared().url(), &shop.records));
    let winner = App::start(layer_with(&direct, Policy::new()), async |_| "the winner").await;
    let (key, ask) = a_key();
    let (stale, again) = (shop.clone(), ask.clone());
    let app = shop
        .serve(Policy::new(), move |_, _tx| {
            stale.lapse();
            let first = winner.in_background(&again);
            let wire = wire.clone();
            async move {
                assert_eq!(first.await.expect("an answer").text(), "the winner");
                wire.reset();
                wire.hold(SAVEPOINT, Point::Reply);
                "the loser"
            }
        })
        .await;
    let first = app.send(&ask).await;
    assert_eq!((first.text(), first.is_replay()), ("the winner", true));
    assert_eq!(shop.rows(&key), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_commit_whose_connection_breaks_is_told_as_what_it_is() {
    let (shop, app) = broken(|wire| wire.lose(Loss::Close)).await;
    let (key, ask) = a_key();
    let first = app.send(&ask).await;
    // All three were sent together, but the proxy may not have passed on the last.
    let again = app.settled(&ask).await;
    match first.status {
        201 => assert_eq!((again.text(), again.is_replay()), (first.text(), true)),
        status => assert_eq!((status, again.text()), (503, "2")),
    }
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_commit_that_never_arrives_can_never_happen() {
    join_all([SAVEPOINT, STORE, COMMIT].map(async |call| {
        let (shop, app) = broken(move |wire| wire.hold(call, Point::Request)).await;
        let (key, ask) = a_key();
        app.send(&ask).await.is_refused(503, "store-unavailable");
        let retry = app.settled_for_good(&ask).await;
        assert_eq!((retry.status, retry.text()), (201, "2"), "call {call} was held");
        assert_eq!(shop.rows(&key), 1);
    }))
    .await;
}

#[tokio::test]
async fn a_backend_that_is_ended_before_the_commit_leaves_nothing_and_a_retry_runs() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, tx: IdempotentTx| {
            if run.number == 1 {
                let pid: i32 = tx.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
                shared().query(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
            }
            (StatusCode::CREATED, run.number.to_string())
        })
        .await;
    app.send(&ask).await.is_refused(503, "store-unavailable");
    assert_eq!(shop.rows(&key), 0);
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.text()), (201, "2"));
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_success_after_a_failed_statement_is_none() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, tx: IdempotentTx| {
            if run.number == 1 {
                tx.batch_execute("SELECT 1/0").await.expect_err("an error");
            }
            StatusCode::CREATED
        })
        .await;
    app.send(&ask).await.is_refused(500, "handler-failed");
    assert_eq!(shop.rows(&key), 0);
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_itself_is_told_no_success() {
    for ending in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN"] {
        let (shop, (key, ask)) = (Shop::open(), a_key());
        let app = shop
            .serve(Policy::new(), async move |run, tx: IdempotentTx| {
                if run.number == 1 {
                    tx.batch_execute(ending).await.expect("nobody keeps it from that");
                }
                StatusCode::CREATED
            })
            .await;
        app.send(&ask).await.is_refused(500, "handler-failed");
        // What it has committed by itself is there; only then the next run cannot write it again.
        let retry = app.send(&ask).await.status;
        assert_eq!((retry, shop.rows(&key)), (if ending == "COMMIT" { 500 } else { 201 }, 1));
    }
}

#[tokio::test]
async fn a_constraint_that_fails_at_the_commit_fails_the_request() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    shop.server.query(&format!(
        "CREATE TABLE {0}_lines (charge text REFERENCES {0} DEFERRABLE INITIALLY DEFERRED); SELECT 1",
        shop.charges
    ));
    let lines = format!("INSERT INTO {}_lines VALUES ('nobody')", shop.charges);
    let app = shop
        .serve(Policy::new(), move |run, tx: IdempotentTx| {
            let lines = lines.clone();
            async move {
                if run.number == 1 {
                    tx.batch_execute(&lines).await.expect("checked later");
                }
                StatusCode::CREATED
            }
        })
        .await;
    app.send(&ask).await.is_refused(500, "handler-failed");
    assert_eq!(shop.rows(&key), 0);
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_and_the_end_are_one_round_trip_each() {
    let wire = PostgresWire::to(shared().port()).await;
    let shop = Shop::at(&shared().url_at(wire.port()), 4);
    let app = shop.serve(Policy::new(), async |_, _tx| StatusCode::CREATED).await;
    app.send(a_key().1).await;
    wire.reset();
    app.send(a_key().1).await;
    // The claim; the mark between what begins and what ends its transaction; the statement of the
    // handler; savepoint, outcome and commit.
    assert_eq!(wire.calls(), 1 + 3 + 1 + 3);
    assert_eq!(wire.connections(), 0);
}
