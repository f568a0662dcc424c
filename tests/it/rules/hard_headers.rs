//! Rules 30 and 32: what slipped into replays once.

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use tower::ServiceExt as _;
use tower_idempotency::{IdempotencyLayer, Tenant};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, layer};
use crate::support::http::keyed;

async fn rule_30_trailers_of_one_message_are_not_replayed(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), async |_| {
        let mut trailers = HeaderMap::new();
        for (name, value) in
            [("x-request-id", "1"), ("idempotent-replayed", "true"), ("x-sum", "1")]
        {
            trailers.append(name, HeaderValue::from_static(value));
        }
        let body = Full::new(Bytes::from_static(b"data"));
        let trailer = [("trailer", "x-request-id, idempotent-replayed, x-sum")];
        (trailer, Body::new(body.with_trailers(async { Some(Ok(trailers)) }))).into_response()
    })
    .await;
    let names = |answer: &crate::support::http::Answer| -> Vec<String> {
        answer.trailers.iter().map(|(name, _)| name.clone()).collect()
    };
    let first = app.send(keyed("k").header("te", "trailers")).await;
    assert_eq!(names(&first), ["x-request-id", "x-sum"]);
    let replay = app.send(keyed("k").header("te", "trailers")).await;
    assert_eq!(names(&replay), ["x-sum"]);
}

async fn rule_30_what_connection_names_is_not_replayed_as_a_trailer(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), async |_| {
        let mut trailers = HeaderMap::new();
        trailers.append("x-hop", HeaderValue::from_static("1"));
        trailers.append("x-sum", HeaderValue::from_static("1"));
        let body = Full::new(Bytes::from_static(b"data"));
        let headers = [("connection", "X-Hop"), ("trailer", "x-hop, x-sum")];
        (headers, Body::new(body.with_trailers(async { Some(Ok(trailers)) }))).into_response()
    })
    .await;
    app.send(keyed("k").header("te", "trailers")).await;
    let replay = app.send(keyed("k").header("te", "trailers")).await;
    let names: Vec<_> = replay.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-sum"]);
}

async fn rule_30_what_connection_names_is_not_kept_in_a_tombstone(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), async |_| {
        [
            ("content-type", "text/event-stream"),
            ("connection", "etag"),
            ("etag", "\"1\""),
            ("location", "/charges/7"),
        ]
    })
    .await;
    app.send(keyed("k")).await;
    let replay = app.send(keyed("k")).await;
    assert_eq!(replay.status, 409);
    assert_eq!(replay.header("location"), Some("/charges/7"));
    assert_eq!(replay.header("etag"), None);
}

async fn rule_32_a_status_of_the_handlers_own_is_not_replayed(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), async |_| {
        [("idempotency-status", "unstored")]
    })
    .await;
    for _ in 0..2 {
        assert_eq!(app.send(keyed("k")).await.header("idempotency-status"), None);
    }
}

async fn rule_30_a_sensitive_header_is_replayed_as_one(store: AnyStore) {
    let layer = IdempotencyLayer::new(store, Tenant::single());
    let app: axum::Router = axum::Router::new()
        .fallback(async || {
            let mut token = HeaderValue::from_static("s3cr3t");
            token.set_sensitive(true);
            [("x-api-token", token)]
        })
        .layer(layer);
    for _ in 0..2 {
        let request = Request::post("/").header("idempotency-key", "k").body(Body::empty());
        let answer = app.clone().oneshot(request.expect("a request")).await.expect("an answer");
        assert_eq!(answer.headers()["x-api-token"], "s3cr3t");
        assert!(!format!("{answer:?}").contains("s3cr3t"));
    }
}

#[tokio::test]
async fn rule_01_a_name_that_is_given_twice_is_one_name() {
    let names = ["Idempotency-Key", "idempotency-key"];
    let layer = layer(&AnyStore::memory()).header_names(names).build().expect("valid");
    let app = App::counting(layer).await;
    app.send(keyed("k")).await.is_first("1");
}

on_every_store![
    rule_30_trailers_of_one_message_are_not_replayed,
    rule_30_what_connection_names_is_not_replayed_as_a_trailer,
    rule_30_what_connection_names_is_not_kept_in_a_tombstone,
    rule_30_a_sensitive_header_is_replayed_as_one,
    rule_32_a_status_of_the_handlers_own_is_not_replayed,
];
