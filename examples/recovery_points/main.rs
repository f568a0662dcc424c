//! A shop whose order authorises a card, writes, and ships. Kill it between two of these, start it
//! again, and repeat the request: it goes on where it was.
//!
//! ```text
//! cargo run --features postgres --example recovery_points -- --trial
//! cargo run --features postgres --example recovery_points -- postgres://localhost/postgres
//! ```
//!
//! It prints a line to paste. The carrier takes five seconds, so that there is time to kill the shop.
//! `--trial` does all that by itself, with a PostgreSQL of its own, and shows what happens.

#[path = "../postgres_transaction/private.rs"]
mod private;
mod trial;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Router, serve};
use bytes::Bytes;
use clap::{ArgGroup, Parser};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;
use tower_idempotency::{
    IdempotencyLayer, PhaseError, Policy, PostgresStore, RecoveryPoints, Tenant,
};

use crate::private::PrivatePostgres;

#[derive(Parser)]
#[command(name = "recovery_points", group(ArgGroup::new("where").required(true)))]
struct Options {
    /// The database of the shop, in which it makes two tables.
    #[arg(group = "where")]
    database: Option<String>,

    /// Start a private PostgreSQL, kill a shop and show how another goes on, and end.
    #[arg(long, group = "where")]
    trial: bool,

    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Where the bank and the carrier are, if not in this process.
    #[arg(long, value_name = "URL")]
    partners: Option<String>,

    /// How long the claim of a process that was killed keeps retries out.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 3000)]
    lease_ms: u64,
}

/// Where the bank and the carrier are.
type Partners = Arc<str>;

async fn order(
    mut points: RecoveryPoints,
    State(partners): State<Partners>,
    item: String,
) -> Result<(StatusCode, String), PhaseError> {
    let hold = points.call("authorise", |key| ask(&partners, "authorise", key)).await?;
    let id: i64 = points
        .write("order", async |tx| {
            let insert = "INSERT INTO shop_orders (item, hold) VALUES ($1, $2) RETURNING id";
            tx.query_one(insert, &[&item, &hold]).await?.try_get(0)
        })
        .await?;
    let parcel = points.call("ship", |key| ask(&partners, "ship", key)).await?;
    Ok((StatusCode::CREATED, format!("order {id}: {hold}, {parcel}\n")))
}

/// Asks a partner for something, which it does once for each key.
async fn ask(
    partners: &Partners,
    service: &'static str,
    key: String,
) -> Result<String, Box<dyn Error + Send + Sync>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::post(format!("{partners}/{service}")).header("idempotency-key", key);
    let response = client.request(request.body(Full::default())?).await?;
    if !response.status().is_success() {
        return Err(format!("{service}: {}", response.status()).into());
    }
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

/// The bank and the carrier, for those who have none.
async fn partner(Path(service): Path<String>, headers: HeaderMap) -> String {
    eprintln!("asked to {service}, with the key {:?}", headers["idempotency-key"]);
    if service == "ship" {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    format!("{service} done")
}

fn open(database: &str) -> Result<Pool, Box<dyn Error>> {
    Ok(Pool::builder(Manager::new(database.parse()?, NoTls)).build()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let Some(database) = options.database else {
        let postgres = PrivatePostgres::start()?;
        return trial::run(&postgres.url()).await;
    };
    let pool = open(&database)?;
    let store = PostgresStore::new(pool.clone());
    store.migrate().await?;
    let table = "CREATE TABLE IF NOT EXISTS shop_orders (id bigserial, item text, hold text)";
    pool.get().await?.batch_execute(table).await?;

    let listener = TcpListener::bind(options.listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("listening on {url}");
    eprintln!("curl -i {url}/orders -H 'Idempotency-Key: order-1' -d apples");
    let policy = Policy::new().lease(Duration::from_millis(options.lease_ms));
    let layer = IdempotencyLayer::builder(store, Tenant::single()).policy(policy).build()?;
    let partners: Partners = options.partners.unwrap_or_else(|| format!("{url}/partners")).into();
    let app = Router::new()
        .route("/orders", post(order))
        .with_state(partners)
        .layer(layer)
        .route("/partners/{service}", post(partner));
    Ok(serve(listener, app).await?)
}
