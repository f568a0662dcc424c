//! When exactly the store is called: for what is repeated, renewed, watched and settled later.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::{Builder, RequestBody, ResponseBody};
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{Guarantee, InFlight, Policy, RunningClaim, StoreFailure};

use crate::support::attempt::attempt_of;
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;
use crate::support::virtual_time::{VirtualClock, calls, layer, memory, request, store, told};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const DOWN: Fault = Fault::Fails(ErrorKind::Unreachable);

/// A request to a handler that takes this long and answers with this status.
fn send(
    builder: Builder,
    key: &str,
    takes: Duration,
    status: StatusCode,
) -> JoinHandle<Response<ResponseBody<Body>>> {
    let handler = service_fn(move |_: Request<RequestBody<Body>>| async move {
        tokio::time::sleep(takes).await;
        let mut response = Response::new(Body::from("ran"));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    let service = builder.build().expect("valid").layer(handler);
    let request = request(key);
    tokio::spawn(async move { service.oneshot(request).await.expect("an answer") })
}

#[tokio::test(start_paused = true)]
async fn rule_27_an_outcome_is_stored_in_short_steps_while_the_lease_lives_then_once_a_lease() {
    for (lease, max_run, times) in [
        (1000, 5100, vec![0, 0, 40, 120, 280, 600, 1100, 2100, 3100, 4100, 5100, 6100]),
        // 600 is within the last twentieth of the lease, in which it is not known to be live.
        (620, 1800, vec![0, 0, 40, 120, 280, 600, 1220, 1840]),
    ] {
        let clock = VirtualClock::start();
        let store = store(clock);
        store.fault(Operation::Complete, DOWN);
        let policy = Policy::new().lease(ms(lease)).max_run(ms(max_run));
        let builder = layer(&store, clock).policy(policy).store_timeout(ms(10));
        let answer = send(builder, "k", ms(0), StatusCode::OK);
        assert_eq!(calls(&store, Operation::Complete, clock, 12_000).await, times);
        let answer = answer.await.expect("an answer");
        let unstored = (StatusCode::OK, Some("unstored".to_owned()));
        assert_eq!(told(&answer, "idempotency-status"), unstored);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_26_an_outcome_without_a_claim_is_stored_in_short_steps_for_as_long_as_a_lease() {
    for (lease, times) in [
        (1000, vec![0, 40, 120, 280, 600, 1100, 2100, 3100, 4100]),
        (600, vec![0, 40, 120, 280, 600, 1200, 1800, 2400, 3000, 3600]),
    ] {
        let clock = VirtualClock::start();
        let store = store(clock);
        store.fault(Operation::Begin, DOWN);
        store.fault(Operation::Complete, DOWN);
        let policy = Policy::new()
            .lease(ms(lease))
            .max_run(ms(3500))
            .store_failure(StoreFailure::RunUnprotected);
        let builder = layer(&store, clock).policy(policy).store_timeout(ms(10));
        let _answer = send(builder, "k", ms(0), StatusCode::OK);
        assert_eq!(calls(&store, Operation::Complete, clock, 12_000).await, times);
        assert_eq!(store.calls(Operation::Renew), 0, "there is nothing to renew");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_26_outcomes_without_a_claim_take_no_more_than_64_mebibytes() {
    let clock = VirtualClock::start();
    let store = store(clock);
    store.fault(Operation::Begin, DOWN);
    store.fault(Operation::Complete, DOWN);
    let policy = Policy::new().store_failure(StoreFailure::RunUnprotected);
    let layer = layer(&store, clock).policy(policy).store_timeout(ms(10)).build().expect("valid");
    let large = service_fn(|_: Request<RequestBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(Body::from(vec![b'x'; 1_000_000])))
    });
    for number in 0..80 {
        let answer = layer.layer(large).oneshot(request(&number.to_string())).await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    }
    tokio::time::sleep(ms(1)).await;
    // 64 MiB in KiB, by what is kept of one.
    assert_eq!(store.calls(Operation::Complete), (64 << 10) / (2 + 1_000_000 / 1024));
}

#[tokio::test(start_paused = true)]
async fn rule_16_a_key_is_not_freed_before_a_lost_copy_of_begin_can_no_longer_land() {
    // The claim is granted to the second copy, after 20 ms; the first can land for 500 ms more.
    for (takes, freed) in [(0, 520), (499, 520), (500, 520), (600, 620)] {
        let clock = VirtualClock::start();
        let store = store(clock);
        store.fault(Operation::Begin, Fault::LosesReply);
        let builder = layer(&store, clock).store_timeout(ms(500));
        let answer = send(builder, "k", ms(takes), StatusCode::TOO_MANY_REQUESTS);
        tokio::time::sleep(ms(10)).await;
        store.recover();
        assert_eq!(answer.await.expect("an answer").status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(clock.now(), takes + 20, "the answer does not wait for it");
        let at_once = usize::from(takes >= 500);
        assert_eq!(store.calls(Operation::Release), at_once, "{takes}");
        if at_once == 0 {
            let times = calls(&store, Operation::Release, clock, 2000).await;
            assert_eq!(times, [freed - takes - 20]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rule_26_a_store_that_is_down_is_asked_after_pauses_that_double() {
    let clock = VirtualClock::start();
    let store = store(clock);
    store.fault(Operation::Begin, DOWN);
    let answer = send(layer(&store, clock), "k", ms(0), StatusCode::OK);
    let times = calls(&store, Operation::Begin, clock, 5000).await;
    assert_eq!(times, [0, 20, 60, 140, 300, 620]);
    assert_eq!(answer.await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn rule_22_a_lease_is_renewed_at_each_third_until_the_handler_ends() {
    let clock = VirtualClock::start();
    let store = store(clock);
    let builder = layer(&store, clock).policy(Policy::new().lease(ms(300)));
    let answer = send(builder, "k", ms(650), StatusCode::OK);
    let times = calls(&store, Operation::Renew, clock, 5000).await;
    assert_eq!(times, [100, 200, 300, 400, 500, 600]);
    assert_eq!(answer.await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn rule_22_a_short_lease_is_renewed_in_time_beside_a_long_one() {
    let clock = VirtualClock::start();
    let store = store(clock);
    let layer = layer(&store, clock)
        .policy(Policy::new().lease(ms(30_000)))
        .route_policy("/short", Policy::new().lease(ms(300)))
        .build()
        .expect("valid");
    let slow = service_fn(|_: Request<RequestBody<Body>>| async {
        tokio::time::sleep(ms(1000)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let long = tokio::spawn(layer.layer(slow).oneshot(request("k")));
    tokio::time::sleep(ms(10)).await;
    let mut short = request("k");
    *short.uri_mut() = "/short".parse().expect("a path");
    let short = tokio::spawn(layer.layer(slow).oneshot(short));
    let renewed = calls(&store, Operation::Renew, clock, 2000).await;
    drop((long.await, short.await));
    assert_eq!(renewed, [100, 200, 300, 400, 500, 600, 700, 800, 900]);
}

#[tokio::test(start_paused = true)]
async fn rule_22_a_claim_is_live_until_a_twentieth_before_its_lease_ends() {
    let clock = VirtualClock::start();
    let store = store(clock);
    store.fault(Operation::Renew, DOWN);
    let policy = Policy::new().lease(ms(1000));
    let layer = layer(&store, clock).policy(policy).store_timeout(ms(10)).build().expect("valid");
    let handler = service_fn(|request: Request<RequestBody<Body>>| async move {
        let claim: &RunningClaim = request.extensions().get().expect("a claim");
        tokio::time::sleep(ms(949)).await;
        let before = claim.is_live();
        tokio::time::sleep(ms(1)).await;
        assert_eq!((before, claim.is_live()), (true, false));
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let answer = layer.layer(handler).oneshot(request("k")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "it did not panic");
}

/// A request that waits for a claim of another server.
fn waits(store: &FaultyStore, clock: VirtualClock, max: u64) -> JoinHandle<StatusCode> {
    let policy = Policy::new().in_flight(InFlight::wait(ms(max)));
    let answer = send(layer(store, clock).policy(policy), "k", ms(0), StatusCode::OK);
    tokio::spawn(async move { answer.await.expect("an answer").status() })
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_claim_is_watched_anew_every_15_seconds_and_not_begun_again() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(300_000))).await);
    let answer = waits(&store, clock, 40_000);
    let times = calls(&store, Operation::Watch, clock, 40_000).await;
    assert_eq!(times, [0, 15_000, 30_000]);
    assert_eq!(store.calls(Operation::Begin), 1);
    assert_eq!(answer.await.expect("an answer"), StatusCode::CONFLICT);
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_store_that_cannot_be_watched_is_tried_after_pauses_that_double() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(300_000))).await);
    for (kind, verb, times) in [
        // While it may pass, it is watched for.
        (ErrorKind::Unreachable, Operation::Watch, [0, 20, 60, 140, 300, 620, 1260, 2260, 3260]),
        // Otherwise, the claim is asked for: three times at once.
        (ErrorKind::Refused, Operation::Begin, [0, 0, 0, 0, 20, 60, 140, 300, 620]),
    ] {
        store.fault(Operation::Watch, Fault::Fails(kind));
        let answer = waits(&store, clock, 4000);
        let called = calls(&store, verb, clock, 4500).await;
        assert_eq!(called[..9], times);
        assert_eq!(answer.await.expect("an answer"), StatusCode::CONFLICT);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_15_who_has_waited_is_told_the_age_of_the_claim() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    drop(inner.claimed(attempt_of(&keyed("k"), ms(30_000))).await);
    tokio::time::sleep(ms(7000)).await;
    let policy = Policy::new().in_flight(InFlight::wait(ms(2000)));
    let answer = send(layer(&store, clock).policy(policy), "k", ms(0), StatusCode::OK).await;
    let told = told(&answer.expect("an answer"), "retry-after");
    assert_eq!(told, (StatusCode::CONFLICT, Some("9".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn rule_24_who_was_granted_too_late_is_told_who_has_the_key_now() {
    let clock = VirtualClock::start();
    let inner = memory(clock);
    let store = FaultyStore::new(&inner);
    store.fault(Operation::Begin, Fault::Delays(ms(250)));
    let policy = Policy::new().guarantee(Guarantee::AtLeastOnce).lease(ms(200));
    let builder = layer(&store, clock).policy(policy).store_timeout(ms(1000));
    let answer = send(builder, "k", ms(0), StatusCode::OK);
    tokio::time::sleep(ms(210)).await;
    let mut winner = attempt_of(&keyed("k"), ms(30_000));
    winner.take_over = tower_idempotency::protocol::TakeOver::Below(5);
    drop(inner.claimed(winner).await);
    assert_eq!(answer.await.expect("an answer").status(), StatusCode::CONFLICT);
}
