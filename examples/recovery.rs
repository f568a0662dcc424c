//! A server died in the middle of a charge. The next retry asks the application's own books what
//! became of it.
//!
//! ```text
//! cargo run --example recovery
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::post;
use http::{Request, Response};
use tower::ServiceExt as _;
use tower_idempotency::clock::ManualClock;
use tower_idempotency::{IdempotencyLayer, MemoryStore, Policy, Recovery, RunningClaim, Tenant};

/// What the payment provider has booked, by the key that it was given for each charge.
type Books = Arc<Mutex<HashMap<String, &'static str>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (books, clock) = (Books::default(), Arc::new(ManualClock::default()));
    let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));

    // One server charges, and then hangs for good: its runtime is shut down below.
    let dying = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let app = server(&store, &clock, &books, true)?;
    dying.spawn(app.oneshot(charge()?));
    while books.lock().expect("the books").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    dying.shutdown_background();

    // Its lease lapses, and the client tries again, at another server.
    clock.advance(Duration::from_secs(31));
    let app = server(&store, &clock, &books, false)?;
    for _ in 0..2 {
        let response = app.clone().oneshot(charge()?).await?;
        let replayed = response.headers().contains_key("idempotent-replayed");
        let body = to_bytes(response.into_body(), 1024).await?;
        println!("{} replayed: {replayed}", String::from_utf8_lossy(&body));
        assert_eq!((&body[..], replayed), (&b"charge ch_1"[..], true));
    }
    assert_eq!(books.lock().expect("the books").len(), 1, "charged once");
    Ok(())
}

fn charge() -> Result<Request<Body>, http::Error> {
    Request::post("/charges").header("idempotency-key", "17").body(Body::empty())
}

fn server(
    store: &Arc<MemoryStore>,
    clock: &Arc<ManualClock>,
    books: &Books,
    hangs: bool,
) -> Result<Router, Box<dyn Error>> {
    let booked = Arc::clone(books);
    let policy = Policy::new().on_abandoned(move |abandoned| {
        // The key that the handler passed on leads to what it did.
        let charge = booked.lock().expect("the books").get(&abandoned.derived_key("card")).copied();
        async move {
            match charge {
                Some(id) => Recovery::Response(Response::new(format!("charge {id}").into())),
                None => Recovery::Rerun,
            }
        }
    });
    let layer = IdempotencyLayer::builder(Arc::clone(store), Tenant::single())
        .policy(policy)
        .clock(Arc::clone(clock))
        .build()?;
    let books = Arc::clone(books);
    let handler = async move |claim: RunningClaim| {
        books.lock().expect("the books").insert(claim.derived_key("card"), "ch_1");
        if hangs {
            std::future::pending::<()>().await;
        }
        "charge ch_1"
    };
    Ok(Router::new().route("/charges", post(handler)).layer(layer))
}
