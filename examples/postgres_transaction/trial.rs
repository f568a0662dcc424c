//! A tour: what becomes of a charge, its retry, a refusal and a handler that panics.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use http::Request;
use tower::ServiceExt as _;
use tower_idempotency::store::postgres::deadpool_postgres::Pool;

/// Whether the next charge panics after its INSERT.
static DIE: AtomicBool = AtomicBool::new(false);

pub(crate) fn die_if_told_to() {
    assert!(!DIE.swap(false, Ordering::SeqCst), "the handler dies after its INSERT");
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let pool = super::open(url)?;
    let app = super::app(&pool).await?;
    let shop = Shop { app, pool };

    println!("Alice is charged 19.99, and her client did not hear the answer, so it asks again:");
    let first = shop.charge("order-1", "alice", 1999).await?;
    let retry = shop.charge("order-1", "alice", 1999).await?;
    expect(&[(201, false, 1), (201, true, 1)], &[&first, &retry]);
    assert_eq!(first.body, retry.body, "one answer");

    println!("\nMallory is refused after the INSERT. The row is undone, the answer stored:");
    let refused = shop.charge("order-2", "mallory", 500).await?;
    let again = shop.charge("order-2", "mallory", 500).await?;
    expect(&[(402, false, 1), (402, true, 1)], &[&refused, &again]);

    println!("\nThe handler panics after Bob's INSERT. The row is gone, and the retry runs:");
    DIE.store(true, Ordering::SeqCst);
    // What is expected need not be read.
    std::panic::set_hook(Box::new(|_| {}));
    let died = shop.charge("order-3", "bob", 700).await?;
    drop(std::panic::take_hook());
    let retry = shop.charge("order-3", "bob", 700).await?;
    let replay = shop.charge("order-3", "bob", 700).await?;
    expect(&[(500, false, 1), (201, false, 2), (201, true, 2)], &[&died, &retry, &replay]);

    println!("\nWhat the table holds in the end:");
    let rows = "SELECT id, account, cents FROM charges ORDER BY id";
    for row in shop.pool.get().await?.query(rows, &[]).await? {
        let (id, account, cents): (i64, String, i64) = (row.get(0), row.get(1), row.get(2));
        println!("  charge {id}: {account}, {}.{:02}", cents / 100, cents % 100);
    }
    Ok(())
}

struct Shop {
    app: Router,
    pool: Pool,
}

/// An answer, and how many charges there were afterwards.
struct Answer {
    status: u16,
    replayed: bool,
    body: String,
    rows: i64,
}

impl Shop {
    async fn charge(&self, key: &str, account: &str, cents: i64) -> Result<Answer, Box<dyn Error>> {
        let order = serde_json::json!({ "account": account, "cents": cents }).to_string();
        let request = Request::post("/charges")
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Body::from(order))?;
        let response = self.app.clone().oneshot(request).await?;
        let (status, replayed) =
            (response.status().as_u16(), response.headers().contains_key("idempotent-replayed"));
        let body = String::from_utf8(to_bytes(response.into_body(), 64 * 1024).await?.into())?;
        let count = "SELECT count(*) FROM charges";
        let rows = self.pool.get().await?.query_one(count, &[]).await?.get(0);
        let short = match status {
            402 => "refused",
            500 => "handler-failed",
            _ => &body,
        };
        let replay = if replayed { ", a replay" } else { "" };
        println!("  {key}: {status} {short}{replay}; rows in the table: {rows}");
        Ok(Answer { status, replayed, body, rows })
    }
}

/// So that a trial that goes wrong fails.
fn expect(expected: &[(u16, bool, i64)], answers: &[&Answer]) {
    let seen: Vec<_> =
        answers.iter().map(|answer| (answer.status, answer.replayed, answer.rows)).collect();
    assert_eq!(expected, seen);
}
