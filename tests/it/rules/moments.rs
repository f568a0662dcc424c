//! What happens at one exact moment: a lease that has just ended, a limit between two ticks of a clock.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::store::Operation;
use tower_idempotency::{IdempotencyLayer, Policy};

use crate::support::faulty_store::Fault;
use crate::support::virtual_time::{VirtualClock, layer, request, store};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request to a handler that takes this long, in a task of its own.
fn send(layer: &IdempotencyLayer, key: &str, takes: Duration) -> JoinHandle<StatusCode> {
    let handler = service_fn(move |_: Request<RequestBody<Body>>| async move {
        tokio::time::sleep(takes).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
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
