//! Charges that are written in one transaction with the answer of their request: after whatever crash, a
//! key has one row and one answer, or neither.
//!
//! ```text
//! cargo run --features postgres --example postgres_transaction -- --trial
//! cargo run --features postgres --example postgres_transaction -- --database postgres://me@localhost/me
//! ```
//!
//! `--trial` starts a PostgreSQL of its own, charges, and shows what the table holds.

mod private;
mod trial;

use std::error::Error;
use std::net::SocketAddr;

use axum::routing::post;
use axum::{Json, Router};
use clap::{ArgGroup, Parser};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;
use tower_idempotency::{
    Guarantee, IdempotencyLayer, IdempotentTx, Policy, PostgresStore, Required, Tenant,
};

use crate::private::PrivatePostgres;

/// Charges in one transaction with the answers of their requests.
#[derive(Parser)]
#[command(name = "postgres_transaction", group(ArgGroup::new("where").required(true)))]
struct Options {
    /// The database, in which the tables `charges` and `idempotency_records` are made.
    #[arg(long, value_name = "URL", group = "where")]
    database: Option<String>,

    /// Where to listen; port 0 asks for any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Start a private PostgreSQL, show what happens in it, and end.
    #[arg(long, group = "where")]
    trial: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let Some(url) = options.database else {
        let postgres = PrivatePostgres::start()?;
        return trial::run(&postgres.url()).await;
    };
    let app = app(&open(&url)?).await?;
    let listener = TcpListener::bind(options.listen).await?;
    let address = listener.local_addr()?;
    println!(
        "listening on http://{address}; this line, however often, charges once:\n\
         curl -i http://{address}/charges -H 'Content-Type: application/json' \
         -H 'Idempotency-Key: {}' -d '{{\"account\":\"alice\",\"cents\":1999}}'",
        uuid::Uuid::new_v4()
    );
    axum::serve(listener, app).await?;
    Ok(())
}

fn open(url: &str) -> Result<Pool, Box<dyn Error>> {
    Ok(Pool::builder(Manager::new(url.parse()?, NoTls)).build()?)
}

async fn app(pool: &Pool) -> Result<Router, Box<dyn Error>> {
    let table = "CREATE TABLE IF NOT EXISTS charges
        (id bigserial PRIMARY KEY, account text NOT NULL, cents bigint NOT NULL)";
    pool.get().await?.batch_execute(table).await?;
    let store = PostgresStore::new(pool.clone());
    store.migrate().await?;
    // All that the handler does is in the transaction, so an attempt that ended halfway did nothing, and
    // may run again.
    let policy = Policy::new().guarantee(Guarantee::Transactional).required(Required::always());
    let layer = IdempotencyLayer::builder(store, Tenant::single()).policy(policy).build()?;
    Ok(Router::new().route("/charges", post(charge)).layer(layer))
}

#[derive(Deserialize)]
struct Order {
    account: String,
    cents: i64,
}

/// The row and the answer are committed together, by the layer.
async fn charge(
    tx: IdempotentTx,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let insert = "INSERT INTO charges (account, cents) VALUES ($1, $2) RETURNING id";
    let row = tx.query_one(insert, &[&order.account, &order.cents]).await;
    // A 500 is not stored: the row is undone, and a retry runs.
    let row = row.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    if order.account == "mallory" {
        // A definitive answer: the row is undone, and the answer stored.
        return Err(StatusCode::PAYMENT_REQUIRED);
    }
    trial::die_if_told_to();
    Ok((StatusCode::CREATED, Json(json!({ "charge": row.get::<_, i64>(0) }))))
}
