//! What the services inside and outside of the layer are told of bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::RequestBody;
use tower_idempotency::{Policy, RunningClaim};

use crate::support::any_store::AnyStore;
use crate::support::app::layer_with;

fn request(key: Option<&'static str>, body: Body) -> Request<Body> {
    let mut request = Request::post("/").body(body).expect("a request");
    if let Some(key) = key {
        request.headers_mut().insert("idempotency-key", HeaderValue::from_static(key));
    }
    request
}

/// What the handler is told of the body of a request.
async fn told(key: Option<&'static str>, body: Body) -> (bool, Option<u64>, String) {
    let (tell, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let handler = service_fn(move |request: Request<RequestBody<Body>>| {
        let body = request.into_body();
        let told = (body.is_end_stream(), body.size_hint().exact(), format!("{body:?}"));
        tell.send(told).expect("somebody hears");
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let layer = layer_with(&AnyStore::memory(), Policy::new());
    layer.layer(handler).oneshot(request(key, body)).await.expect("an answer");
    hear.recv().await.expect("the handler ran")
}

#[tokio::test]
async fn a_handler_is_told_how_long_a_request_is_and_whether_it_is_empty() {
    for (key, kind) in [(None, "Original"), (Some("k"), "Whole")] {
        let text = format!("RequestBody({kind})");
        assert_eq!(told(key, Body::empty()).await, (true, Some(0), text.clone()));
        assert_eq!(told(key, Body::from("four")).await, (false, Some(4), text));
    }
}

/// A body of four octets with a trailer of nine.
fn summed() -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send {
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", HeaderValue::from_static("1234"));
    Full::new(Bytes::from_static(b"four")).with_trailers(async { Some(Ok(trailers)) })
}

#[tokio::test]
async fn a_handler_gets_the_trailers_of_a_request_and_no_length() {
    let handler = service_fn(|request: Request<RequestBody<Body>>| async {
        let length = request.body().size_hint().exact();
        let body = request.into_body().collect().await.expect("a whole body");
        let sum = body.trailers().map(|trailers| trailers["x-sum"].clone());
        let text = format!("{length:?}, {sum:?}, {:?}", body.to_bytes());
        Ok::<_, Infallible>(Response::new(Body::from(text)))
    });
    let layer = layer_with(&AnyStore::memory(), Policy::new());
    let answer = layer.layer(handler).oneshot(request(Some("k"), Body::new(summed()))).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes(), "None, Some(\"1234\"), b\"four\"");
}

/// A body that says how much more of it there is, at least and at most.
struct Sized(Vec<&'static str>, (u64, u64));

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.pop();
        Poll::Ready(next.map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_upper(self.1.1);
        hint.set_lower(self.1.0);
        hint
    }
}

#[tokio::test]
async fn a_response_too_large_to_keep_is_as_long_as_what_was_read_and_what_is_left() {
    let policy = Policy::new().response_limit(5);
    let handler = service_fn(|_: Request<RequestBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(Sized(vec!["last", "more", "four"], (3, 100))))
    });
    let layer = layer_with(&AnyStore::memory(), policy);
    let answer = layer.layer(handler).oneshot(request(Some("k"), Body::empty())).await;
    let body = answer.expect("an answer").into_body();
    let hint = body.size_hint();
    // Eight were read.
    assert_eq!((hint.lower(), hint.upper()), (11, Some(108)));
    assert_eq!(format!("{body:?}"), "ResponseBody(Resumed)");
    assert_eq!(body.collect().await.expect("a whole body").to_bytes(), "fourmorelast");
}

#[tokio::test]
async fn a_response_that_is_kept_is_whole_and_one_without_a_key_the_handlers_own() {
    let handler = service_fn(|_: Request<RequestBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(Body::from("four")))
    });
    let layer = layer_with(&AnyStore::memory(), Policy::new());
    for (key, kind) in [(Some("k"), "Whole"), (None, "Original")] {
        let answer = layer.layer(handler).oneshot(request(key, Body::empty())).await;
        let body = answer.expect("an answer").into_body();
        assert_eq!(format!("{body:?}"), format!("ResponseBody({kind})"));
        assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(4)));
    }
}

/// Whether a response of four octets with a trailer of nine is kept within this limit.
async fn is_kept(limit: usize) -> bool {
    let handler = service_fn(|_: Request<RequestBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(summed()))
    });
    let layer = layer_with(&AnyStore::memory(), Policy::new().response_limit(limit));
    let service = layer.layer(handler);
    let ask = || service.clone().oneshot(request(Some("k"), Body::empty()));
    let first = ask().await.expect("an answer").into_body().collect().await.expect("a whole body");
    assert_eq!(first.trailers().expect("trailers")["x-sum"], "1234");
    ask().await.expect("an answer").status() == 200
}

#[tokio::test]
async fn rule_29_trailers_count_with_their_names_for_the_limit_of_a_response() {
    assert!(is_kept(13).await);
    assert!(!is_kept(12).await);
}

