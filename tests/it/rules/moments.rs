//! What happens at one exact moment: a lease that has just ended, a limit between two ticks of a clock.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{IdempotencyLayer, InFlight, Policy, StoreFailure};

use crate::support::attempt::{attempt_of, response};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;
use crate::support::virtual_time::{self, VirtualClock, calls, layer, memory, request, store};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request to a handler that takes this long, in a task of its own.
fn send(layer: &IdempotencyLayer, key: &str, takes: Duration) -> JoinHandle<StatusCode> {
    send_to(layer, key, takes, StatusCode::OK)
}

/// The same to a handler that has executed nothing.
fn frees(layer: &IdempotencyLayer, key: &str, takes: Duration) -> JoinHandle<StatusCode> {
    send_to(layer, key, takes, StatusCode::TOO_MANY_REQUESTS)
}

fn send_to(
    layer: &IdempotencyLayer,
    key: &str,
    takes: Duration,
    status: StatusCode,
) -> JoinHandle<StatusCode> {
    let handler = service_fn(move |_: Request<RequestBody<Body>>| async move {
        tokio::time::sleep(takes).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    let answer = layer.layer(handler).oneshot(request(key));
    tokio::spawn(async { answer.await.expect("an answer").status() })
}

#[tokio::test(start_paused = true)]
async fn rule_22_a_claim_that_comes_as_its_lease_may_end_is_renewed_before_it_runs() {
    // A twentieth of the lease is a margin.
    for (delay, renewals) in [(94, 0), (95, 1), (96, 1)] {
        let clock = VirtualClock::start();
        let store = store(clock);
        store.fault(Operation::Begin, Fault::Delays(ms(delay)));
        let policy = Policy::new().lease(ms(100));
        let layer = layer(&store, clock).policy(policy).build().expect("valid");
        let answer = send(&layer, "k", ms(0)).await.expect("an answer");
        assert_eq!((answer, store.calls(Operation::Renew)), (StatusCode::OK, renewals), "{delay}");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_20_a_limit_between_two_microseconds_ends_a_run_at_the_next() {
    let clock = VirtualClock::start();
    let policy = Policy::new().max_run(ms(10) + Duration::from_nanos(500));
    let layer = layer(&store(clock), clock).policy(policy).build().expect("valid");
    let answer = send(&layer, "k", ms(60_000)).await.expect("an answer");
    assert_eq!((answer, clock.now()), (StatusCode::INTERNAL_SERVER_ERROR, 11));
}

#[tokio::test(start_paused = true)]
async fn the_room_of_a_handler_is_free_before_its_answer_is_stored() {
    let clock = VirtualClock::start();
    let store = store(clock);
    store.fault(Operation::Complete, Fault::Delays(ms(1000)));
    let layer = layer(&store, clock).max_in_flight(1).build().expect("valid");
    let first = send(&layer, "one", ms(100));
    let statuses = [(50, StatusCode::SERVICE_UNAVAILABLE), (100, StatusCode::OK)];
    for (pause, status) in statuses {
        tokio::time::sleep(ms(pause)).await;
        let second = send(&layer, &pause.to_string(), ms(0));
        assert_eq!(second.await.expect("an answer"), status);
    }
    assert_eq!(first.await.expect("an answer"), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn rule_16_an_answer_waits_for_its_key_to_be_freed_once_no_copy_of_begin_can_land() {
    // The claim is granted to the second copy, after 20 ms; the first can land for 500 ms more.
    for (takes, answered) in [(499, 519), (500, 527), (501, 528)] {
        let clock = VirtualClock::start();
        let store = store(clock);
        store.fault(Operation::Begin, Fault::LosesReply);
        let layer = layer(&store, clock).store_timeout(ms(500)).build().expect("valid");
        let answer = frees(&layer, "k", ms(takes));
        tokio::time::sleep(ms(10)).await;
        store.recover();
        store.fault(Operation::Release, Fault::Delays(ms(7)));
        assert_eq!(answer.await.expect("an answer"), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(clock.now(), answered);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_26_a_lost_claim_is_cancelled_for_as_long_as_its_record_may_live() {
    let clock = VirtualClock::start();
    let store = store(clock);
    store.fault(Operation::Begin, Fault::LosesReply);
    store.fault(Operation::Release, Fault::Fails(ErrorKind::Unreachable));
    for (retention, times) in [
        (298, vec![10, 30, 70, 150, 299]),
        (299, vec![10, 30, 70, 150, 299]),
        (300, vec![10, 30, 70, 150, 299, 448]),
    ] {
        let policy = Policy::new().lease(ms(149)).retention(ms(retention));
        let layer = layer(&store, clock).policy(policy).store_timeout(ms(10));
        let answer = send(&layer.build().expect("valid"), "k", ms(0));
        assert_eq!(answer.await.expect("an answer"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(calls(&store, Operation::Release, clock, 2000).await, times);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_15_who_waited_in_vain_is_told_to_come_back_after_whole_seconds() {
    for (waits, told) in [(999, "1"), (1500, "2"), (2000, "2"), (2001, "3")] {
        let clock = VirtualClock::start();
        let policy = Policy::new().in_flight(InFlight::wait(ms(waits)));
        let layer = layer(&store(clock), clock).policy(policy).build().expect("valid");
        let first = send(&layer, "k", ms(5000));
        tokio::task::yield_now().await;
        let handler = service_fn(|_: Request<RequestBody<Body>>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let second = layer.layer(handler).oneshot(request("k")).await.expect("an answer");
        let conflict = (StatusCode::CONFLICT, Some(told.to_owned()));
        assert_eq!(virtual_time::told(&second, "retry-after"), conflict, "{waits}");
        assert_eq!(first.await.expect("an answer"), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_20_a_run_that_has_lost_its_claim_is_stopped_at_its_limit_all_the_same() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let policy = Policy::new().lease(ms(300)).max_run(ms(1000));
    let layer = layer(&FaultyStore::new(&inner), clock).policy(policy).build().expect("valid");
    let answer = send(&layer, "k", ms(60_000));
    tokio::time::sleep(ms(50)).await;
    drop(inner.stolen(&keyed("k")).await);
    assert_eq!(answer.await.expect("an answer"), StatusCode::CONFLICT);
    assert_eq!(clock.now(), 1000);
}

#[tokio::test(start_paused = true)]
async fn rule_15_an_outcome_comes_at_once_however_often_its_key_was_freed_before() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let mut claim = inner.claimed(attempt_of(&keyed("k"), ms(30_000))).await;
    let policy = Policy::new().in_flight(InFlight::wait(ms(60_000)));
    let layer = layer(&FaultyStore::new(&inner), clock).policy(policy).build().expect("valid");
    let answer = send(&layer, "k", ms(0));
    for _ in 0..6 {
        tokio::time::sleep(ms(2000)).await;
        claim = inner.stolen(&keyed("k")).await;
    }
    tokio::time::sleep(ms(2000)).await;
    inner.completed(&claim, &response(201, "another's")).await;
    assert_eq!(answer.await.expect("an answer"), StatusCode::CREATED);
    assert_eq!(clock.now(), 14_000);
}

/// The answer to a request whose claim is granted too late and cannot be renewed, and to its retry.
async fn granted_too_late(policy: Policy) -> [StatusCode; 2] {
    let clock = VirtualClock::start();
    let store = store(clock);
    // Within the last twentieth of the lease, in which it is not known to be live.
    store.fault(Operation::Begin, Fault::Delays(ms(960)));
    store.fault(Operation::Renew, Fault::Fails(ErrorKind::Refused));
    let builder = layer(&store, clock).policy(policy.lease(ms(1000)));
    let layer = builder.store_timeout(ms(1000)).build().expect("valid");
    let answer = send(&layer, "k", ms(0)).await.expect("an answer");
    assert_eq!(clock.now(), 960);
    store.recover();
    tokio::time::sleep(ms(2000)).await;
    [answer, send(&layer, "k", ms(0)).await.expect("an answer")]
}

#[tokio::test(start_paused = true)]
async fn rule_22_a_claim_that_was_granted_too_late_and_cannot_be_renewed_is_given_back() {
    let answers = granted_too_late(Policy::new()).await;
    assert_eq!(answers, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK]);
}

#[tokio::test(start_paused = true)]
async fn rule_26_a_claim_that_was_granted_too_late_runs_all_the_same_where_a_policy_says_so() {
    let policy = Policy::new().store_failure(StoreFailure::RunUnprotected);
    assert_eq!(granted_too_late(policy).await, [StatusCode::OK, StatusCode::OK]);
}
