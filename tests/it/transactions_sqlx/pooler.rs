//! A pooler in between that hands out the server's connections by the transaction.

use axum::http::StatusCode;
use futures_util::future::join_all;
use tower_idempotency::store::PostgresStore;
use tower_idempotency::{IdempotentSqlxTx, Policy};

use super::commits::{Way, a_lost_commit_is_told_as_what_it_is};
use super::{Shop, a_key, shared};
use crate::support::pooler::Pooler;

fn behind(pooler: &Pooler) -> Way {
    Way { port: pooler.port(), tell: PostgresStore::behind_pooler }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_share_the_connections_of_a_pooler() {
    let pooler = Pooler::start(shared(), 3);
    let url = shared().url_at(pooler.port());
    let shop = Shop::at(&url, &url, PostgresStore::behind_pooler);
    let app = shop
        .serve(Policy::new(), async |run, _tx: IdempotentSqlxTx| match run.number % 3 {
            0 => StatusCode::PAYMENT_REQUIRED,
            1 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::CREATED,
        })
        .await;
    let requests: Vec<_> = (0..40).map(|_| a_key()).collect();
    join_all(requests.iter().map(async |(key, ask)| {
        let mut answer = app.settled_for_good(ask).await;
        while answer.status == 500 {
            assert_eq!(shop.rows(key), 0);
            answer = app.settled_for_good(ask).await;
        }
        app.settled_for_good(ask).await.is_replay_of(&answer);
        assert_eq!(shop.rows(key), i64::from(answer.status == 201));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_lost_commit_is_told_as_what_it_is_behind_a_pooler() {
    let pooler = Pooler::start(shared(), 60);
    a_lost_commit_is_told_as_what_it_is(behind(&pooler)).await;
}
