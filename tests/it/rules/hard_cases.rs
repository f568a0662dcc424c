//! What went wrong once: a store that fails at a bad moment, user code that panics, runtimes that
//! stand still.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{
    Guarantee, IdempotencyLayer, MemoryStore, Policy, Problems, RunningClaim, StoreFailure, Tenant,
};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, eventually, layer, pause};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(key: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::empty()).expect("a request")
}

/// Every finishing call fails, without having done anything.
fn cannot_finish(store: &FaultyStore) {
    for verb in [Operation::Renew, Operation::Complete, Operation::Release] {
        store.fault(verb, Fault::Fails(ErrorKind::Unreachable));
    }
}

async fn rule_27_a_store_that_blinks_after_a_long_run_gets_the_outcome_in_time(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let policy = Policy::new().guarantee(Guarantee::AtLeastOnce).lease(ms(1500));
    let layer = layer(&faulty).store_timeout(ms(100)).policy(policy).build().expect("valid");
    let blinks = faulty.clone();
    let app = App::start(layer, move |run| {
        let blinks = blinks.clone();
        async move {
            pause(1600).await;
            cannot_finish(&blinks);
            run.number.to_string()
        }
    })
    .await;
    let first = app.send(keyed("k")).await;
    assert_eq!(first.header("idempotency-status"), Some("unstored"));
    pause(250).await;
    faulty.recover();
    pause(1200).await;
    let retry = app.send(keyed("k")).await;
    assert_eq!((retry.is_replay(), &retry.body), (true, &first.body));
    assert_eq!(app.runs(), 1);
}

async fn rule_27_an_outcome_near_max_run_is_still_stored(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let policy = Policy::new().lease(ms(1900)).max_run(ms(2000));
    let layer = layer(&faulty).store_timeout(ms(100)).policy(policy).build().expect("valid");
    let blinks = faulty.clone();
    let app = App::start(layer, move |_| {
        let blinks = blinks.clone();
        async move {
            pause(1850).await;
            cannot_finish(&blinks);
        }
    })
    .await;
    app.send(keyed("k")).await;
    pause(300).await;
    faulty.recover();
    pause(1000).await;
    assert!(app.send(keyed("k")).await.is_replay());
}

async fn rule_26_a_free_outcome_without_a_claim_waits_for_the_begin_that_was_lost(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let policy = Policy::new().lease(ms(500)).store_failure(StoreFailure::RunUnprotected);
    let layer = layer(&faulty).store_timeout(ms(200)).policy(policy).build().expect("valid");
    let app = App::start(layer, async |_| StatusCode::TOO_MANY_REQUESTS).await;
    faulty.fault(Operation::Begin, Fault::LosesReply);
    assert_eq!(app.send(keyed("k")).await.status, 429);
    let released = faulty.calls(Operation::Release);
    assert_eq!(released, 0, "a copy of begin could still land");
    faulty.recover();
    eventually(|| faulty.calls(Operation::Release) > 0).await;
    pause(100).await;
    assert_eq!(app.send(keyed("k")).await.status, 429, "the key is free");
}

async fn rule_22_a_grant_that_came_after_its_lease_is_renewed_before_it_runs(store: AnyStore) {
    // The reply comes within the time that a store has for it, and later than the claim is known for.
    let policy = Policy::new().guarantee(Guarantee::AtLeastOnce).lease(ms(2000));
    let slow = FaultyStore::new(&store);
    slow.fault(Operation::Begin, Fault::Delays(ms(1920)));
    let layer = layer(&slow).store_timeout(ms(4000)).policy(policy).build().expect("valid");
    let app = App::start(layer, async |run| {
        assert!(run.claim.expect("a claim").is_live());
        "ran"
    })
    .await;
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.send(keyed("k")).await }
    });
    pause(300).await;
    let second = app.send(keyed("k")).await;
    let first = first.await.expect("an answer");
    assert_eq!(app.runs(), 1, "{first:?} {second:?}");
}

#[test]
fn rule_22_a_lease_is_kept_by_the_runtime_that_runs_the_handler() {
    for dropped in [false, true] {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let policy = Policy::new().guarantee(Guarantee::AtLeastOnce).lease(ms(300));
        let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single()).policy(policy);
        let app: Router = Router::new()
            .route(
                "/",
                post(async move || {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(ms(1200)).await;
                }),
            )
            .layer(layer.build().expect("valid"));
        let still =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
        let healthy = tokio::runtime::Runtime::new().expect("another");
        // A claim of a runtime that is not driven any more, or dropped.
        let _ = still.block_on(async {
            tokio::time::timeout(ms(10), app.clone().oneshot(request("other"))).await
        });
        let first = healthy.spawn(app.clone().oneshot(request("k")));
        std::thread::sleep(ms(50));
        let still = (!dropped).then_some(still);
        std::thread::sleep(ms(600));
        let retry = healthy.block_on(app.clone().oneshot(request("k"))).expect("an answer");
        assert_eq!(retry.status(), StatusCode::CONFLICT, "dropped: {dropped}");
        let first = healthy.block_on(first).expect("it ends").expect("an answer");
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(runs.load(Ordering::SeqCst), 2, "one for each key");
        drop(still);
    }
}

