//! Without axum: the layer around any tower service of `http` types.
//!
//! ```text
//! cargo run --example tower_service
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    // The layer wraps the body, so the service has to accept `RequestBody<B>` or any body.
    let orders = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let Ok(order) = request.into_body().collect().await;
            let order = String::from_utf8_lossy(&order.to_bytes()).into_owned();
            Ok::<_, Infallible>(Response::new(Full::from(format!("order {number}: {order}"))))
        }
    });
    let service = ServiceBuilder::new()
        .layer(IdempotencyLayer::new(MemoryStore::new(), Tenant::single()))
        .service(orders);

    let order = |key: &str, what: &'static str| {
        Request::builder()
            .method(Method::POST)
            .uri("/orders")
            .header("idempotency-key", key)
            .body(Full::from(what))
    };

    // The first request runs the service.
    let first = service.clone().oneshot(order("k-1", "3 apples")?).await?;
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let first = first.into_body().collect().await?.to_bytes();
    assert_eq!(first, "order 1: 3 apples");

    // Its retry does not, and gets the same answer.
    let retry = service.clone().oneshot(order("k-1", "3 apples")?).await?;
    assert_eq!(retry.headers()["idempotent-replayed"], "true");
    assert_eq!(retry.into_body().collect().await?.to_bytes(), first);

    // Another order with the same key is refused.
    let reused = service.clone().oneshot(order("k-1", "4 pears")?).await?;
    assert_eq!(reused.status(), StatusCode::UNPROCESSABLE_ENTITY);

    // The same order with another key is another order.
    let second = service.oneshot(order("k-2", "3 apples")?).await?;
    assert_eq!(second.into_body().collect().await?.to_bytes(), "order 2: 3 apples");

    assert_eq!(runs.load(Ordering::Relaxed), 2);
    println!("four requests, two orders");
    Ok(())
}
