//! What happens when rare things come together: a lost reply and an older record, a hook and no room.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::protocol::{IdempotencyKey, KeySyntax, Nonce, Slot, TakeOver};
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{
    FingerprintPolicy, Guarantee, IdempotencyLayer, InFlight, Policy, Recovery, RunningClaim,
    StoreFailure, Tenant,
};

use crate::support::attempt::{attempt_of, response};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;
use crate::support::virtual_time::{VirtualClock, calls, layer, memory, request};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The status that a request gets from a handler that takes this long and frees its key.
async fn send(layer: &IdempotencyLayer, key: &str, takes: Duration) -> StatusCode {
    let handler = service_fn(move |_: Request<RequestBody<Body>>| async move {
        tokio::time::sleep(takes).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        Ok::<_, Infallible>(response)
    });
    layer.layer(handler).oneshot(request(key)).await.expect("an answer").status()
}

/// The first copy of the first `begin` loses its reply.
async fn after_a_lost_reply(store: &FaultyStore, layer: &IdempotencyLayer) -> StatusCode {
    store.fault(Operation::Begin, Fault::LosesReply);
    let layer = layer.clone();
    let answer = tokio::spawn(async move { send(&layer, "k", ms(0)).await });
    tokio::time::sleep(ms(10)).await;
    store.recover();
    answer.await.expect("an answer")
}

fn rerun(policy: Policy) -> Policy {
    policy.on_abandoned(async |_| Recovery::Rerun)
}

#[tokio::test(start_paused = true)]
async fn rule_26_a_lost_begin_is_cancelled_though_an_older_record_was_compared_anew() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    let claim = inner.claimed(attempt_of(&keyed("k"), ms(30_000))).await;
    inner.completed(&claim, &response(201, "older")).await;
    let policy = Policy::new().fingerprint(FingerprintPolicy::json());
    let layer = layer(&store, clock).policy(policy).build().expect("valid");
    assert_eq!(after_a_lost_reply(&store, &layer).await, StatusCode::CREATED);
    assert_eq!(calls(&store, Operation::Release, clock, 5000).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rule_23_a_rerun_is_not_freed_while_a_lost_copy_of_begin_can_land() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(50))).await);
    tokio::time::sleep(ms(80)).await;
    let layer = layer(&store, clock).policy(rerun(Policy::new())).build().expect("valid");
    assert_eq!(after_a_lost_reply(&store, &layer).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(store.calls(Operation::Release), 0);
    assert!(!calls(&store, Operation::Release, clock, 5000).await.is_empty(), "later it is");
    assert_eq!(store.calls(Operation::Renew), 0, "it was granted in time");
}

#[tokio::test(start_paused = true)]
async fn rule_23_without_room_an_abandoned_key_is_unknown_unless_it_could_run_again() {
    let no_room = StatusCode::SERVICE_UNAVAILABLE;
    for (policy, status) in [
        (Policy::new(), StatusCode::CONFLICT),
        (Policy::new().guarantee(Guarantee::AtLeastOnce), no_room),
        (rerun(Policy::new()), no_room),
        (rerun(Policy::new()).guarantee(Guarantee::AtLeastOnce), no_room),
    ] {
        let clock = VirtualClock::start();
        let inner = memory(clock);
        let store = FaultyStore::new(&inner);
        drop(inner.claimed(attempt_of(&keyed("k"), ms(50))).await);
        tokio::time::sleep(ms(80)).await;
        let layer = layer(&store, clock).policy(policy).max_in_flight(1).build().expect("valid");
        let running = layer.clone();
        let running = tokio::spawn(async move { send(&running, "other", ms(1000)).await });
        tokio::time::sleep(ms(1)).await;
        assert_eq!(send(&layer, "k", ms(0)).await, status);
        running.await.expect("an answer");
    }
}

/// A claim whose reply comes when its lease has lapsed and its key has been freed by another.
async fn freed_before_it_could_run(policy: Policy) -> (StatusCode, usize) {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    store.fault(Operation::Begin, Fault::Delays(ms(150)));
    let layer = layer(&store, clock).policy(policy.lease(ms(100))).build().expect("valid");
    let answer = tokio::spawn(async move { send(&layer, "k", ms(0)).await });
    tokio::time::sleep(ms(10)).await;
    store.recover();
    inner.freed(&keyed("k")).await;
    (answer.await.expect("an answer"), store.calls(Operation::Begin))
}

#[tokio::test(start_paused = true)]
async fn rule_16_who_waits_asks_again_for_a_key_that_was_freed_before_it_could_run() {
    // The handler's own answer, and that of one who does not wait.
    let waits = Policy::new().in_flight(InFlight::wait(ms(5000)));
    assert_eq!(freed_before_it_could_run(waits).await, (StatusCode::TOO_MANY_REQUESTS, 2));
    assert_eq!(freed_before_it_could_run(Policy::new()).await, (StatusCode::CONFLICT, 1));
}

