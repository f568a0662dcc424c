//! What happens when rare things come together: a lost reply and an older record, a hook and no room.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::store::Operation;
use tower_idempotency::{FingerprintPolicy, Guarantee, IdempotencyLayer, Policy, Recovery};

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
