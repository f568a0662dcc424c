//! What belongs outside the idempotency layer: CORS, authentication, rate limits.
//!
//! A replay is an answer like any other. It passes today's authorization, counts against today's
//! limits and gets today's CORS headers.
//!
//! ```text
//! cargo run --example layer_order
//! ```

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HeaderName};
use http::{Method, StatusCode};
use tower::ServiceExt as _;
use tower_http::cors::{Any, CorsLayer};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How many requests a user may make.
const LIMIT: u32 = 4;

#[derive(Clone)]
struct User(String);

type Revoked = Arc<Mutex<HashSet<String>>>;
type Counts = Arc<Mutex<HashMap<String, u32>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let revoked = Revoked::default();
    let idempotency =
        IdempotencyLayer::new(MemoryStore::new(), Tenant::extension(|user: &User| user.0.clone()));
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers([IDEMPOTENCY_KEY, AUTHORIZATION])
        .expose_headers([IDEMPOTENT_REPLAYED]);
    // In axum the last layer is the outermost: read this list from below.
    let app = Router::new()
        .route("/orders", post(async || (StatusCode::CREATED, "ordered")))
        .layer(idempotency)
        .layer(from_fn_with_state(Counts::default(), limit))
        .layer(from_fn_with_state(Arc::clone(&revoked), authenticate))
        .layer(cors);

    let send = |user: &str, key: &str| {
        let request = Request::post("/orders")
            .header("origin", "https://shop.example")
            .header(AUTHORIZATION, format!("Bearer {user}"))
            .header(IDEMPOTENCY_KEY, key)
            .body(Body::empty());
        let app = app.clone();
        async move { Ok::<_, Box<dyn Error>>(app.oneshot(request?).await?) }
    };

    // The order is made once, and its answer replayed, both with CORS headers.
    let first = send("ann", "k-1").await?;
    let replay = send("ann", "k-1").await?;
    assert_eq!(first.status(), StatusCode::CREATED);
    assert!(!is_replay(&first) && is_replay(&replay));
    for answer in [&first, &replay] {
        assert_eq!(answer.headers().get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().count(), 1);
    }

    // Another user with the same key is another tenant.
    assert!(!is_replay(&send("bob", "k-1").await?));

    // A user who may not ask any more gets no replay,
    users(&revoked).insert("ann".to_owned());
    let refused = send("ann", "k-1").await?;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(!is_replay(&refused));

    // and that refusal was not recorded: the answer is still there when she may ask again.
    users(&revoked).remove("ann");
    assert!(is_replay(&send("ann", "k-1").await?));

    // Replays count against the limit, and a request over it leaves no record either.
    assert_eq!(send("ann", "k-2").await?.status(), StatusCode::CREATED);
    assert_eq!(send("ann", "k-1").await?.status(), StatusCode::TOO_MANY_REQUESTS);

    // The browser's question before the request needs no key and no login.
    let preflight = Request::options("/orders")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "idempotency-key")
        .body(Body::empty())?;
    let preflight = app.oneshot(preflight).await?;
    assert!(preflight.status().is_success());
    println!("replays pass what stands outside");
    Ok(())
}

async fn authenticate(
    State(revoked): State<Revoked>,
    mut request: Request,
    next: Next,
) -> Response {
    let authorization = request.headers().get(AUTHORIZATION);
    let name = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let user = match name {
        Some(name) if !users(&revoked).contains(name) => User(name.to_owned()),
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

async fn limit(State(counts): State<Counts>, request: Request, next: Next) -> Response {
    let Some(User(name)) = request.extensions().get() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let count = {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        *count
    };
    if count > LIMIT {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    next.run(request).await
}

fn users(revoked: &Revoked) -> std::sync::MutexGuard<'_, HashSet<String>> {
    revoked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_replay(response: &Response) -> bool {
    response.headers().contains_key(IDEMPOTENT_REPLAYED)
}
