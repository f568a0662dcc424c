//! Slow grants, runtimes that end and records of a newer release: what went wrong with leases once.

use std::convert::Infallible;
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{ETAG, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{Guarantee, IdempotencyLayer, MemoryStore, Policy, StoreFailure, Tenant};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, layer, pause};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{keyed, post};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(key: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::empty()).expect("a request")
}

fn repeatable(lease: Duration) -> Policy {
    Policy::new().guarantee(Guarantee::AtLeastOnce).lease(lease)
}

#[test]
fn rule_22_a_runtime_that_ends_during_the_first_poll_of_a_handler_ends() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (polled, poll) = mpsc::channel();
    let layer = IdempotencyLayer::new(MemoryStore::new(), Tenant::single());
    let service = layer.layer(service_fn(move |_: Request<RequestBody<Body>>| {
        let polled = polled.clone();
        async move {
            polled.send(()).expect("somebody waits");
            std::thread::sleep(ms(300));
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    }));
    runtime.spawn(service.oneshot(request("k")));
    poll.recv().expect("the handler is polled");
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        drop(runtime);
        ended.send(()).expect("somebody waits");
    });
    assert_eq!(end.recv_timeout(Duration::from_secs(10)), Ok(()));
}

async fn rule_22_the_first_renewal_counts_from_the_sending_of_begin(store: AnyStore) {
    let slow = FaultyStore::new(&store);
    slow.fault(Operation::Begin, Fault::Delays(ms(800)));
    let layer = layer(&slow).policy(repeatable(ms(1000))).build().expect("valid");
    let app = App::start(layer, async |_| pause(1500).await).await;
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.send(keyed("k")).await }
    });
    pause(1100).await;
    slow.recover();
    app.send(keyed("k")).await.is_refused(409, "in-progress");
    assert_eq!(first.await.expect("an answer").status, 200);
    assert_eq!(app.runs(), 1);
}

async fn rule_22_a_renewal_that_came_too_late_as_well_starts_nothing(store: AnyStore) {
    let slow = FaultyStore::new(&store);
    slow.fault(Operation::Begin, Fault::Delays(ms(250)));
    slow.fault(Operation::Renew, Fault::Delays(ms(250)));
    let layer = layer(&slow).policy(repeatable(ms(200))).build().expect("valid");
    let app = App::counting(layer).await;
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
    assert_eq!(app.runs(), 0);
}

async fn rule_24_a_takeover_by_a_newer_release_is_not_answered_over(store: AnyStore) {
    let newer = FaultyStore::new(&store);
    for verb in [Operation::Renew, Operation::Complete] {
        newer.fault(verb, Fault::Fails(ErrorKind::Unsupported));
    }
    let layer = layer(&newer).store_timeout(ms(100)).policy(repeatable(ms(200))).build();
    let app = App::start(layer.expect("valid"), async |_| pause(400).await).await;
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
}

async fn rule_26_outcomes_without_a_claim_do_not_crowd_out_cancellations(store: AnyStore) {
    let down = FaultyStore::new(&store);
    down.fault(Operation::Begin, Fault::LosesReply);
    for verb in [Operation::Complete, Operation::Release] {
        down.fault(verb, Fault::Fails(ErrorKind::Unreachable));
    }
    let layer = layer(&down)
        .store_timeout(ms(30))
        .policy(Policy::new().lease(ms(300)))
        .route_policy("/open", Policy::new().store_failure(StoreFailure::RunUnprotected))
        .build()
        .expect("valid");
    let app: Router = Router::new()
        .route("/open", axum::routing::post(async || vec![b'x'; 1_000_000]))
        .route("/", axum::routing::post(async || "ran"))
        .layer(layer);
    let server = crate::support::http::Server::start(app).await;
    for number in 0..70 {
        let answer = server.send(post("/open").key(number.to_string())).await;
        assert_eq!(answer.status, 200);
    }
    server.send(keyed("k")).await.is_refused(503, "store-unavailable");
    down.recover();
    let mut retry = server.send(keyed("k")).await;
    for _ in 0..100 {
        if retry.status != 200 {
            pause(50).await;
            retry = server.send(keyed("k")).await;
        }
    }
    assert_eq!(retry.status, 200, "it never ran, so it is free");
}

async fn rule_29_a_tombstone_keeps_what_the_settings_say(store: AnyStore) {
    let policy = Policy::new().response_limit(1).drop_headers([ETAG]);
    let app: Router = Router::new()
        .fallback(async || {
            let mut location = HeaderValue::from_static("/result?signature=1");
            location.set_sensitive(true);
            ([(LOCATION, location), (ETAG, HeaderValue::from_static("\"e\""))], "too long")
        })
        .layer(layer(&store).policy(policy).build().expect("valid"));
    app.clone().oneshot(request("k")).await.expect("an answer");
    let retry = app.oneshot(request("k")).await.expect("an answer");
    assert_eq!(retry.status(), StatusCode::CONFLICT);
    assert!(retry.headers()[LOCATION].is_sensitive());
    assert!(!retry.headers().contains_key(ETAG));
}

/// A copy of `begin` that landed later could take over what its attempt has had and lost.
#[tokio::test]
async fn rule_22_a_begin_is_given_no_more_time_than_its_lease() {
    let store = FaultyStore::new(&AnyStore::memory());
    for lease in [ms(400), ms(3000)] {
        let app =
            App::counting(layer(&store).policy(repeatable(lease)).build().expect("valid")).await;
        app.send(keyed(&format!("{lease:?}"))).await;
        let (given, allowed) = (store.longest_begin(), lease.min(ms(1000)));
        assert!(given <= allowed && given > allowed / 2, "{given:?} of {allowed:?}");
    }
}

on_every_store![
    rule_22_a_renewal_that_came_too_late_as_well_starts_nothing,
    rule_22_the_first_renewal_counts_from_the_sending_of_begin,
    rule_24_a_takeover_by_a_newer_release_is_not_answered_over,
    rule_26_outcomes_without_a_claim_do_not_crowd_out_cancellations,
    rule_29_a_tombstone_keeps_what_the_settings_say,
];
