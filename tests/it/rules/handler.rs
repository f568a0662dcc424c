//! Rules 37, 39 and 41: around the layer, inside it, and the memory that it may take.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post as posted;
use axum::{Extension, Router};
use http::StatusCode;
use tower_http::cors::{Any, CorsLayer};
use tower_idempotency::clock::ManualClock;
use tower_idempotency::{Guarantee, IdempotencyLayer, MemoryStore, Policy, RunningClaim, Tenant};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, Runs, eventually, layer, layer_with, pause};
use crate::support::attempt::{attempt_of, slot_of};
use crate::support::http::{ask, keyed, post};

on_every_store![
    rule_37_replays_pass_todays_authorization,
    rule_37_replays_and_refusals_get_the_headers_of_cors,
    rule_39_the_handler_sees_its_claim,
    rule_39_the_claim_is_an_extractor,
    rule_39_a_derived_key_is_the_same_on_every_attempt,
];

async fn rule_37_replays_pass_todays_authorization(store: AnyStore) {
    #[derive(Clone)]
    struct Login(String);
    /// Lets in who is not blocked.
    async fn login(mut request: Request, next: Next) -> Response {
        let user = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        match user.map(str::to_owned) {
            Some(user) if user != "blocked" => {
                request.extensions_mut().insert(Login(user));
                next.run(request).await
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
    let runs = Runs::default();
    let router = Router::new()
        .fallback(runs.of(|run| async move { run.number.to_string() }))
        .layer(IdempotencyLayer::new(store, Tenant::extension(|login: &Login| login.0.clone())))
        .layer(from_fn(login));
    let app = App::serve(router, runs).await;
    let from = |user: &str| keyed("k").header("authorization", user);
    app.send(from("ann")).await.is_first("1");
    assert!(app.send(from("ann")).await.is_replay());
    app.send(from("bob")).await.is_first("2");
    for unauthorized in [keyed("k"), from("blocked")] {
        let answer = app.send(unauthorized).await;
        assert_eq!((answer.status, answer.is_replay(), answer.text()), (401, false, ""));
    }
}

async fn rule_37_replays_and_refusals_get_the_headers_of_cors(store: AnyStore) {
    let runs = Runs::default();
    let router = Router::new()
        .fallback(runs.of(|run| async move { run.number.to_string() }))
        .layer(layer(&store).build().expect("valid"))
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .expose_headers([http::HeaderName::from_static("idempotent-replayed")]),
        );
    let app = App::serve(router, runs).await;
    let from = |key: &str| keyed(key).header("origin", "https://shop.example");
    for ask in [from("k"), from("k"), from("k, l"), from("k").body("other")] {
        let answer = app.send(ask).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        assert_eq!(answer.all("access-control-expose-headers"), [b"idempotent-replayed"]);
    }
    let mut preflight = from("k").header("access-control-request-method", "POST");
    preflight.method = "OPTIONS".into();
    assert_eq!(app.send(preflight).await.status, 200);
    assert_eq!(app.runs(), 1);
}

async fn rule_39_the_handler_sees_its_claim(store: AnyStore) {
    let layer = IdempotencyLayer::new(store.clone(), Tenant::header("x-tenant"));
    let app = App::start(layer, |run: Run| async move {
        let Some(claim) = run.claim else { return "none".to_owned() };
        assert!(claim.is_live() && claim.fence().number() > 1_700_000_000_000_000);
        assert_eq!(claim.derived_key("bank"), claim.derived_key("bank"));
        assert_ne!(claim.derived_key("bank"), claim.derived_key("mail"));
        assert_ne!(claim.derived_key("bank"), claim.key().as_str());
        format!("{} {} {}", claim.key().as_str(), claim.tenant(), claim.attempt())
    })
    .await;
    app.send(keyed("\"a b\";p=1").header("x-tenant", "ann")).await.is_first("a b ann 1");
    app.send(post("/").header("x-tenant", "ann")).await.is_first("none");
    app.send(ask("GET", "/").key("k")).await.is_first("none");
}

async fn rule_39_the_claim_is_an_extractor(store: AnyStore) {
    let name = |claim: &RunningClaim| claim.key().as_str().to_owned();
    let router = Router::new()
        .route(
            "/optional",
            posted(move |claim: Option<RunningClaim>| async move {
                claim.map_or_else(|| "none".to_owned(), |claim| name(&claim))
            }),
        )
        .route("/needed", posted(move |claim: RunningClaim| async move { name(&claim) }))
        .route(
            "/extension",
            posted(move |Extension(claim): Extension<RunningClaim>| async move { name(&claim) }),
        )
        .layer(layer(&store).build().expect("valid"));
    let app = App::serve(router, Runs::default()).await;
    for target in ["/optional", "/needed", "/extension"] {
        app.send(post(target).key("k")).await.is_first("k");
    }
    app.send(post("/optional")).await.is_first("none");
    app.send(post("/needed")).await.is_refused(400, "key-missing");
}

async fn rule_39_a_derived_key_is_the_same_on_every_attempt(store: AnyStore) {
    let policy = Policy::new().guarantee(Guarantee::AtLeastOnce);
    let app = App::start(layer_with(&store, policy), |run: Run| async move {
        let claim = run.claim.expect("a claim");
        let answer = format!("{} {}", claim.attempt(), claim.derived_key("bank"));
        (StatusCode::BAD_GATEWAY, [("x-fence", claim.fence().number().to_string())], answer)
    })
    .await;
    let mut fence = 0;
    for attempt in 1..=3 {
        let answer = app.send(keyed("k")).await;
        let derived = slot_of(&keyed("k")).derived_key("bank");
        assert_eq!(answer.text(), format!("{attempt} {derived}"));
        let later = answer.header("x-fence").and_then(|fence| fence.parse().ok());
        let later: u64 = later.expect("a fence");
        assert!(later > fence);
        fence = later;
    }
    let other = slot_of(&keyed("l")).derived_key("bank");
    assert!(app.send(keyed("l")).await.text().ends_with(&other));
}

#[tokio::test]
async fn rule_41_a_full_memory_store_refuses_and_never_evicts() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::with_clock(Arc::clone(&clock)).max_records(3);
    let store = AnyStore::Memory(Arc::new(store));
    let app = App::start(
        layer(&store).store_timeout(Duration::from_millis(50)).build().expect("valid"),
        |run| async move {
            if run.parts.uri.path() == "/slow" {
                pause(300).await;
            }
            run.number.to_string()
        },
    )
    .await;
    let slow = {
        let app = app.clone();
        tokio::spawn(async move { app.send(post("/slow").key("k")).await })
    };
    eventually(|| app.runs() == 1).await;
    let first = app.send(keyed("k")).await;
    drop(store.claimed(attempt_of(&keyed("abandoned"), Duration::from_secs(1))).await);
    clock.advance(Duration::from_secs(2));
    for _ in 0..3 {
        let full = app.send(keyed("one more")).await;
        assert_eq!(full.status, 400);
        let full = app.send(keyed("one-more")).await;
        full.is_refused(503, "store-unavailable");
        assert!(full.header("retry-after").is_some());
        app.send(keyed("k")).await.is_replay_of(&first);
        app.send(keyed("k").body("other")).await.is_refused(422, "key-reused");
        app.send(keyed("abandoned")).await.is_refused(409, "outcome-unknown");
    }
    let finished = slow.await.expect("an answer");
    finished.is_first("1");
    app.send(post("/slow").key("k")).await.is_replay_of(&finished);
    // The abandoned record of the other server has expired, nothing else.
    clock.advance(Duration::from_secs(3600));
    app.send(keyed("one-more")).await.is_first("3");
    app.send(keyed("k")).await.is_replay_of(&first);
    app.send(keyed("and-another")).await.is_refused(503, "store-unavailable");
}

#[tokio::test]
async fn rule_41_the_bytes_of_a_memory_store_are_bounded() {
    let store = AnyStore::Memory(Arc::new(MemoryStore::new().max_bytes(100_000)));
    let layer = layer(&store).store_timeout(Duration::from_millis(50)).build().expect("valid");
    let app = App::start(layer, |_| async { vec![b'x'; 30_000] }).await;
    let mut statuses = Vec::new();
    for index in 0..6 {
        statuses.push(app.send(keyed(&index.to_string())).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503]);
    for index in 0..4 {
        assert!(app.send(keyed(&index.to_string())).await.is_replay());
    }
}
