//! Handlers that write a row into a business table in the database of the records: with the outcome of
//! their request, or on their own. Only with `--store postgres://…`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tower_idempotency::IdempotentTx;
use tower_idempotency::store::postgres::deadpool_postgres::{Client, Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;

use crate::executions::{Executions, Ticket};
use crate::options::{Options, StoreOption};
use crate::stores;

/// How much longer than it has to a handler may take; a connection can be silent for good.
const PATIENCE: Duration = Duration::from_secs(1);

struct Charges {
    /// For handlers that write on their own.
    pool: Pool,
    insert: String,
}

/// The routes, if the records are in PostgreSQL. The table `charges_<prefix>` has to be there, with a
/// serial `id`, a `key`, a `process` and an `execution`.
pub(crate) fn routes(options: &Options) -> Result<Router<Arc<Executions>>, Box<dyn Error>> {
    let StoreOption::Postgres(url) = &options.store else { return Ok(Router::new()) };
    let pool = Pool::builder(Manager::new(url.parse()?, NoTls)).build()?;
    let table = stores::table("charges", &options.prefix);
    let insert = format!(
        "INSERT INTO {table} (key, process, execution) VALUES ($1, $2::bigint, $3::bigint) RETURNING id"
    );
    Ok(Router::new()
        .route("/charges/{ms}", post(charge))
        .route("/charges-in-transaction/{ms}", post(charge_in_transaction))
        .layer(Extension(Arc::new(Charges { pool, insert }))))
}

/// Writes on a connection of the server's own: what it wrote stays.
async fn charge(
    ticket: Ticket,
    Extension(charges): Extension<Arc<Charges>>,
    Path(ms): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let key = ticket.key().to_owned();
    let work = |execution| async move {
        let row = within(ms, async {
            let client = charges.pool.get().await.ok()?;
            charges.insert(&client, &key, execution, ms).await
        });
        answer(row.await, &headers)
    };
    ticket.run(work).await
}

/// Writes in the transaction of its outcome.
async fn charge_in_transaction(
    ticket: Ticket,
    Extension(charges): Extension<Arc<Charges>>,
    Path(ms): Path<u64>,
    headers: HeaderMap,
    tx: IdempotentTx,
) -> Response {
    let key = ticket.key().to_owned();
    let work = |execution| async move {
        let row = within(ms, charges.insert(&tx, &key, execution, ms)).await;
        answer(row, &headers)
    };
    ticket.run(work).await
}

impl Charges {
    /// The new row, after PostgreSQL has taken its time: meanwhile the connection is not idle.
    async fn insert(&self, client: &Client, key: &str, execution: u64, ms: u64) -> Option<i64> {
        let process = i64::from(std::process::id());
        let execution = i64::try_from(execution).ok()?;
        let row = client.query_one(&self.insert, &[&key, &process, &execution]).await.ok()?;
        let wait = Duration::from_millis(ms).as_secs_f64();
        client.execute("SELECT pg_sleep($1)", &[&wait]).await.ok()?;
        row.try_get(0).ok()
    }
}

async fn within(ms: u64, work: impl Future<Output = Option<i64>>) -> Option<i64> {
    let limit = Duration::from_millis(ms) + PATIENCE;
    tokio::time::timeout(limit, work).await.ok().flatten()
}

/// What the header `X-Then` says: `refuse`, `panic`, or else it names the row.
fn answer(row: Option<i64>, headers: &HeaderMap) -> Response {
    let Some(row) = row else {
        let why = json!({ "error": "nobody knows whether there is a row" });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(why)).into_response();
    };
    match headers.get("x-then").map(HeaderValue::as_bytes) {
        Some(b"panic") => panic!("after row {row}"),
        Some(b"refuse") => {
            let why = json!({ "error": "refused" });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(why)).into_response()
        }
        _ => (StatusCode::CREATED, Json(json!({ "row": row }))).into_response(),
    }
}
