//! A pooler in between that hands out the server's connections by the transaction.

use axum::http::StatusCode;
use futures_util::future::join_all;
use tower_idempotency::store::PostgresStore;
use tower_idempotency::{IdempotentTx, Policy};

use super::commits::{COMMIT, wired};
use super::{Shop, a_key, shared};
use crate::support::app::App;
use crate::support::pooler::Pooler;
use crate::support::wire::Point;

fn behind(pooler: &Pooler, connections: usize) -> Shop {
    let url = shared().url_at(pooler.port());
    Shop::at(&url, connections).with(PostgresStore::behind_pooler)
}

/// A server whose handlers are refused, fail and succeed in turns.
async fn mixed(shop: &Shop) -> App {
    let handler = async |run: crate::support::app::Run, _tx: IdempotentTx| match run.number % 3 {
        0 => StatusCode::PAYMENT_REQUIRED,
        1 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CREATED,
    };
    shop.serve(Policy::new(), handler).await
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_share_the_connections_of_a_pooler() {
    let pooler = Pooler::start(shared(), 3);
    let shop = behind(&pooler, 16);
    let app = mixed(&shop).await;
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
async fn a_transaction_leaves_a_connection_of_the_pooler_as_it_was() {
    let pooler = Pooler::start(shared(), 1);
    let shop = behind(&pooler, 1);
    let app = mixed(&shop).await;
    let settings = async || {
        let client = shop.pool.get().await.expect("a connection");
        let select = "SELECT name || setting FROM pg_settings WHERE source = 'session'
            UNION ALL SELECT current_setting('tower_idempotency.claim', true)
            UNION ALL SELECT pg_backend_pid()::text";
        let rows = client.query_typed(select, &[]).await.expect("settings");
        rows.iter().map(|row| row.get(0)).collect::<Vec<Option<String>>>()
    };
    let before = settings().await;
    for status in [500, 201, 402] {
        assert_eq!(app.send(a_key().1).await.status, status);
    }
    let mut after = settings().await;
    // What was set for a transaction is there afterwards, and says nothing.
    after.iter_mut().for_each(|setting| _ = setting.take_if(|setting| setting.is_empty()));
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_lost_commit_is_told_as_what_it_is_behind_a_pooler() {
    let pooler = Pooler::start(shared(), 16);
    for (point, first, last) in [(Point::Reply, 201, "1"), (Point::Request, 503, "2")] {
        let tell = PostgresStore::behind_pooler;
        let (shop, app) = wired(pooler.port(), tell, move |wire| wire.hold(COMMIT, point)).await;
        let (key, ask) = a_key();
        assert_eq!(app.send(&ask).await.status, first);
        let retry = app.settled_for_good(&ask).await;
        assert_eq!((retry.status, retry.text(), retry.is_replay()), (201, last, first == 201));
        assert_eq!(shop.rows(&key), 1);
    }
}
