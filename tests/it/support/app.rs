//! A small application around one handler, which counts its runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tower_idempotency::layer::Builder;
use tower_idempotency::store::Store;
use tower_idempotency::{IdempotencyLayer, Policy, RunningClaim, Tenant};

use super::http::{Answer, Ask, Server};

/// A layer for one tenant, to be built.
pub fn layer(store: &(impl Store + Clone)) -> Builder {
    IdempotencyLayer::builder(store.clone(), Tenant::single())
}

/// A layer for one tenant with this policy.
pub fn layer_with(store: &(impl Store + Clone), policy: Policy) -> IdempotencyLayer {
    layer(store).policy(policy).build().expect("a valid policy")
}

/// One run of the handler.
#[derive(Debug)]
pub struct Run {
    /// Counted from 1.
    pub number: usize,
    pub parts: Parts,
    pub body: Bytes,
    pub claim: Option<RunningClaim>,
}

/// An application on a port of its own.
#[derive(Clone, Debug)]
pub struct App {
    pub server: Server,
    pub runs: Runs,
}

impl App {
    /// A handler for all methods and paths, under a layer.
    pub async fn start<H, F, R>(layer: IdempotencyLayer, handler: H) -> Self
    where
        H: Fn(Run) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let runs = Runs::default();
        let router = Router::new().fallback(runs.of(handler)).layer(layer);
        Self::serve(router, runs).await
    }

    /// A handler that answers with the number of its run.
    pub async fn counting(layer: IdempotencyLayer) -> Self {
        Self::start(layer, |run| async move { run.number.to_string() }).await
    }

    pub async fn serve(router: Router, runs: Runs) -> Self {
        Self { server: Server::start(router).await, runs }
    }

    pub async fn send(&self, request: impl Into<Vec<u8>>) -> Answer {
        self.server.send(request).await
    }

    /// Sends a request, and goes on meanwhile.
    pub fn in_background(&self, ask: &Ask) -> JoinHandle<Answer> {
        let (app, ask) = (self.clone(), ask.clone());
        tokio::spawn(async move { app.send(ask).await })
    }

    /// The same request this many times at once.
    pub fn crowd(&self, ask: &Ask, size: usize) -> Vec<JoinHandle<Answer>> {
        (0..size).map(|_| self.in_background(ask)).collect()
    }

    /// Sends a request until the first of its kind is no longer in progress.
    pub async fn settled(&self, request: impl Into<Vec<u8>>) -> Answer {
        let request = request.into();
        for _ in 0..500 {
            let answer = self.send(request.clone()).await;
            if answer.status != 409 {
                return answer;
            }
            pause(20).await;
        }
        panic!("it is still in progress");
    }

    /// Sends a request until it is answered with something other than 409 `in-progress`.
    pub async fn settled_or_unknown(&self, request: &Ask) -> Answer {
        for _ in 0..500 {
            let answer = self.send(request).await;
            if answer.status != 409 || answer.problem()["code"] != "in-progress" {
                return answer;
            }
            pause(20).await;
        }
        panic!("it is still in progress");
    }

    /// Sends a request until its answer is not one for this moment: 409 `in-progress` or 503.
    pub async fn settled_for_good(&self, request: &Ask) -> Answer {
        for _ in 0..500 {
            let answer = self.settled_or_unknown(request).await;
            if answer.status != 503 {
                return answer;
            }
            pause(20).await;
        }
        panic!("the store is still unavailable");
    }

    /// How often the handler has begun to run.
    pub fn runs(&self) -> usize {
        self.runs.count()
    }
}

/// Counts runs.
#[derive(Clone, Debug, Default)]
pub struct Runs(Arc<AtomicUsize>);

impl Runs {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// This handler, counted.
    pub fn of<H, F, R>(
        &self,
        handler: H,
    ) -> impl Fn(axum::extract::Request) -> BoxFuture + Clone + Send + Sync + 'static
    where
        H: Fn(Run) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let runs = self.clone();
        move |request| {
            let (runs, handler) = (runs.clone(), handler.clone());
            Box::pin(async move {
                let number = runs.next();
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("a whole body").to_bytes();
                let claim = parts.extensions.get().cloned();
                handler(Run { number, parts, body, claim }).await.into_response()
            })
        }
    }
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = Response> + Send>>;

/// What those in a crowd were answered.
pub async fn answers(crowd: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for request in crowd {
        answers.push(request.await.expect("an answer"));
    }
    answers
}

/// Waits until something is true; fails after a while.
#[track_caller]
pub fn eventually(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let location = std::panic::Location::caller();
    async move {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came true: {location}");
    }
}

pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
