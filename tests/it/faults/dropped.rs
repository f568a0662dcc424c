//! A request future that is dropped at every point at which it can be.

use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::task::yield_now;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::store::Operation;
use tower_idempotency::{IdempotencyLayer, Tenant};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::Runs;
use crate::support::faulty_store::{Fault, FaultyStore};

fn request(key: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::from("body")).expect("a request")
}

async fn w13_a_request_that_is_dropped_at_any_point_is_settled(store: AnyStore) {
    // Others run before and after each call, so that there are more points to drop at.
    let yielding = FaultyStore::new(&store);
    for verb in [Operation::Begin, Operation::Renew, Operation::Complete, Operation::Release] {
        yielding.fault(verb, Fault::Yields);
    }
    let layer = IdempotencyLayer::new(yielding, Tenant::single());
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
