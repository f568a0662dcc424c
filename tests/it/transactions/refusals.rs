use std::error::Error as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use axum::{Extension, Router};
use tower::ServiceExt as _;
use tower_idempotency::store::{Effect, Error, ErrorKind, Operation, Store as _};
use tower_idempotency::{
    IdempotencyLayer, IdempotentTx, MemoryStore, NoTransaction, Policy, RunningClaim,
    SerializationFailure, Tenant,
};

use super::{Shop, a_key};
use crate::support::app::{App, layer_with};
use crate::support::http::post as unkeyed;

#[tokio::test]
async fn a_handler_takes_it_as_an_extractor() {
    let (shop, (key, _)) = (Shop::open(), a_key());
    let insert = format!("INSERT INTO {} VALUES ($1)", shop.charges);
    let handler = async move |tx: IdempotentTx, name: String| {
        tx.execute(&insert, &[&name]).await.expect("a row");
        StatusCode::CREATED
    };
    let app = Router::new().route("/charges", post(handler)).layer(shop.layer(Policy::new()));
    let request =
        Request::post("/charges").header("idempotency-key", "1").body(Body::from(key.clone()));
    let response = app.oneshot(request.unwrap()).await.unwrap();
    assert_eq!((response.status(), shop.rows(&key)), (StatusCode::CREATED, 1));
}

#[tokio::test]
async fn without_a_key_there_is_none() {
    let shop = Shop::open();
    let handler = async |_: IdempotentTx| StatusCode::CREATED;
    let router = Router::new().fallback(handler).layer(shop.layer(Policy::new()));
    let app = App::serve(router, Default::default()).await;
    app.send(unkeyed("/")).await.is_refused(400, "key-missing");
}

#[tokio::test]
async fn a_store_that_is_no_database_has_none_and_nothing_was_executed() {
    let handler = async |_: IdempotentTx| StatusCode::CREATED;
    let layer = IdempotencyLayer::new(MemoryStore::new(), Tenant::single());
    let app = App::serve(Router::new().fallback(handler).layer(layer), Default::default()).await;
    let (_, ask) = a_key();
    app.send(&ask).await.is_refused(500, "handler-failed");
    // It was not stored.
    assert!(!app.send(&ask).await.is_replay());
}

#[tokio::test]
async fn it_can_be_had_again_once_it_is_not_in_use() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, tx| {
            let claim = run.claim.expect("a claim");
            let second = IdempotentTx::begin(&claim).await;
            assert!(matches!(second, Err(NoTransaction::InUse)), "{second:?}");
            let begun = transaction(&tx).await;
            drop(tx);
            let again = IdempotentTx::begin(&claim).await.expect("it is free again");
            assert_eq!(transaction(&again).await, begun);
            StatusCode::CREATED
        })
        .await;
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

/// The number of a transaction that has written.
async fn transaction(tx: &IdempotentTx) -> String {
    tx.query_one("SELECT pg_current_xact_id()::text", &[]).await.expect("a row").get(0)
}

#[tokio::test]
async fn it_names_itself_in_debug_and_hides_the_key() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop.serve(Policy::new(), async |_, tx| format!("{tx:?}")).await;
    let text = app.send(&ask).await.text().to_owned();
    assert!(text.starts_with("IdempotentTx { claim: "), "{text}");
    assert!(!text.contains(&key), "{text}");
    assert_eq!(format!("{:?}", shop.store.transactions()), "Some(Transactions)");
}

#[test]
fn why_there_is_none_is_said() {
    let error = Error::new(ErrorKind::TimedOut, Operation::Commit, Effect::None);
    let text = error.to_string();
    for (none, said, source) in [
        (NoTransaction::Unclaimed, "no key", None),
        (NoTransaction::Unprotected, "could not be asked", None),
        (NoTransaction::NoDatabase, "use a PostgresStore", None),
        (NoTransaction::InUse, "in use", None),
        (NoTransaction::ClaimLost, "another worker", None),
        (NoTransaction::Unavailable(error), "cannot be used", Some(text)),
    ] {
        assert!(none.to_string().contains(said), "{none}");
        assert_eq!(none.source().map(ToString::to_string), source);
    }
}

#[tokio::test]
async fn one_that_is_kept_is_never_committed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let (keep, mut kept) = tokio::sync::mpsc::unbounded_channel();
    let app = shop
        .serve(Policy::new(), move |run, tx| {
            if run.number == 1 {
                keep.send((run.claim.expect("a claim"), tx)).expect("somebody keeps it");
            }
            async { StatusCode::CREATED }
        })
        .await;
    app.send(&ask).await.is_refused(500, "handler-failed");
    let (claim, tx): (RunningClaim, _) = kept.recv().await.expect("it was kept");
    tx.batch_execute("SELECT 1").await.expect("it is still open");
    let late = IdempotentTx::begin(&claim).await;
    assert!(matches!(late, Err(NoTransaction::InUse)), "{late:?}");
    drop(tx);
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_handler_whose_lost_transaction_is_kept_does_not_run_again() {
    let (shop, (_, ask)) = (Shop::open(), a_key());
    let (keep, kept) = tokio::sync::mpsc::unbounded_channel();
    let app = shop
        .serve(Policy::new().transaction_retries(5), move |_, tx| {
            keep.send(tx).expect("somebody keeps it");
            async { (StatusCode::INTERNAL_SERVER_ERROR, Extension(SerializationFailure)) }
        })
        .await;
    assert_eq!(app.send(&ask).await.status, 500);
    assert_eq!(app.runs(), 1);
    drop(kept);
}

#[tokio::test]
async fn a_near_cache_passes_it_on() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let cached = std::sync::Arc::new(tower_idempotency::NearCache::new(shop.store.clone()));
    let charging = shop.clone();
    let app = App::start(layer_with(&cached, Policy::new()), move |run| {
        let shop = charging.clone();
        async move { shop.charge(&run).await.map(|_tx| StatusCode::CREATED) }
    })
    .await;
    assert_eq!(app.send(&ask).await.status, 201);
    assert!(app.send(&ask).await.is_replay());
    assert_eq!(shop.rows(&key), 1);
}
