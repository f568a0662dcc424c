//! Handlers that write a row in PostgreSQL, and the layer on it.

use std::num::NonZeroU32;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use overhead::workload::ANSWER;
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;
use tower_idempotency::{IdempotencyLayer, IdempotentTx, PostgresStore, Tenant};

use crate::runs::Runs;

/// So many connections at most, and for the store so many for claims and for completions each.
const CONNECTIONS: u32 = 16;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS charges (id bigserial PRIMARY KEY, amount bigint NOT NULL)";
const INSERT: &str = "INSERT INTO charges (amount) VALUES (1999)";

type Answer = ([(HeaderName, &'static str); 1], &'static str);

pub(crate) async fn pool(url: &str) -> Pool {
    let config = url.parse().expect("an address");
    let pool = Pool::builder(Manager::new(config, NoTls)).max_size(CONNECTIONS as usize);
    let pool = pool.build().expect("without timeouts a pool needs no runtime");
    let client = pool.get().await.expect("a server");
    client.batch_execute(TABLE).await.expect("the table is made");
    pool
}

pub(crate) async fn layer(pool: &Pool) -> IdempotencyLayer {
    let connections = NonZeroU32::new(CONNECTIONS).expect("some");
    let store = PostgresStore::new(pool.clone()).connections(connections);
    store.migrate().await.expect("the table is made");
    IdempotencyLayer::new(store, Tenant::single())
}

/// Writes the row, committed by itself.
pub(crate) fn alone(pool: Pool, runs: Runs) -> MethodRouter {
    post(async move |_: Bytes| -> Result<Answer, StatusCode> {
        runs.count();
        let client = pool.get().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let insert = client.prepare_cached(INSERT).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        client.execute(&insert, &[]).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        Ok(([(CONTENT_TYPE, "application/json")], ANSWER))
    })
}

/// Writes it in the transaction of the answer.
pub(crate) fn with_answer(runs: Runs) -> MethodRouter {
    post(async move |tx: IdempotentTx, _: Bytes| -> Result<Answer, StatusCode> {
        runs.count();
        let insert = tx.prepare_cached(INSERT).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        tx.execute(&insert, &[]).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        Ok(([(CONTENT_TYPE, "application/json")], ANSWER))
    })
}
