//! A double click: the second request waits for the answer of the first one, and gets it.
//!
//! ```text
//! cargo run --example waiting
//! ```

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::post;
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use tower_idempotency::{IdempotencyLayer, InFlight, MemoryStore, Policy, Tenant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let wait = |max| Policy::new().in_flight(InFlight::wait(max));
    let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single())
        .policy(wait(Duration::from_secs(10)))
        // Clients of this route would rather be told at once.
        .route_policy("/reports", Policy::new().in_flight(InFlight::reject()))
        .max_waiters(100, 1_000)
        .build()?;
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        (StatusCode::CREATED, "done")
    };
    let app = Router::new().route("/orders", post(slow)).route("/reports", post(slow)).layer(layer);
    let click = |path: &str| {
        let request = Request::post(path).header("idempotency-key", "17").body(Body::empty());
        let app = app.clone();
        async move { Ok::<_, Box<dyn Error>>(app.oneshot(request?).await?) }
    };

    let (first, second) = tokio::try_join!(click("/orders"), click("/orders"))?;
    for response in [first, second] {
        let replayed = response.headers().contains_key("idempotent-replayed");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1024).await?;
        println!("{status} {} replayed: {replayed}", String::from_utf8_lossy(&body));
        assert_eq!(status, StatusCode::CREATED);
    }

    let (first, second) = tokio::try_join!(click("/reports"), click("/reports"))?;
    println!("{} and {}", first.status(), second.status());
    assert_eq!((first.status(), second.status()), (StatusCode::CREATED, StatusCode::CONFLICT));
    Ok(())
}