#[tokio::test]
async fn rule_29_a_slow_response_is_sent_with_what_was_read_of_it() {
    let handler = service_fn(|_: Request<RequestBody<Body>>| async {
        let rest = stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            "rest"
        });
        let items = stream::iter(["first"]).chain(rest).map(Ok::<_, Infallible>);
        Ok::<_, Infallible>(Response::new(Body::from_stream(items)))
    });
    let policy = Policy::new().buffer_time(Duration::from_millis(1));
    let service = layer_with(&AnyStore::memory(), policy).layer(handler);
    let body = service.oneshot(request(Some("k"), Body::empty())).await.expect("an answer");
    assert!(!body.body().is_end_stream());
    assert_eq!(body.into_body().collect().await.expect("a whole body").to_bytes(), "firstrest");
}

#[tokio::test]
async fn a_claim_and_the_layer_around_it_name_themselves_in_debug() {
    let handler = service_fn(|request: Request<RequestBody<Body>>| async move {
        let claim: &RunningClaim = request.extensions().get().expect("a claim");
        let text = format!("{claim:?}");
        Ok::<_, Infallible>(Response::new(Body::from(text)))
    });
    let layer = layer_with(&AnyStore::memory(), Policy::new());
    let text = format!("{layer:?}");
    for part in ["IdempotencyLayer {", "Engine {", "Tenant::single()", "Policy {"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let service = layer.layer("inner");
    assert_eq!(format!("{service:?}"), "Idempotency { inner: \"inner\", .. }");
    let answer = layer.layer(handler).call(request(Some("k"), Body::empty()));
    assert_eq!(format!("{answer:?}"), "ResponseFuture { .. }");
    let answer = answer.await.expect("an answer").into_body().collect().await.expect("a body");
    let text = String::from_utf8(answer.to_bytes().to_vec()).expect("a text");
    assert!(text.starts_with("RunningClaim { slot: ") && text.contains("attempt: 1"), "{text}");
}

#[tokio::test]
async fn rule_33_a_replay_says_how_long_it_is_unless_trailers_follow() {
    for (trailers, length) in [(None, Some("4")), (Some(HeaderMap::new()), None)] {
        let trailers = trailers.map(|mut trailers: HeaderMap| {
            trailers.append("x-sum", HeaderValue::from_static("1234"));
            trailers
        });
        let handler = service_fn(move |_: Request<RequestBody<Body>>| {
            let trailers = trailers.clone();
            let body = Full::new(Bytes::from_static(b"four"));
            let body = body.with_trailers(async { trailers.map(Ok) });
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        let service = layer_with(&AnyStore::memory(), Policy::new()).layer(handler);
        let ask = || service.clone().oneshot(request(Some("k"), Body::empty()));
        drop(ask().await.expect("an answer"));
        let replay = ask().await.expect("an answer");
        assert!(replay.headers().contains_key("idempotent-replayed"));
        let told = replay.headers().get("content-length");
        assert_eq!(told.map(|value| value.to_str().expect("a number")), length);
    }
}

/// A body that panics when it is dropped.
struct Trap {
    text: Bytes,
    /// The error that comes then, or the end, or nothing any more.
    rest: Poll<Option<&'static str>>,
}

impl http_body::Body for Trap {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match std::mem::take(&mut self.text) {
            text if !text.is_empty() => Poll::Ready(Some(Ok(Frame::data(text)))),
            _ => self.rest.map(|end| end.map(Err)),
        }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the trap");
    }
}

#[tokio::test]
async fn rule_20_a_body_that_panics_when_it_is_dropped_is_settled() {
    for rest in [Poll::Ready(None), Poll::Ready(Some("broken off")), Poll::Pending] {
        let handler = service_fn(move |_: Request<RequestBody<Body>>| async move {
            Ok::<_, Infallible>(Response::new(Trap { text: Bytes::from_static(b"text"), rest }))
        });
        let policy = Policy::new().max_run(Duration::from_millis(100));
        let service = layer_with(&AnyStore::memory(), policy).layer(handler);
        let ask = || service.clone().oneshot(request(Some("k"), Body::empty()));
        for replayed in [false, true] {
            let answer = ask().await.expect("an answer");
            let told = answer.headers().contains_key("idempotent-replayed");
            assert_eq!((answer.status().as_u16(), told), (500, replayed), "then: {rest:?}");
        }
    }
}

#[tokio::test]
async fn rule_20_what_comes_with_a_body_that_breaks_off_may_panic_when_it_is_dropped() {
    let handler = service_fn(|_: Request<RequestBody<Body>>| async {
        let broken = Body::from_stream(stream::iter([Err::<Bytes, _>("broken off")]));
        let mut response = Response::new(broken);
        let trap = Trap { text: Bytes::new(), rest: Poll::Pending };
        response.extensions_mut().insert(Arc::new(trap));
        Ok::<_, Infallible>(response)
    });
    let service = layer_with(&AnyStore::memory(), Policy::new()).layer(handler);
    for replayed in [false, true] {
        let answer = service.clone().oneshot(request(Some("k"), Body::empty()));
        let answer = answer.await.expect("an answer");
        let told = answer.headers().contains_key("idempotent-replayed");
        assert_eq!((answer.status().as_u16(), told), (500, replayed));
    }
}
