//! Requests that go through a layer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::IdempotencyLayer;

/// What a handler answers.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// What a client gets.
pub struct Asked {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// Whether the handler ran for it.
    pub ran: bool,
}

impl Asked {
    /// Whether the layer refused.
    pub fn is_problem(&self) -> bool {
        !self.ran
            && !self.headers.contains_key("idempotent-replayed")
            && self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
    }
}

/// Sends a request with a key, a JSON body and a handler that answers like this.
pub async fn ask(layer: &IdempotencyLayer, body: impl Into<Bytes>, answer: &Answer) -> Asked {
    let ran = Arc::new(AtomicBool::new(false));
    let (runs, answer) = (Arc::clone(&ran), answer.clone());
    let handler = service_fn(move |_: Request<_>| {
        runs.store(true, Ordering::Relaxed);
        let answer = answer.clone();
        let trailers = std::future::ready(answer.trailers.map(Ok));
        let mut response = Response::new(Full::new(answer.body).with_trailers(trailers));
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let request = Request::post("/charges")
        .header("idempotency-key", "k")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .expect("a request");
    let Ok(response) = layer.layer(handler).oneshot(request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body");
    Asked {
        status: head.status,
        headers: head.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
        ran: ran.load(Ordering::Relaxed),
    }
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_time().build().expect("a runtime"),
    );
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}
