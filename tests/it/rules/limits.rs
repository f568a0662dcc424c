//! What a limit of a body's length lets through, to the octet.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::Policy;
use tower_idempotency::layer::RequestBody;

use crate::support::any_store::AnyStore;
use crate::support::app::layer_with;

fn request<B>(body: B) -> Request<B> {
    Request::post("/").header("idempotency-key", "k").body(body).expect("a request")
}

/// A body of unknown length that knows when it has ended.
struct Ends(Vec<&'static str>);

impl http_body::Body for Ends {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.pop();
        Poll::Ready(next.map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

#[tokio::test]
async fn a_response_too_large_to_keep_ends_with_what_is_left_and_not_with_what_was_read() {
    for (chunks, read) in [(vec!["more", "four"], 8), (vec!["last", "more", "four"], 8)] {
        let ends = chunks.len() == 2;
        let handler = service_fn(move |_: Request<RequestBody<Body>>| {
            let chunks = chunks.clone();
            async { Ok::<_, Infallible>(Response::new(Ends(chunks))) }
        });
        let layer = layer_with(&AnyStore::memory(), Policy::new().response_limit(5));
        let answer = layer.layer(handler).oneshot(request(Body::empty())).await;
        let mut body = answer.expect("an answer").into_body();
        for left in [read, read - 4] {
            assert_eq!((body.is_end_stream(), body.size_hint().lower()), (false, left));
            let frame = body.frame().await.expect("a frame").expect("a whole body");
            assert_eq!(frame.data_ref().map(Bytes::len), Some(4));
        }
        assert_eq!((body.is_end_stream(), body.size_hint().lower()), (ends, 0));
        assert_eq!(body.collect().await.expect("a whole body").to_bytes().is_empty(), ends);
    }
}

#[tokio::test]
async fn rule_29_a_response_that_says_it_is_too_large_is_not_read_and_one_at_the_limit_is_kept() {
    for (limit, kind) in [(3, "Original"), (4, "Whole"), (5, "Whole")] {
        let handler = service_fn(|_: Request<RequestBody<Body>>| async {
            Ok::<_, Infallible>(Response::new(Body::from("four")))
        });
        let layer = layer_with(&AnyStore::memory(), Policy::new().response_limit(limit));
        let answer = layer.layer(handler).oneshot(request(Body::empty())).await;
        let body = answer.expect("an answer").into_body();
        assert_eq!(format!("{body:?}"), format!("ResponseBody({kind})"));
    }
}

#[tokio::test]
async fn rule_29_a_response_that_goes_on_at_the_limit_is_not_kept_for_whole() {
    let handler = service_fn(|_: Request<RequestBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(Ends(vec!["more", "four"])))
    });
    let layer = layer_with(&AnyStore::memory(), Policy::new().response_limit(4));
    let service = layer.layer(handler);
    let ask = || service.clone().oneshot(request(Body::empty()));
    let body = ask().await.expect("an answer").into_body();
    assert_eq!(body.collect().await.expect("a whole body").to_bytes(), "fourmore");
    assert_ne!(ask().await.expect("an answer").status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_says_it_is_too_large_is_refused_before_it_is_read() {
    for (length, status) in [(9, 408), (10, 408), (11, 413)] {
        let handler = service_fn(|_: Request<RequestBody<Silent>>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let policy = Policy::new().request_limit(10);
        let service = layer_with(&AnyStore::memory(), policy).layer(handler);
        let answer = service.oneshot(request(Silent(length)));
        // Otherwise it waits for the body.
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        assert_eq!(answer.map_or(408, |answer| answer.expect("an answer").status().into()), status);
    }
}

/// A body that says how long it is, and then nothing more.
struct Silent(u64);

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn a_request_in_chunks_is_as_long_as_all_of_them_together() {
    // Nobody says in advance how long it will be.
    for (chunks, status) in [
        (vec!["1234567890", "1"], 413),
        (vec!["12345678901"], 413),
        (vec!["12345", "12345"], 200),
        (vec!["1234567890"], 200),
    ] {
        let handler = service_fn(|_: Request<RequestBody<Body>>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let policy = Policy::new().request_limit(10);
        let service = layer_with(&AnyStore::memory(), policy).layer(handler);
        let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
        let answer = service.oneshot(request(body)).await.expect("an answer");
        assert_eq!(answer.status(), status);
    }
}

/// A body of one frame, which says that it has ended or leaves that to its trailers. Who asks for more
/// waits for good.
struct Single(Option<Frame<Bytes>>, bool);

impl http_body::Body for Single {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |frame| Poll::Ready(Some(Ok(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.1 && self.0.is_none()
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_more_of_a_body_that_has_ended_or_sent_its_trailers() {
    let data = || Single(Some(Frame::data(Bytes::from_static(b"all"))), true);
    let trailers = || Single(Some(Frame::trailers(HeaderMap::new())), false);
    for text in ["all", ""] {
        let handler = service_fn(move |_: Request<RequestBody<Single>>| async move {
            let body = if text.is_empty() { trailers() } else { data() };
            Ok::<_, Infallible>(Response::new(body))
        });
        let service = layer_with(&AnyStore::memory(), Policy::new()).layer(handler);
        for _ in 0..2 {
            let answer = service.clone().oneshot(request(data()));
            let answer = tokio::time::timeout(Duration::from_secs(1), answer).await;
            let answer = answer.expect("an answer in time").expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.into_body().collect().await.expect("a whole body").to_bytes(), text);
        }
    }
}
