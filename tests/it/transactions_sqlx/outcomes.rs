use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tower_idempotency::store::Writes;
use tower_idempotency::store::postgres::sqlx;
use tower_idempotency::{IdempotentSqlxTx, IdempotentTx, NoTransaction, Policy};

use super::{Shop, a_key, shared};
use crate::support::app::{App, layer_with};

#[tokio::test]
async fn a_success_commits_the_row_with_the_outcome_and_is_replayed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, _tx| (StatusCode::CREATED, run.number.to_string()))
        .await;
    let first = app.send(&ask).await;
    assert_eq!((first.status, first.text(), first.is_replay()), (201, "1", false));
    assert_eq!(shop.rows(&key), 1);
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.text(), retry.is_replay()), (201, "1", true));
    shop.is_whole().await;
}

#[tokio::test]
async fn a_refusal_undoes_the_row_and_its_answer_is_replayed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |_, mut tx| {
            sqlx::query("SELECT 1/0").execute(&mut *tx).await.expect_err("an error");
            (StatusCode::PAYMENT_REQUIRED, "poor")
        })
        .await;
    assert_eq!(app.send(&ask).await.status, 402);
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.text(), retry.is_replay()), (402, "poor", true));
    assert_eq!((shop.rows(&key), app.runs()), (0, 1));
    shop.is_whole().await;
}

#[tokio::test]
async fn a_policy_can_keep_what_a_refusal_wrote() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let policy = Policy::new().refused_writes(Writes::Keep);
    let app = shop.serve(policy, async |_, _tx| StatusCode::PAYMENT_REQUIRED).await;
    assert_eq!((app.send(&ask).await.status, shop.rows(&key)), (402, 1));
}

#[tokio::test]
async fn a_panic_and_an_ambiguous_answer_roll_back_and_a_retry_runs() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, _tx| match run.number {
            1 => panic!("the first run panics"),
            2 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::CREATED,
        })
        .await;
    for status in [500, 500, 201] {
        assert_eq!(shop.rows(&key), 0);
        assert_eq!(app.send(&ask).await.status, status);
    }
    assert_eq!((shop.rows(&key), app.runs()), (1, 3));
    shop.is_whole().await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_rolled_back_in_the_middle_of_a_statement() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let policy = Policy::new().lease(Duration::from_secs(1)).max_run(Duration::from_millis(1500));
    let app = shop
        .serve(policy, async |run, mut tx| {
            if run.number == 1 {
                let sleep = sqlx::query("SELECT pg_sleep(4)");
                sleep.execute(&mut *tx).await.expect("nobody waits for it");
            }
            StatusCode::CREATED
        })
        .await;
    app.send(&ask).await.is_refused(500, "handler-failed");
    assert_eq!(shop.rows(&key), 0);
    // The row is locked for as long as the server sleeps.
    while app.settled(&ask).await.status != 201 {}
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_backend_that_is_ended_before_the_commit_leaves_nothing_and_a_retry_runs() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, mut tx| {
            if run.number == 1 {
                let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await;
                let pid: i32 = pid.expect("a number");
                shared().query(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
            }
            (StatusCode::CREATED, run.number.to_string())
        })
        .await;
    app.send(&ask).await.is_refused(503, "store-unavailable");
    assert_eq!(shop.rows(&key), 0);
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.text(), shop.rows(&key)), (201, "2", 1));
    shop.is_whole().await;
}

#[tokio::test]
async fn a_store_without_a_pool_of_sqlx_says_so() {
    let store = std::sync::Arc::new(shared().store());
    let app = App::start(layer_with(&store, Policy::new()), async |run| {
        let claim = run.claim.expect("a claim");
        let none = IdempotentSqlxTx::begin(&claim).await.expect_err("there is none");
        assert!(matches!(none, NoTransaction::NoSqlxPool));
        // Nothing has been begun.
        drop(IdempotentTx::begin(&claim).await.expect("the other kind"));
        none.into_response()
    })
    .await;
    app.send(a_key().1).await.is_refused(500, "handler-failed");
}

#[tokio::test]
async fn a_request_has_one_transaction_of_one_kind() {
    let shop = Shop::open();
    let (key, ask) = a_key();
    let app = shop
        .serve(Policy::new(), async |run, tx| {
            let claim = run.claim.expect("a claim");
            drop(tx);
            let other = IdempotentTx::begin(&claim).await.expect_err("it is of the other kind");
            assert!(matches!(other, NoTransaction::InUse));
            let again = IdempotentSqlxTx::begin(&claim).await.expect("the same one");
            assert!(format!("{again:?}").starts_with("IdempotentSqlxTx { claim: "), "{again:?}");
            let twice = IdempotentSqlxTx::begin(&claim).await.expect_err("it is in use");
            assert!(matches!(twice, NoTransaction::InUse));
            drop(again);
            StatusCode::CREATED
        })
        .await;
    assert_eq!((app.send(&ask).await.status, shop.rows(&key)), (201, 1));
}
