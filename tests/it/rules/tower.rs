//! The layer as one of many in a stack of tower services.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _};
use tower_idempotency::store::Operation;
use tower_idempotency::{Policy, Rejection, Required};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Runs, eventually, layer, layer_with, pause};
use crate::support::faulty_store::FaultyStore;
use crate::support::http::{Server, keyed};

on_every_store![
    two_layers_around_one_handler_ask_the_store_once,
    replays_and_refusals_need_no_permit_of_the_inner_service,
    an_inner_service_that_is_not_ready_has_not_executed,
    the_layer_is_always_ready,
    a_drain_waits_for_requests_whose_clients_have_gone,
];

async fn two_layers_around_one_handler_ask_the_store_once(store: AnyStore) {
    let (outer, inner) = (FaultyStore::new(&store), FaultyStore::new(&store));
    let runs = Runs::default();
    let router = Router::new()
        .fallback(runs.of(|run| async move { run.number.to_string() }))
        .layer(layer_with(&inner, Policy::new().required(Required::always())))
        .layer(layer(&outer).build().expect("valid"));
    let app = App::serve(router, runs).await;
    app.send(keyed("k")).await.is_first("1");
    assert!(app.send(keyed("k")).await.is_replay());
    assert_eq!((outer.calls(Operation::Begin), outer.calls(Operation::Complete)), (2, 1));
    assert_eq!((inner.calls(Operation::Begin), inner.calls(Operation::Complete)), (0, 0));
}

#[tokio::test]
async fn of_two_layers_around_one_handler_the_inner_one_warns_once() {
    let logs = tempfile::NamedTempFile::new().expect("a temporary file");
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::sync::Mutex::new(logs.reopen().expect("it is there")))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let layer = || layer(&AnyStore::memory()).build().expect("valid");
    let app: Router = Router::new().fallback(async || "ran").layer(layer()).layer(layer());
    for key in ["a", "b", "c"] {
        app.clone().oneshot(request(key)).await.expect("an answer");
    }
    let written = std::fs::read_to_string(logs.path()).expect("logs");
    assert_eq!(written.matches("only the outer one acts").count(), 1, "{written}");
}

fn request(key: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::empty()).expect("a request")
}

async fn replays_and_refusals_need_no_permit_of_the_inner_service(store: AnyStore) {
    let runs = Runs::default();
    let count = runs.clone();
    let service = ServiceBuilder::new()
        .layer(layer(&store).build().expect("valid"))
        .concurrency_limit(1)
        .service_fn(move |request: Request<_>| {
            let (number, slow) = (count.next(), request.uri().path() == "/slow");
            drop(request);
            async move {
                if slow {
                    pause(400).await;
                }
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(number.to_string())))
            }
        });
    let server = Server::start(service).await;
    let first = server.send(keyed("k")).await;
    let slow = tokio::spawn(server.send(crate::support::http::post("/slow").key("k")));
    eventually(|| runs.count() == 2).await;
    server.send(keyed("k")).await.is_replay_of(&first);
    server.send(keyed("k").body("other")).await.is_refused(422, "key-reused");
    server.send(keyed("k, l")).await.is_refused(400, "key-invalid");
    server.send(crate::support::http::post("/slow").key("k")).await.is_refused(409, "in-progress");
    assert!(!slow.is_finished());
    // This one waits for the permit, and holds its key meanwhile.
    let waiting = tokio::spawn(server.send(keyed("waiting")));
    pause(50).await;
    assert_eq!(runs.count(), 2);
    server.send(keyed("waiting")).await.is_refused(409, "in-progress");
    slow.await.expect("an answer").is_first("2");
    waiting.await.expect("an answer").is_first("3");
}

/// A service that is never ready.
#[derive(Clone, Debug)]
struct Broken;

impl<B> Service<Request<B>> for Broken {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<Body>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("broken"))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

async fn an_inner_service_that_is_not_ready_has_not_executed(store: AnyStore) {
    let layer = layer(&store).build().expect("valid");
    for _ in 0..2 {
        let answer = layer.layer(Broken).oneshot(request("k")).await;
        assert_eq!(answer.err(), Some("broken"));
    }
    let works = layer.layer(tower::service_fn(|_: Request<_>| async {
        Ok::<_, &str>(Response::new(Body::empty()))
    }));
    let answer = works.oneshot(request("k")).await.expect("an answer");
    assert!(!answer.headers().contains_key("idempotent-replayed"));
}

async fn the_layer_is_always_ready(store: AnyStore) {
    let mut service = layer(&store).build().expect("valid").layer(Broken);
    let ready = poll_fn(|context| Service::<Request<Body>>::poll_ready(&mut service, context));
    assert_eq!(ready.await, Ok(()));
    let refused = service.call(request("k, l")).await.expect("an answer");
    assert!(matches!(refused.extensions().get(), Some(Rejection::KeyInvalid(_))));
    let passed = Request::get("/").body(Body::empty()).expect("a request");
    assert_eq!(service.call(passed).await.err(), Some("broken"));
}

async fn a_drain_waits_for_requests_whose_clients_have_gone(store: AnyStore) {
    let layer = layer(&store).build().expect("valid");
    let drain = layer.drain();
    let finished = Arc::new(Runs::default());
    let count = Arc::clone(&finished);
    let app = App::start(layer, move |_| {
        let count = Arc::clone(&count);
        async move {
            pause(200).await;
            count.next();
        }
    })
    .await;
    let mut connection = app.server.connect().await;
    connection.write(keyed("k")).await;
    eventually(|| app.runs() == 1).await;
    drop(connection);
    assert_eq!((drain.running(), finished.count()), (1, 0));
    assert!(!drain.wait(std::time::Duration::from_millis(10)).await);
    assert!(drain.wait(std::time::Duration::from_secs(5)).await);
    assert_eq!((drain.running(), finished.count()), (0, 1));
    assert!(app.send(keyed("k")).await.is_replay());
}
