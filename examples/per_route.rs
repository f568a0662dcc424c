//! One layer, and a policy of its own for every route that needs one.
//!
//! ```text
//! cargo run --example per_route --features json
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use tower_idempotency::{
    FingerprintPolicy, Guarantee, IdempotencyLayer, MemoryStore, Policy, Required, Tenant,
};

type Runs = Arc<AtomicU32>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Policies are values: make one, and vary it.
    let strict = Policy::new().required(Required::always()).fingerprint(FingerprintPolicy::json());
    let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single())
        // Money: a key is required, and answers are kept for three days.
        .route_policy(
            "/accounts/{id}/transfers",
            strict.clone().retention(Duration::from_secs(72 * 3600)),
        )
        // Safe to repeat: after a failure the key is free again, and a retry runs.
        .route_policy("/accounts/{id}/reports", strict.guarantee(Guarantee::AtLeastOnce))
        // All other routes: a key is optional.
        .policy(Policy::new())
        .build()?;

    let runs = Runs::default();
    let app = Router::new()
        .route("/accounts/{id}/transfers", post(succeed))
        .route("/accounts/{id}/reports", post(fail_once))
        .route("/notes", post(succeed))
        .layer(layer)
        .with_state(Arc::clone(&runs));
    let send = |path: &str, key: Option<&str>, json: &'static str| {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let app = app.clone();
        async move { Ok::<_, Box<dyn Error>>(app.oneshot(request.body(Body::from(json))?).await?) }
    };

    // A transfer needs a key.
    let path = "/accounts/7/transfers";
    let refused = send(path, None, r#"{"to":8,"cents":100}"#).await?;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(runs.load(Ordering::Relaxed), 0);

    // The layout of the JSON does not matter, its content does.
    let first = send(path, Some("k-1"), r#"{"to":8,"cents":100}"#).await?;
    let retry = send(path, Some("k-1"), r#"{ "cents": 1e2, "to": 8 }"#).await?;
    let reused = send(path, Some("k-1"), r#"{"to":8,"cents":999}"#).await?;
    assert!(!is_replay(&first) && is_replay(&retry));
    assert_eq!(reused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(runs.load(Ordering::Relaxed), 1);

    // A report that failed is made again; then it is replayed.
    let path = "/accounts/7/reports";
    let failed = send(path, Some("k-1"), "{}").await?;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let again = send(path, Some("k-1"), "{}").await?;
    assert!(again.status().is_success() && !is_replay(&again));
    assert!(is_replay(&send(path, Some("k-1"), "{}").await?));
    assert_eq!(runs.load(Ordering::Relaxed), 3);

    // A note without a key is written every time.
    for _ in 0..2 {
        assert!(send("/notes", None, "{}").await?.status().is_success());
    }
    assert_eq!(runs.load(Ordering::Relaxed), 5);
    println!("three routes, three policies");
    Ok(())
}

async fn succeed(State(runs): State<Runs>) {
    runs.fetch_add(1, Ordering::Relaxed);
}

/// Fails if it is the second run of all.
async fn fail_once(State(runs): State<Runs>) -> StatusCode {
    match runs.fetch_add(1, Ordering::Relaxed) {
        1 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    }
}

fn is_replay(response: &Response) -> bool {
    response.headers().contains_key("idempotent-replayed")
}
