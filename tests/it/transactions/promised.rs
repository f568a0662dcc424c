//! Routes whose policy promises that handlers have no effects outside of their transactions.

use axum::http::StatusCode;
use tower_idempotency::{Guarantee, IdempotencyLayer, InvalidConfig, MemoryStore, Policy, Tenant};

use super::workers::crash;
use super::{Shop, a_key, shared, short};
use crate::support::app::{App, eventually, pause};
use crate::support::postgres_wire::PostgresWire;

fn promised() -> Policy {
    short().guarantee(Guarantee::Transactional)
}

#[tokio::test(flavor = "multi_thread")]
async fn w03_a_server_that_dies_before_the_transaction_has_begun_leaves_nothing_unknown() {
    for takes_it in [false, true] {
        let (shop, (key, ask)) = (Shop::open(), a_key());
        crash(&shop, &promised(), &ask, takes_it);
        let after = Shop { pool: Shop::open().pool, ..shop.clone() };
        let app = after.serve(promised(), async |_, _tx| StatusCode::CREATED).await;
        assert_eq!(app.settled(&ask).await.status, 201);
        assert_eq!((app.runs(), shop.rows(&key)), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_policy_let_in_stays_unknown() {
    let (shop, (_, ask)) = (Shop::open(), a_key());
    crash(&shop, &short(), &ask, false);
    let app = shop.serve(promised(), async |_, _tx| StatusCode::CREATED).await;
    app.settled_or_unknown(&ask).await.is_refused(409, "outcome-unknown");
    assert_eq!(app.runs(), 0);
}

#[tokio::test]
async fn an_answer_without_the_transaction_is_stored_if_it_is_definitive_and_else_frees_the_key() {
    let shop = Shop::open();
    let app = App::start(shop.layer(promised()), async |run| match run.number {
        1 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::NOT_FOUND,
    });
    let (app, (_, ask)) = (app.await, a_key());
    assert_eq!(app.send(&ask).await.status, 500);
    assert_eq!(app.send(&ask).await.status, 404);
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.is_replay(), app.runs()), (404, true, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn w05_a_stale_worker_without_the_transaction_answers_as_the_winner() {
    let (shop, (_, ask)) = (Shop::open(), a_key());
    let policy = || Policy::new().guarantee(Guarantee::Transactional);
    let slow = App::start(shop.layer(policy()), async |_| pause(500).await).await;
    let first = slow.in_background(&ask);
    eventually(|| slow.runs() == 1).await;
    shop.lapse();
    let winner = App::start(shop.layer(policy()), async |_| "the winner").await;
    assert_eq!(winner.send(&ask).await.text(), "the winner");
    let first = first.await.expect("an answer");
    assert_eq!((first.text(), first.is_replay()), ("the winner", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_renewal_puts_back_is_still_marked() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(promised(), async |_, _tx| {
            pause(700).await;
            StatusCode::CREATED
        })
        .await;
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1).await;
    shop.server.query(&format!("DELETE FROM {}; SELECT 1", shop.records));
    let marks = format!("SELECT transactional FROM {}", shop.records);
    eventually(|| !shop.server.query(&marks).is_empty()).await;
    assert!(shop.server.query(&marks)[0].get::<_, bool>(0));
    assert_eq!(first.await.expect("an answer").status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_record_is_marked_by_the_claim_which_saves_a_commit() {
    let wire = PostgresWire::to(shared().port()).await;
    let shop = Shop::at(&shared().url_at(wire.port()), 4);
    let app = shop.serve(promised(), async |_, _tx| StatusCode::CREATED).await;
    app.send(a_key().1).await;
    wire.reset();
    app.send(a_key().1).await;
    // The claim; what begins the transaction; the statement of the handler; savepoint, outcome and commit.
    assert_eq!(wire.calls(), 1 + 1 + 1 + 3);
}

#[tokio::test]
async fn a_store_without_transactions_is_refused() {
    let layer = |policy: Policy| {
        IdempotencyLayer::builder(MemoryStore::new(), Tenant::single()).policy(policy).build()
    };
    assert_eq!(layer(promised()).unwrap_err(), InvalidConfig::NoTransactions);
    layer(short()).expect("nothing is promised");
    let on_a_route = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single())
        .route_policy("/charges", promised());
    assert_eq!(on_a_route.build().unwrap_err(), InvalidConfig::NoTransactions);
}
