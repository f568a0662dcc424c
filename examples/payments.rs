//! A payments API that cannot charge twice.
//!
//! ```text
//! cargo run --example payments
//! cargo run --features redis --example payments -- --redis redis://127.0.0.1/
//! ```
//!
//! It prints lines to paste. With `--redis`, only the idempotency records are in Redis.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Extension, Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use http::StatusCode;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal;
use tower_idempotency::layer::Builder;
use tower_idempotency::{IdempotencyLayer, MemoryStore, Policy, Required, RunningClaim, Tenant};

/// A payments API that cannot charge twice.
#[derive(Parser)]
#[command(name = "payments")]
struct Options {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Keep the idempotency records in this Redis (needs the feature `redis`).
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

/// Who asks. The authentication puts it into the request.
#[derive(Clone, Copy, PartialEq)]
struct Merchant(&'static str);

#[derive(Deserialize)]
struct Order {
    account: String,
    /// In cents.
    amount: u64,
    currency: String,
}

#[derive(Clone, Serialize)]
struct Charge {
    id: String,
    account: String,
    amount: u64,
    currency: String,
    bank_reference: String,
}

type Ledger = Arc<Mutex<Vec<(Merchant, Charge)>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let idempotency = builder(options.redis.as_deref())
        .unwrap_or_else(|why| Options::command().error(ErrorKind::ValueValidation, why).exit())
        .policy(Policy::new().required(Required::always()))
        .build()?;

    let app = Router::new()
        .route("/charges", post(create_charge))
        .route("/charges/{id}", get(show_charge))
        .route("/ledger", get(show_ledger))
        .with_state(Ledger::default())
        .layer(idempotency.clone())
        // The last layer is the outermost: replays, too, are only for those who may ask today.
        .layer(from_fn(authenticate));

    let listener = TcpListener::bind(options.listen).await?;
    print_lines_to_paste(listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    // Handlers whose clients have hung up may still be running.
    idempotency.drain().wait(Duration::from_secs(30)).await;
    Ok(())
}

/// One tenant per merchant: the keys of one never meet the keys of another.
fn builder(redis: Option<&str>) -> Result<Builder, String> {
    let tenant = Tenant::extension(|merchant: &Merchant| merchant.0.to_owned());
    match redis {
        None => Ok(IdempotencyLayer::builder(MemoryStore::new(), tenant)),
        #[cfg(feature = "redis")]
        Some(url) => match tower_idempotency::RedisStore::connect(url) {
            Ok(store) => Ok(IdempotencyLayer::builder(store.prefix("payments"), tenant)),
            Err(error) => Err(error.to_string()),
        },
        #[cfg(not(feature = "redis"))]
        Some(_) => Err("--redis needs the feature: add `--features redis` to cargo run".into()),
    }
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    let merchant = match request.headers().get(AUTHORIZATION) {
        Some(value) if value == "Bearer acme-secret" => Merchant("acme"),
        Some(value) if value == "Bearer globex-secret" => Merchant("globex"),
        _ => return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response(),
    };
    request.extensions_mut().insert(merchant);
    next.run(request).await
}

/// Runs once per key. Nothing here knows about retries, but for the key that the bank gets.
async fn create_charge(
    State(ledger): State<Ledger>,
    Extension(merchant): Extension<Merchant>,
    claim: RunningClaim,
    Json(Order { account, amount, currency }): Json<Order>,
) -> Response {
    if amount == 0 || currency != "EUR" {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "the amount is at least 1 cent, in EUR");
    }
    // The same on every attempt at this operation, so that the bank can tell a retry, too.
    let bank_key = claim.derived_key("bank");
    let Some(bank_reference) = ask_the_bank(&bank_key, amount).await else {
        return refusal(StatusCode::PAYMENT_REQUIRED, "the bank declined: insufficient funds");
    };
    let id = claim.derived_key("charge");
    let charge = Charge { id, account, amount, currency, bank_reference };
    entries(&ledger).push((merchant, charge.clone()));
    let location = format!("/charges/{}", charge.id);
    (StatusCode::CREATED, [(LOCATION, location)], Json(charge)).into_response()
}

/// A pretend bank. It takes its time, so that a quick retry meets the first request: 409.
async fn ask_the_bank(key: &str, amount: u64) -> Option<String> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    (amount <= 100_000).then(|| format!("bank-{}", &key[..8]))
}

async fn show_charge(
    State(ledger): State<Ledger>,
    Extension(merchant): Extension<Merchant>,
    Path(id): Path<String>,
) -> Response {
    let entries = entries(&ledger);
    match entries.iter().find(|(owner, charge)| *owner == merchant && charge.id == id) {
        Some((_, charge)) => Json(charge).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "there is no such charge"),
    }
}

async fn show_ledger(
    State(ledger): State<Ledger>,
    Extension(merchant): Extension<Merchant>,
) -> Response {
    let entries = entries(&ledger);
    let charges = entries.iter().filter(|(owner, _)| *owner == merchant).map(|(_, charge)| charge);
    let total: u64 = charges.clone().map(|charge| charge.amount).sum();
    Json(json!({ "entries": charges.collect::<Vec<_>>(), "total": total })).into_response()
}

fn entries(ledger: &Ledger) -> MutexGuard<'_, Vec<(Merchant, Charge)>> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

fn print_lines_to_paste(address: SocketAddr) {
    let (login, key) = ("-H 'Authorization: Bearer acme-secret'", uuid::Uuid::new_v4());
    let charge = |amount| {
        format!(
            "curl -i http://{address}/charges {login} \
             -H 'Content-Type: application/json' -H 'Idempotency-Key: {key}' \
             -d '{{\"account\":\"alice\",\"amount\":{amount},\"currency\":\"EUR\"}}'"
        )
    };
    println!("# The first request charges 19.99 EUR:\n{}\n", charge(1999));
    println!("# The retry gets the same answer, and charges nothing:\n{}\n", charge(1999));
    println!("# The same key for another amount is refused:\n{}\n", charge(2999));
    println!("# The ledger has one entry:\ncurl http://{address}/ledger {login}");
}

async fn stopped() {
    #[cfg(unix)]
    if let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = signal::ctrl_c() => return,
        }
    }
    let _ = signal::ctrl_c().await;
}
