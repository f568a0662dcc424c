use std::time::Duration;

use axum::Extension;
use axum::http::StatusCode;
use tower_idempotency::store::Writes;
use tower_idempotency::{Guarantee, Policy, Verdict};

use super::{Shop, a_key, short};
use crate::support::app::App;

const COMPLETED: i16 = 2;
const RELEASED: i16 = 3;

#[tokio::test]
async fn a_success_commits_the_row_with_the_outcome_and_is_replayed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, _tx| (StatusCode::CREATED, run.number.to_string()))
        .await;
    let first = app.send(&ask).await;
    assert_eq!((first.status, first.text(), first.is_replay()), (201, "1", false));
    assert_eq!((shop.rows(&key), shop.phases()), (1, vec![COMPLETED]));
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.text(), retry.is_replay()), (201, "1", true));
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn without_it_an_ambiguous_answer_is_kept_at_most_once() {
    let (shop, (_, ask)) = (Shop::open(), a_key());
    let app =
        App::start(shop.layer(Policy::new()), async |_| StatusCode::INTERNAL_SERVER_ERROR).await;
    let first = app.send(&ask).await;
    assert_eq!((first.status, first.is_replay(), shop.phases()), (500, false, vec![COMPLETED]));
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.is_replay(), app.runs()), (500, true, 1));
}

#[tokio::test]
async fn what_is_rolled_back_leaves_its_connection_to_the_pool() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |_, tx| {
            let pid = tx.query_one("SELECT pg_backend_pid()", &[]).await.expect("a row");
            (StatusCode::INTERNAL_SERVER_ERROR, pid.get::<_, i32>(0).to_string())
        })
        .await;
    let answer = app.send(&ask).await;
    let there = format!("SELECT state FROM pg_stat_activity WHERE pid = {}", answer.text());
    let states: Vec<String> = shop.server.query(&there).iter().map(|row| row.get(0)).collect();
    assert_eq!((answer.status, states), (500, vec!["idle".to_owned()]));
    assert_eq!(shop.rows(&key), 0);
}

#[tokio::test]
async fn a_redirection_is_committed_too() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop.serve(Policy::new(), async |_, _tx| StatusCode::SEE_OTHER).await;
    assert_eq!(app.send(&ask).await.status, 303);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_refusal_undoes_the_row_and_its_answer_is_replayed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app =
        shop.serve(Policy::new(), async |_, _tx| (StatusCode::PAYMENT_REQUIRED, "poor")).await;
    assert_eq!(app.send(&ask).await.status, 402);
    assert_eq!((shop.rows(&key), shop.phases()), (0, vec![COMPLETED]));
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.text(), retry.is_replay()), (402, "poor", true));
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn a_refusal_after_a_failed_statement_is_stored_as_well() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |_, tx| {
            tx.batch_execute("SELECT 1/0").await.expect_err("an error");
            StatusCode::CONFLICT
        })
        .await;
    assert_eq!(app.send(&ask).await.status, 409);
    let retry = app.send(&ask).await;
    assert_eq!((retry.status, retry.is_replay()), (409, true));
    assert_eq!(shop.rows(&key), 0);
}

#[tokio::test]
async fn a_policy_can_keep_what_a_refusal_wrote() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let policy = Policy::new().refused_writes(Writes::Keep);
    let app = shop.serve(policy, async |_, _tx| StatusCode::PAYMENT_REQUIRED).await;
    assert_eq!(app.send(&ask).await.status, 402);
    assert_eq!((shop.rows(&key), shop.phases()), (1, vec![COMPLETED]));
}

