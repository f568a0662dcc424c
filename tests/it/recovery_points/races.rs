//! Phases whose transactions lose against others.

use std::error::Error as _;
use std::sync::Arc;

use axum::response::IntoResponse;
use tower_idempotency::store::postgres::tokio_postgres::{Error, IsolationLevel};
use tower_idempotency::{PhaseFailure, PhaseTx};

use super::phases::run;
use super::shop::Shop;
use crate::support::http::keyed;
use crate::support::postgres::shared;

#[tokio::test]
async fn a_write_that_loses_against_others_runs_again_if_the_policy_says_so() {
    let shop = Shop::new();
    shared().query(&shop.named("INSERT INTO orders (hold) VALUES ('old');"));
    let store = Arc::new(shop.store().isolation(IsolationLevel::RepeatableRead));
    let writer = Arc::clone(&shop);
    let app = run(&store, move |mut points, run| {
        let shop = Arc::clone(&writer);
        async move {
            points.call("a", |_| shop.ask("a", String::new())).await?;
            let write = async |tx: PhaseTx| {
                assert_eq!(format!("{tx:?}"), "PhaseTx");
                tx.query_one("SELECT 1", &[]).await?;
                if run == 1 {
                    shared().query(&shop.named("UPDATE orders SET hold = 'theirs';"));
                }
                tx.execute(&shop.named("UPDATE orders SET hold = 'ours'"), &[]).await
            };
            points.write("b", write).await.map(|count| count.to_string().into_response())
        }
    })
    .await;
    app.send(keyed("k")).await.is_first("1");
    assert_eq!((app.runs(), shop.calls("a").len()), (2, 1));
}

#[tokio::test]
async fn a_write_that_loses_when_it_is_saved_runs_again_as_well() {
    let shop = Shop::new();
    let store = Arc::new(shop.store().isolation(IsolationLevel::Serializable));
    let writer = Arc::clone(&shop);
    let app = run(&store, move |mut points, run| {
        let shop = Arc::clone(&writer);
        async move {
            let (count, add) = (
                shop.named("SELECT count(*) FROM orders"),
                shop.named("INSERT INTO orders (hold) SELECT count(*)::text FROM orders"),
            );
            let write = async |tx: PhaseTx| {
                tx.query_one(&count, &[]).await?;
                tx.execute(&add, &[]).await?;
                if run == 1 {
                    let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
                    shared().query(&format!("{begin}; {add}; COMMIT; SELECT 1"));
                }
                Ok::<_, Error>(run.to_string())
            };
            let written = points.write("b", write).await;
            if let Err(error) = &written {
                assert!(matches!(error.failure(), PhaseFailure::LostRace(_)), "{error}");
                assert!(error.source().is_some());
            }
            written.map(IntoResponse::into_response)
        }
    })
    .await;
    app.send(keyed("k")).await.is_first("2");
    assert_eq!((app.runs(), shop.orders()), (2, 2));
}