/// A service that never becomes ready.
#[derive(Clone)]
struct NeverReady;

impl Service<Request<RequestBody<Body>>> for NeverReady {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<RequestBody<Body>>) -> Self::Future {
        unreachable!("it was never ready")
    }
}

#[tokio::test]
async fn a_service_that_is_not_ready_within_max_run_has_not_executed() {
    let policy = Policy::new().max_run(ms(100));
    let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single()).policy(policy);
    let service = layer.build().expect("valid").layer(NeverReady);
    for _ in 0..2 {
        let answer = service.clone().oneshot(request("k")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!answer.headers().contains_key("idempotent-replayed"));
    }
}

async fn rule_21_a_panic_in_the_formatter_keeps_nothing_from_being_stored(store: AnyStore) {
    let problems = Problems::new().format(|_, _| panic!("the formatter"));
    let layer = layer(&store).problems(problems).build().expect("valid");
    let app = App::start(layer, async |_| -> &'static str { panic!("the handler") }).await;
    let first = app.send(keyed("k")).await;
    first.is_refused(500, "handler-failed");
    assert!(app.send(keyed("k")).await.is_replay());
}

/// Panics when it is dropped.
struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the trap");
    }
}

async fn rule_20_a_handler_that_panics_when_it_is_stopped_is_settled(store: AnyStore) {
    let policy = Policy::new().max_run(ms(100));
    let app = App::start(layer(&store).policy(policy).build().expect("valid"), async |_| {
        let _trap = Trap;
        pause(10_000).await;
    })
    .await;
    app.send(keyed("k")).await.is_refused(500, "handler-failed");
    assert!(app.send(keyed("k")).await.is_replay());
}

async fn rule_30_a_stored_problem_keeps_nothing_of_one_message(store: AnyStore) {
    let problems = Problems::new().format(|_, mut response| {
        response.headers_mut().insert("set-cookie", HeaderValue::from_static("session=first"));
        response.headers_mut().insert("x-kind", HeaderValue::from_static("problem"));
        response
    });
    let layer = layer(&store).problems(problems).build().expect("valid");
    let app = App::start(layer, async |_| -> &'static str { panic!("the handler") }).await;
    assert_eq!(app.send(keyed("k")).await.header("set-cookie"), Some("session=first"));
    let replay = app.send(keyed("k")).await;
    assert_eq!((replay.header("set-cookie"), replay.header("x-kind")), (None, Some("problem")));
}

#[tokio::test]
async fn rule_41_running_unprotected_does_not_fill_a_full_store() {
    let memory = Arc::new(MemoryStore::new().max_records(10));
    let policy = Policy::new().store_failure(StoreFailure::RunUnprotected);
    let layer = layer(&memory).policy(policy).build().expect("valid");
    let drain = layer.drain();
    let app = App::start(layer, async |_| "ran").await;
    for number in 0..200 {
        assert_eq!(app.send(keyed(&number.to_string())).await.status, 200);
    }
    eventually(|| drain.running() == 0).await;
    assert_eq!(memory.len(), 10);
}

#[tokio::test]
async fn rule_29_a_body_of_empty_frames_does_not_stop_the_clock() {
    let policy = Policy::new().buffer_time(ms(50));
    let app: Router = Router::new()
        .fallback(async || {
            let empty = || Ok::<_, Infallible>(bytes::Bytes::new());
            Body::from_stream(futures_util::stream::repeat_with(empty))
        })
        .layer(layer(&AnyStore::memory()).policy(policy).build().expect("valid"));
    let first = app.clone().oneshot(request("k")).await.expect("an answer");
    assert_eq!(first.status(), StatusCode::OK);
    let retry = app.oneshot(request("k")).await.expect("an answer");
    assert_eq!(retry.status(), StatusCode::CONFLICT);
}

#[test]
fn durations_without_end_are_refused_or_work() {
    let layer = |policy| {
        let builder = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single());
        builder.store_timeout(Duration::MAX).policy(policy).build()
    };
    assert!(layer(Policy::new().lease(Duration::MAX)).is_err());
    let layer = layer(Policy::new().max_run(Duration::MAX)).expect("valid");
    let app: Router = Router::new().route("/", post(async |_: RunningClaim| "ran")).layer(layer);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let answer = runtime.block_on(app.oneshot(request("k"))).expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

on_every_store![
    rule_20_a_handler_that_panics_when_it_is_stopped_is_settled,
    rule_21_a_panic_in_the_formatter_keeps_nothing_from_being_stored,
    rule_22_a_grant_that_came_after_its_lease_is_renewed_before_it_runs,
    rule_26_a_free_outcome_without_a_claim_waits_for_the_begin_that_was_lost,
    rule_27_a_store_that_blinks_after_a_long_run_gets_the_outcome_in_time,
    rule_27_an_outcome_near_max_run_is_still_stored,
    rule_30_a_stored_problem_keeps_nothing_of_one_message,
];
