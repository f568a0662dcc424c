use std::time::Duration;

use axum::http::StatusCode;
use tower_idempotency::store::postgres::sqlx;
use tower_idempotency::{IdempotentSqlxTx, Policy};

use super::{Shop, a_key};
use crate::support::app::{App, answers, pause};

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_hang_ups_leak_no_connection_and_no_transaction() {
    let shop = Shop::open();
    let app = shop
        .serve(Policy::new(), async |run, _tx| {
            pause(u64::try_from(run.number % 7).unwrap()).await;
            StatusCode::CREATED
        })
        .await;
    let requests: Vec<_> = (0..500).map(|_| a_key()).collect();
    for (number, (_, ask)) in requests.iter().enumerate() {
        let mut client = app.server.connect().await;
        client.write(ask).await;
        pause(u64::try_from(number % 5).unwrap()).await;
        drop(client);
    }
    for (_, ask) in &requests {
        assert_eq!(app.settled(ask).await.status, 201);
    }
    // Of each no more than one, as the table has it.
    assert_eq!(shop.charged().len(), 500);
    shop.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_are_stopped_at_any_time_leak_none() {
    let shop = Shop::open();
    let policy = Policy::new().lease(Duration::from_secs(1)).max_run(Duration::from_millis(6));
    let app = shop
        .serve(policy, async |run, mut tx| {
            if run.number % 2 == 0 {
                let _ = sqlx::query("SELECT pg_sleep(0.004)").execute(&mut *tx).await;
            }
            StatusCode::CREATED
        })
        .await;
    let requests: Vec<_> = (0..200).map(|_| a_key()).collect();
    let all: Vec<_> = requests.iter().map(|(_, ask)| app.in_background(ask)).collect();
    let answers = answers(all).await;
    let charged = shop.charged();
    for (answer, (key, _)) in answers.iter().zip(&requests) {
        assert_eq!(charged.contains(key), answer.status == 201, "{}", answer.status);
    }
    shop.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_not_waited_for_leaks_none() {
    let shop = Shop::open();
    let app = App::start(shop.layer(Policy::new()), async |run| {
        let claim = run.claim.expect("a claim");
        for micros in 0..100 {
            let begin = IdempotentSqlxTx::begin(&claim);
            let _ = tokio::time::timeout(Duration::from_micros(micros * 50), begin).await;
        }
        StatusCode::CREATED
    })
    .await;
    app.send(a_key().1).await;
    shop.is_whole().await;
}

#[tokio::test]
async fn a_connection_that_was_put_back_after_a_begin_is_of_use_all_the_same() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    // As a `begin` of the pool does that is not waited for.
    let mut connection = shop.pool.acquire().await.expect("a connection");
    sqlx::raw_sql("BEGIN ISOLATION LEVEL SERIALIZABLE").execute(&mut *connection).await.unwrap();
    connection.return_to_pool().await;
    assert_eq!((shop.pool.num_idle(), shop.open_transactions()), (1, 1));
    let app = shop
        .serve(Policy::new(), async |_, mut tx| {
            let isolation = sqlx::query_scalar("SHOW transaction_isolation");
            let isolation: String = isolation.fetch_one(&mut *tx).await.expect("a setting");
            (StatusCode::CREATED, isolation)
        })
        .await;
    let answer = app.send(&ask).await;
    assert_eq!((answer.status, answer.text()), (201, "read committed"));
    assert_eq!((shop.pool.size(), shop.rows(&key)), (1, 1));
    shop.is_whole().await;
}
