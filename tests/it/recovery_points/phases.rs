//! What one phase is, and what ends it.

use std::error::Error as _;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use tower_idempotency::store::PostgresStore;
use tower_idempotency::store::postgres::tokio_postgres::Error;
use tower_idempotency::{
    IdempotentTx, MemoryStore, NoTransaction, PhaseError, PhaseFailure, Policy, RecoveryPoints,
};

use super::shop::{Shop, request};
use crate::support::app::{App, Run, layer_with};
use crate::support::http::{keyed, post};
use crate::support::postgres::shared;

/// Runs a handler, and tells what it answered.
pub async fn run<H, F>(store: &Arc<PostgresStore>, handler: H) -> App
where
    H: Fn(RecoveryPoints, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, PhaseError>> + Send,
{
    let layer = layer_with(store, Policy::new().transaction_retries(1));
    App::start(layer, move |run: Run| {
        let handler = handler.clone();
        async move {
            let claim = run.claim.expect("a claim");
            let points = RecoveryPoints::of(&claim).await.expect("recovery points");
            handler(points, run.number).await
        }
    })
    .await
}

fn store() -> Arc<PostgresStore> {
    Arc::new(shared().store())
}

fn said(text: impl Into<String>) -> impl Future<Output = Result<String, String>> {
    std::future::ready(Ok(text.into()))
}

#[tokio::test]
async fn two_phases_of_one_name_are_an_error_and_a_failed_one_may_be_tried_again() {
    let app = run(&store(), |mut points, _| async move {
        let failed = points.call("a", async |_| Err::<String, _>("down")).await;
        let failed = failed.expect_err("it fails");
        assert_eq!(failed.phase(), "a");
        assert_eq!(failed.source().map(ToString::to_string).as_deref(), Some("down"));
        assert!(
            matches!(failed.failure(), PhaseFailure::Failed(error) if error.to_string() == "down")
        );
        assert_eq!(points.call("a", |_| said("up")).await.expect("a result"), "up");
        let again = points.call::<String, _, _>("a", |_| said("up")).await.expect_err("again");
        assert!(matches!(again.failure(), PhaseFailure::Repeated), "{again}");
        assert_eq!(
            again.to_string(),
            "the phase `a` has no result: another phase of this run has the same name"
        );
        Ok("fine".into_response())
    })
    .await;
    app.send(keyed("k")).await.is_first("fine");
}

#[tokio::test]
async fn results_have_a_limit_and_what_is_over_it_writes_nothing() {
    let shop = Shop::new();
    let writer = Arc::clone(&shop);
    let app = run(&Arc::new(shop.store()), move |mut points, _| {
        let shop = Arc::clone(&writer);
        async move {
            let over = "w".repeat(RecoveryPoints::LIMIT);
            let error = points.call("first", |_| said(over)).await.expect_err("too much");
            assert!(matches!(error.failure(), PhaseFailure::TooLarge), "{error}");
            let most = "x".repeat(RecoveryPoints::LIMIT - 100);
            points.call("much", |_| said(most)).await?;
            let write = async |tx| shop.insert(tx, &"y".repeat(100)).await.map(|_| "y".repeat(100));
            let error = points.write("more", write).await.expect_err("too much");
            assert!(matches!(error.failure(), PhaseFailure::TooLarge), "{error}");
            points.call("little", |_| said("z")).await?;
            Err(error)
        }
    })
    .await;
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    assert_eq!(shop.orders(), 0);
    let limit = i64::try_from(RecoveryPoints::LIMIT).expect("a small number");
    assert!((limit - 100..=limit).contains(&shop.saved()));
}

#[tokio::test]
async fn a_result_that_is_saved_as_another_type_is_an_error_and_its_phase_does_not_run() {
    let app = run(&store(), |mut points, run| async move {
        if run == 1 {
            points.call("a", |_| said("text")).await?;
            panic!("as planned");
        }
        let call = async |_| -> Result<u64, String> { panic!("it is called again") };
        let error = points.call("a", call).await.expect_err("another type");
        assert!(matches!(error.failure(), PhaseFailure::Json(_)), "{error}");
        Err(error)
    })
    .await;
    assert_eq!(app.send(keyed("k")).await.status, 500);
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    assert_eq!(app.runs(), 3);
}

#[tokio::test]
async fn a_write_of_which_a_statement_fails_is_rolled_back_whatever_it_says() {
    let shop = Shop::new();
    let writer = Arc::clone(&shop);
    let app = run(&Arc::new(shop.store()), move |mut points, run| {
        let shop = Arc::clone(&writer);
        async move {
            let write = async |tx| {
                let id = shop.insert(tx, "first").await?;
                Ok::<_, Error>(id)
            };
            points.write("first", write).await?;
            let write = async |tx: tower_idempotency::PhaseTx| {
                let insert = shop.named("INSERT INTO orders (hold) VALUES ('second')");
                tx.execute(&insert, &[]).await?;
                match run {
                    1 => drop(tx.execute("SELECT 1 / 0", &[]).await),
                    2 => _ = tx.execute("SELECT 1 / 0", &[]).await?,
                    _ => {}
                }
                Ok::<_, Error>(())
            };
            points.write("second", write).await.map(|()| "both".into_response())
        }
    })
    .await;
    for _ in 0..2 {
        app.send(keyed("k")).await.is_refused(500, "handler-failed");
        assert_eq!(shop.orders(), 1);
    }
    app.send(keyed("k")).await.is_first("both");
    assert_eq!((shop.orders(), app.runs()), (2, 3));
}

#[tokio::test]
async fn a_transaction_that_is_kept_is_rolled_back() {
    let shop = Shop::new();
    let writer = Arc::clone(&shop);
    let app = run(&Arc::new(shop.store()), move |mut points, _| {
        let shop = Arc::clone(&writer);
        async move {
            let mut kept = None;
            let write = async |tx: tower_idempotency::PhaseTx| {
                tx.execute(&shop.named("INSERT INTO orders (hold) VALUES ('x')"), &[]).await?;
                kept = Some(tx);
                Ok::<_, Error>(())
            };
            let error = points.write("order", write).await.expect_err("kept");
            assert!(matches!(error.failure(), PhaseFailure::Kept), "{error}");
            Err(error)
        }
    })
    .await;
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    assert_eq!(shop.orders(), 0);
}

#[tokio::test]
async fn a_write_that_ends_its_transaction_itself_has_no_result() {
    for end in ["ROLLBACK", "COMMIT", "COMMIT; BEGIN"] {
        let shop = Shop::new();
        let writer = Arc::clone(&shop);
        let app = run(&Arc::new(shop.store()), move |mut points, _| {
            let shop = Arc::clone(&writer);
            async move {
                let write = async |tx: tower_idempotency::PhaseTx| {
                    tx.execute(&shop.named("INSERT INTO orders (hold) VALUES ('x')"), &[]).await?;
                    tx.batch_execute(end).await
                };
                let error = points.write("order", write).await.expect_err("ended");
                assert!(matches!(error.failure(), PhaseFailure::Ended), "{error}");
                Err(error)
            }
        })
        .await;
        app.send(keyed("k")).await.is_refused(500, "handler-failed");
        assert_eq!(shop.saved(), 0, "{end}");
    }
}

#[tokio::test]
async fn recovery_points_and_a_transaction_do_not_go_together() {
    let app = App::start(layer_with(&store(), Policy::new()), async |run: Run| {
        let claim = run.claim.expect("a claim");
        let points = RecoveryPoints::of(&claim).await.expect("recovery points");
        let tx = IdempotentTx::begin(&claim).await;
        assert!(matches!(tx, Err(NoTransaction::InUse)), "{tx:?}");
        let second = RecoveryPoints::of(&claim).await;
        assert!(matches!(second, Err(NoTransaction::InUse)), "{second:?}");
        assert!(format!("{points:?}").starts_with("RecoveryPoints { claim: "), "{points:?}");
        drop(points);
        let tx = IdempotentTx::begin(&claim).await.expect("a transaction");
        let points = RecoveryPoints::of(&claim).await;
        assert!(matches!(points, Err(NoTransaction::InUse)), "{points:?}");
        drop(tx);
        let points = RecoveryPoints::of(&claim).await;
        assert!(matches!(points, Err(NoTransaction::InUse)), "{points:?}");
        "fine"
    })
    .await;
    app.send(keyed("k")).await.is_first("fine");
}

#[tokio::test]
async fn a_transaction_that_is_refused_takes_nothing_from_the_one_in_use() {
    let shop = Shop::new();
    let writer = Arc::clone(&shop);
    let layer = layer_with(&Arc::new(shop.store()), Policy::new());
    let app = App::start(layer, move |run: Run| {
        let shop = Arc::clone(&writer);
        async move {
            let claim = run.claim.expect("a claim");
            let tx = IdempotentTx::begin(&claim).await.expect("a transaction");
            assert!(IdempotentTx::begin(&claim).await.is_err(), "it is in use");
            assert!(RecoveryPoints::of(&claim).await.is_err(), "it is in use");
            let insert = shop.named("INSERT INTO orders (hold) VALUES ('x')");
            tx.execute(&insert, &[]).await.expect("written");
            "written"
        }
    })
    .await;
    app.send(keyed("k")).await.is_first("written");
    assert_eq!(shop.orders(), 1);
}

#[tokio::test]
async fn without_a_claim_and_without_a_database_there_are_none() {
    let app =
        App::start(layer_with(&Arc::new(MemoryStore::new()), Policy::new()), async |run: Run| {
            RecoveryPoints::of(&run.claim.expect("a claim")).await.expect_err("no database")
        })
        .await;
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    assert_eq!(app.runs(), 2, "nothing was executed");
    let server = Shop::new().serve(Policy::new()).await;
    server.send(post("/orders")).await.is_refused(400, "key-missing");
}

#[tokio::test]
async fn whoever_keeps_them_longer_than_the_handler_gets_no_answer() {
    let app = run(&store(), |mut points, run| async move {
        points.call("a", |_| said("a")).await?;
        if run == 1 {
            tokio::spawn(async move {
                points.call("b", |_| std::future::pending::<Result<(), String>>()).await
            });
        }
        Ok("early".into_response())
    })
    .await;
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    app.send(keyed("k")).await.is_first("early");
}

#[tokio::test]
async fn they_pass_a_pooler() {
    let shop = Shop::new();
    let server = shop.serve_with(shop.store().behind_pooler(), Policy::new()).await;
    assert_eq!(server.send(request()).await.text(), "authorise 1 ship");
}
