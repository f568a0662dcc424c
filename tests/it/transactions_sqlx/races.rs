use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tokio::sync::Notify;
use tower_idempotency::store::postgres::sqlx::{self, AssertSqlSafe};
use tower_idempotency::store::postgres::tokio_postgres::IsolationLevel;
use tower_idempotency::{IdempotentSqlxTx, Policy, SerializationFailure};

use super::{Shop, a_key, name, shared};
use crate::support::app::{App, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn w05_a_stale_worker_is_rolled_back_and_answers_as_the_winner() {
    let (shop, (key, ask), go) = (Shop::open(), a_key(), Arc::new(Notify::new()));
    let told = Arc::clone(&go);
    let app = shop
        .serve(Policy::new(), move |_, _tx| {
            let told = Arc::clone(&told);
            async move { told.notified().await }
        })
        .await;
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1 && shop.open_transactions() == 1).await;
    // As if a lease had passed.
    shared().query(&format!("UPDATE {} SET moment = 1; SELECT 1", shop.records));
    let winner = App::start(shop.layer(Policy::new()), async |_| "the winner").await;
    assert_eq!(winner.settled(&ask).await.text(), "the winner");
    go.notify_one();
    let first = first.await.expect("an answer");
    assert_eq!((first.text(), first.is_replay()), ("the winner", true));
    assert_eq!(shop.rows(&key), 0);
    shop.is_whole().await;
}

/// What a program makes of errors.
#[derive(Debug)]
struct Failed(sqlx::Error);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn a_transaction_that_lost_against_others_runs_again() {
    let shop = Shop::of(|store| store.isolation(IsolationLevel::RepeatableRead));
    let table = name("accounts");
    shared().query(&format!("CREATE TABLE {table} AS SELECT 10 AS balance; SELECT 1"));
    let take = format!("UPDATE {table} SET balance = balance - 1");
    let taken = take.clone();
    let app = shop
        .serve(Policy::new().transaction_retries(1), move |run, mut tx: IdempotentSqlxTx| {
            let take = taken.clone();
            async move {
                if run.number == 1 {
                    shared().query(&take);
                }
                match sqlx::query(AssertSqlSafe(take)).execute(&mut *tx).await {
                    Ok(_) => StatusCode::CREATED.into_response(),
                    Err(error) => {
                        let failure = SerializationFailure::of(&error).expect("it says so");
                        assert_eq!(SerializationFailure::of(&Failed(error)), Some(failure));
                        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                        response.extensions_mut().insert(failure);
                        response
                    }
                }
            }
        })
        .await;
    let (key, ask) = a_key();
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!((app.runs(), shop.rows(&key)), (2, 1));
    let balance = shared().query(&format!("SELECT balance FROM {table}"));
    assert_eq!(balance[0].get::<_, i32>(0), 8);
    shop.is_whole().await;
}