#[tokio::test(start_paused = true)]
async fn rule_26_a_run_without_a_claim_renews_none_and_counts_as_lost_to_its_handler() {
    let clock = VirtualClock::start();
    let store = FaultyStore::new(&memory(clock));
    store.fault(Operation::Begin, Fault::Fails(ErrorKind::Unreachable));
    let policy = Policy::new().lease(ms(300)).store_failure(StoreFailure::RunUnprotected);
    let layer = layer(&store, clock).policy(policy).store_timeout(ms(10)).build().expect("valid");
    let handler = service_fn(|request: Request<RequestBody<Body>>| async move {
        let claim: &RunningClaim = request.extensions().get().expect("a claim");
        let live = claim.is_live();
        tokio::time::sleep(ms(1000)).await;
        assert!(!live && !claim.is_live());
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let answer = layer.layer(handler).oneshot(request("k")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "it did not panic");
    assert_eq!(store.calls(Operation::Renew), 0);
}

#[tokio::test(start_paused = true)]
async fn rule_23_who_has_asked_the_hook_does_not_wait_for_another_who_asks_it_too() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(50))).await);
    tokio::time::sleep(ms(80)).await;
    let hook = |takes| {
        let policy = Policy::new().lease(ms(300)).in_flight(InFlight::wait(ms(9000)));
        policy.on_abandoned(move |_| async move {
            tokio::time::sleep(ms(takes)).await;
            Recovery::StillUnknown
        })
    };
    // The first cannot renew the right to ask, which the second takes over.
    store.fault(Operation::Renew, Fault::Fails(ErrorKind::Unreachable));
    let frozen = layer(&store, clock).policy(hook(500)).build().expect("valid");
    let second = FaultyStore::new(&inner);
    let second = layer(&second, clock).policy(hook(3000)).build().expect("valid");
    let begun = clock.now();
    let frozen = tokio::spawn(async move { (send(&frozen, "k", ms(0)).await, clock.now()) });
    tokio::time::sleep(ms(400)).await;
    let second = tokio::spawn(async move { (send(&second, "k", ms(0)).await, clock.now()) });
    assert_eq!(frozen.await.expect("an answer"), (StatusCode::CONFLICT, begun + 500));
    assert_eq!(second.await.expect("an answer"), (StatusCode::CONFLICT, begun + 3400));
}

#[tokio::test(start_paused = true)]
async fn rule_23_a_hook_is_told_whose_key_was_abandoned_and_how_often() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let key = IdempotencyKey::parse(b"secret", &KeySyntax::either()).expect("a key");
    let mut attempt = attempt_of(&keyed("secret"), ms(50));
    attempt.slot = Slot::derive(None, "ann", "POST", Some("/"), &key);
    attempt.take_over = TakeOver::Below(3);
    for nonce in [1, 2] {
        attempt.nonce = Nonce::from_bytes([nonce; 16]);
        drop(inner.claimed(attempt.clone()).await);
        tokio::time::sleep(ms(80)).await;
    }
    let (tell, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let policy = Policy::new().on_abandoned(move |abandoned| {
        tell.send(abandoned).expect("somebody hears");
        async { Recovery::StillUnknown }
    });
    let builder = IdempotencyLayer::builder(inner, Tenant::resolve(|_| Ok("ann".to_owned())));
    let layer = builder.clock(clock).policy(policy).build().expect("valid");
    assert_eq!(send(&layer, "secret", ms(0)).await, StatusCode::CONFLICT);
    let told = hear.recv().await.expect("the hook was asked");
    assert_eq!((told.tenant(), told.attempt(), told.age()), ("ann", 2, ms(80)));
    let debug = format!("{told:?}");
    assert!(debug.starts_with(&format!("Abandoned {{ slot: {:?}, attempt: 2", attempt.slot)));
    assert!(!debug.contains("ann") && !debug.contains("secret"), "{debug}");
}

#[tokio::test(start_paused = true)]
async fn rule_23_no_hook_is_asked_by_who_cannot_know_whether_he_may() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(50))).await);
    tokio::time::sleep(ms(80)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let policy = Policy::new().on_abandoned(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Recovery::StillUnknown }
    });
    let layer = layer(&store, clock).policy(policy).build().expect("valid");
    // The claim is looked for in time; the first reply about the right to ask is lost.
    store.fault(Operation::Begin, Fault::Delays(ms(10)));
    let answer = tokio::spawn(async move { send(&layer, "k", ms(0)).await });
    tokio::time::sleep(ms(5)).await;
    store.fault(Operation::Begin, Fault::LosesReply);
    tokio::time::sleep(ms(10)).await;
    store.recover();
    assert_eq!(answer.await.expect("an answer"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((store.calls(Operation::Begin), asked.load(Ordering::Relaxed)), (3, 0));
    assert_eq!(calls(&store, Operation::Release, clock, 5000).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rule_15_who_waits_for_another_server_has_its_outcome_without_asking_for_the_key_again() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    let claim = inner.claimed(attempt_of(&keyed("k"), ms(30_000))).await;
    let policy = Policy::new().in_flight(InFlight::wait(ms(5000)));
    let layer = layer(&store, clock).policy(policy).build().expect("valid");
    let answer = tokio::spawn(async move { send(&layer, "k", ms(0)).await });
    tokio::time::sleep(ms(100)).await;
    inner.completed(&claim, &response(201, "another's")).await;
    assert_eq!(answer.await.expect("an answer"), StatusCode::CREATED);
    assert_eq!(store.calls(Operation::Begin), 1);
}

#[tokio::test(start_paused = true)]
async fn rule_20_who_only_waits_ends_with_his_client() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(30_000))).await);
    let policy = Policy::new().in_flight(InFlight::wait(ms(60_000)));
    let layer = layer(&store, clock).policy(policy).build().expect("valid");
    let answer = tokio::spawn(async move { send(&layer, "k", ms(0)).await });
    tokio::time::sleep(ms(100)).await;
    answer.abort();
    assert!(answer.await.expect_err("it was dropped").is_cancelled());
    inner.freed(&keyed("k")).await;
    assert!(calls(&store, Operation::Begin, clock, 5000).await.is_empty(), "nobody asks");
}
