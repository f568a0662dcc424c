//! Connections of the pool on which somebody else has left something.

use axum::http::StatusCode;
use tower_idempotency::store::postgres::tokio_postgres::IsolationLevel;
use tower_idempotency::{Guarantee, IdempotentTx, Policy, RecoveryPoints};

use super::{Shop, a_key, shared};
use crate::support::app::{App, layer_with};

/// Puts a connection back into a pool of one after this was said on it.
async fn leave(shop: &Shop, said: &str) {
    let client = shop.pool.get().await.expect("a connection");
    let _ = client.batch_execute(&said.replace("charges", &shop.charges)).await;
}

const HALF_DONE: [&str; 3] = [
    "BEGIN; INSERT INTO charges VALUES ('half done')",
    "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO charges VALUES ('half done')",
    "BEGIN; INSERT INTO charges VALUES ('half done'); SELECT 1/0",
];

#[tokio::test]
async fn what_somebody_has_left_in_an_open_transaction_is_not_committed() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::Transactional] {
        for half_done in HALF_DONE {
            let (shop, (key, ask)) = (Shop::at(&shared().url(), 1), a_key());
            leave(&shop, half_done).await;
            let policy = Policy::new().guarantee(guarantee);
            let app = shop.serve(policy, async |_, _tx| StatusCode::CREATED).await;
            assert_eq!(app.send(&ask).await.status, 201);
            assert_eq!((shop.rows("half done"), shop.rows(&key)), (0, 1), "{half_done}");
        }
    }
}

#[tokio::test]
async fn nor_is_it_with_a_phase() {
    let (shop, (key, ask)) = (Shop::at(&shared().url(), 1), a_key());
    leave(&shop, HALF_DONE[0]).await;
    let insert = format!("INSERT INTO {} VALUES ($1)", shop.charges);
    let layer = shop.layer(Policy::new());
    let app = App::start(layer, move |run| {
        let insert = insert.clone();
        async move {
            let claim = run.claim.expect("a claim");
            let mut points = RecoveryPoints::of(&claim).await.expect("points");
            let key = claim.key().as_str().to_owned();
            let write = points.write("charge", async |tx| tx.execute(&insert, &[&key]).await);
            assert_eq!(write.await.expect("a row"), 1);
            StatusCode::CREATED
        }
    });
    assert_eq!(app.await.send(&ask).await.status, 201);
    assert_eq!((shop.rows("half done"), shop.rows(&key)), (0, 1));
}

#[tokio::test]
async fn what_was_prepared_and_is_thrown_away_fails_one_request_at_most() {
    let (shop, mut failed) = (Shop::at(&shared().url(), 1), 0);
    let policy = Policy::new().guarantee(Guarantee::Transactional);
    let app = shop.serve(policy, async |_, _tx| StatusCode::CREATED).await;
    for _ in 0..5 {
        let (key, ask) = a_key();
        let status = app.send(&ask).await.status;
        failed += usize::from(status != 201);
        assert_eq!(shop.rows(&key), i64::from(status == 201));
        leave(&shop, "DISCARD ALL").await;
    }
    assert!(failed <= 1, "{failed} requests failed");
}

#[tokio::test]
async fn of_a_small_table_an_outcome_is_in_nobodys_way_under_serializable() {
    let shop = Shop::open().with(|store| store.isolation(IsolationLevel::Serializable));
    let layer = layer_with(&shop.store, Policy::new());
    let (records, charges) = (shop.records.clone(), shop.charges.clone());
    // Two transactions that have nothing to do with each other are open at once, and end one after the other.
    let meet = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let app = App::start(layer, move |run| {
        let (records, charges, meet) = (records.clone(), charges.clone(), meet.clone());
        async move {
            let claim = run.claim.expect("a claim");
            let tx = IdempotentTx::begin(&claim).await.expect("a transaction");
            let insert = format!("INSERT INTO {charges} VALUES ($1)");
            tx.execute(&insert, &[&claim.key().as_str()]).await.expect("a row");
            meet.wait().await;
            if run.number == 1 {
                shared().query(&format!("ANALYZE {records}; SELECT 1"));
            }
            meet.wait().await;
            StatusCode::CREATED
        }
    })
    .await;
    let asks = [a_key().1, a_key().1];
    let answers = asks.iter().map(|ask| app.in_background(ask)).collect::<Vec<_>>();
    for answer in answers {
        assert_eq!(answer.await.expect("an answer").status, 201);
    }
}
