//! A request future that is dropped at every point at which it can be.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::task::yield_now;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::protocol::{Attempt, Claim, FenceToken, Outcome, Ran, Reply, Slot};
use tower_idempotency::store::{Error, Seen, Store};
use tower_idempotency::{IdempotencyLayer, Tenant};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::Runs;

/// A store that lets others run before and after each of its calls, so that there are more points
/// to drop at.
#[derive(Debug)]
struct Yielding(AnyStore);

macro_rules! yielding {
    ($call:expr) => {{
        yield_now().await;
        let answer = $call.await;
        yield_now().await;
        answer
    }};
}

impl Store for Yielding {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        yielding!(self.0.begin(attempt, within))
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        yielding!(self.0.renew(claim, within))
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        yielding!(self.0.complete(claim, outcome, within))
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        yielding!(self.0.release(attempt, ran, tombstone, within))
    }
    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        yielding!(self.0.look(slot, within))
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        yielding!(self.0.resolve(slot, fence, outcome, retention, within))
    }
}

fn request(key: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::from("body")).expect("a request")
}

async fn w13_a_request_that_is_dropped_at_any_point_is_settled(store: AnyStore) {
    let layer = IdempotencyLayer::new(Yielding(store), Tenant::single());
    let drain = layer.drain();
    for polls in 0.. {
        let runs = Runs::default();
        let counted = runs.clone();
        let service = layer.layer(service_fn(move |_: Request<RequestBody<Body>>| {
            let runs = counted.clone();
            async move {
                yield_now().await;
                let run = runs.next();
                yield_now().await;
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(run.to_string())))
            }
        }));
        let key = format!("dropped-after-{polls}");
        let finished = poll_times(service.clone().call(request(&key)), polls).await;
        // Whatever was begun ends by itself.
        while drain.running() > 0 {
            yield_now().await;
        }
        let begun = runs.count();
        let answer = service.oneshot(request(&key)).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let replayed = answer.headers().contains_key("idempotent-replayed");
        assert_eq!((replayed, runs.count()), (begun == 1, 1), "{polls} polls");
        if finished {
            assert!(polls > 6, "there are points to drop at");
            return;
        }
    }
}

/// Polls a future so many times, lets others run in between, and drops it. Tells whether it ended.
async fn poll_times<F: Future>(future: F, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let ended =
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready()));
        if ended.await {
            return true;
        }
        yield_now().await;
    }
    false
}

on_every_store!(w13_a_request_that_is_dropped_at_any_point_is_settled);