#[tokio::test]
async fn an_ambiguous_answer_rolls_back_and_a_retry_runs_under_either_guarantee() {
    for (guarantee, status) in [
        (Guarantee::AtMostOnce, StatusCode::INTERNAL_SERVER_ERROR),
        (Guarantee::AtLeastOnce, StatusCode::INTERNAL_SERVER_ERROR),
        (Guarantee::AtMostOnce, StatusCode::BAD_REQUEST),
    ] {
        let (shop, (key, ask)) = (Shop::open(), a_key());
        let app = shop
            .serve(Policy::new().guarantee(guarantee), move |run, _tx| async move {
                match run.number {
                    1 => (status, Extension(Verdict::Ambiguous)),
                    _ => (StatusCode::CREATED, Extension(Verdict::Definitive)),
                }
            })
            .await;
        assert_eq!(app.send(&ask).await.status, status.as_u16());
        assert_eq!((shop.rows(&key), shop.phases()), (0, vec![RELEASED]));
        let retry = app.send(&ask).await;
        assert_eq!((retry.status, retry.is_replay()), (201, false));
        assert_eq!(shop.rows(&key), 1);
    }
}

#[tokio::test]
async fn an_answer_that_says_nothing_was_executed_rolls_back() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop.serve(Policy::new(), async |_, _tx| StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(app.send(&ask).await.status, 429);
    assert_eq!((shop.rows(&key), shop.phases()), (0, vec![RELEASED]));
}

#[tokio::test]
async fn a_success_that_may_be_none_is_rolled_back_and_nobody_is_told_of_a_success() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::Transactional] {
        for status in [StatusCode::OK, StatusCode::SEE_OTHER] {
            let (shop, (key, ask)) = (Shop::open(), a_key());
            let policy = Policy::new().guarantee(guarantee);
            let app = shop
                .serve(policy, move |run, _tx| async move {
                    let verdict = match run.number {
                        1 => Verdict::Ambiguous,
                        _ => Verdict::Definitive,
                    };
                    (status, Extension(verdict))
                })
                .await;
            app.send(&ask).await.is_refused(500, "handler-failed");
            assert_eq!((shop.rows(&key), shop.phases()), (0, vec![RELEASED]));
            assert_eq!(app.send(&ask).await.status, status.as_u16());
            assert_eq!(shop.rows(&key), 1);
        }
    }
}

#[tokio::test]
async fn a_panic_rolls_back_and_a_retry_runs() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop
        .serve(Policy::new(), async |run, _tx| {
            assert!(run.number > 1, "the first run panics");
            StatusCode::CREATED
        })
        .await;
    app.send(&ask).await.is_refused(500, "handler-failed");
    assert_eq!((shop.rows(&key), shop.phases()), (0, vec![RELEASED]));
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_rolled_back_in_the_middle_of_a_statement() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let policy = short().max_run(Duration::from_millis(1500));
    let app = shop
        .serve(policy, async |run, tx| {
            if run.number == 1 {
                tx.batch_execute("SELECT pg_sleep(60)").await.expect("nobody waits for it");
            }
            StatusCode::CREATED
        })
        .await;
    app.send(&ask).await.is_refused(500, "handler-failed");
    assert_eq!(shop.rows(&key), 0);
    assert_eq!(app.settled(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test]
async fn a_response_without_content_and_one_that_is_not_kept_are_committed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let app = shop.serve(Policy::new(), async |_, _tx| StatusCode::NO_CONTENT).await;
    assert_eq!(app.send(&ask).await.status, 204);
    let (long, other) = a_key();
    let app = shop.serve(Policy::new().response_limit(10), async |_, _tx| "a long answer").await;
    assert_eq!(app.send(&other).await.text(), "a long answer");
    app.send(&other).await.is_refused(409, "result-unavailable");
    assert_eq!((shop.rows(&key), shop.rows(&long)), (1, 1));
}

#[tokio::test]
async fn a_default_of_serializable_changes_nothing() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let config =
        format!("{}?options=-cdefault_transaction_isolation%3Dserializable", shop.server.url());
    let there = Shop::at(&config, 4);
    let app = there.serve(Policy::new(), async |_, _tx| StatusCode::CREATED).await;
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!(there.rows(&key), 1);
}
