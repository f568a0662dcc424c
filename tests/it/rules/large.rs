//! Rule 29: responses that cannot be kept.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, StatusCode};
use http_body_util::Full;
use tower_idempotency::protocol::{Outcome, Phase};
use tower_idempotency::{Guarantee, Policy};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, layer_with, pause};
use crate::support::attempt::slot_of;
use crate::support::http::{Answer, Ask, keyed, post};

on_every_store![
    rule_29_a_response_of_exactly_the_limit_is_stored,
    rule_29_a_response_over_the_limit_is_sent_whole_and_never_made_again,
    rule_29_a_stream_is_never_held_back_nor_made_again,
    rule_29_a_slow_body_is_sent_as_it_comes,
    rule_29_the_tombstone_is_stored_before_the_first_byte_is_sent,
    rule_29_an_upgrade_leaves_a_tombstone,
    rule_29_the_types_of_streams_can_be_set,
];

const LIMIT: usize = 1000;

fn both() -> [Policy; 2] {
    let policy = Policy::new().response_limit(LIMIT).buffer_time(Duration::from_millis(100));
    [policy.clone(), policy.guarantee(Guarantee::AtLeastOnce)]
}

/// A body of this length that says so, or does not.
fn body(length: usize, declared: bool) -> Body {
    let data = Bytes::from(vec![b'x'; length]);
    if declared {
        return Body::new(Full::new(data));
    }
    let chunks: Vec<_> = data.chunks(300).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
}

fn created(body: Body) -> Response<Body> {
    let headers = [("location", "/charges/7"), ("etag", "\"v1\""), ("x-other", "y")];
    (StatusCode::CREATED, headers, body).into_response()
}

/// The second answer after one that could not be kept.
async fn is_gone(app: &App, ask: &Ask, runs: usize) -> Answer {
    let gone = app.send(ask).await;
    gone.is_refused(409, "result-unavailable");
    assert_eq!(gone.problem()["retryable"], false);
    assert_eq!(gone.header("retry-after"), None);
    assert_eq!(app.runs(), runs);
    gone
}

async fn rule_29_a_response_of_exactly_the_limit_is_stored(store: AnyStore) {
    for declared in [true, false] {
        let layer = layer_with(&store, both()[0].clone());
        let app = App::start(layer, move |_| async move { created(body(LIMIT, declared)) }).await;
        let ask = keyed(&declared.to_string());
        let first = app.send(&ask).await;
        assert_eq!((first.status, first.body.len()), (201, LIMIT));
        let replay = app.send(&ask).await;
        assert_eq!((replay.is_replay(), &replay.body), (true, &first.body));
        assert_eq!(replay.header("content-length"), Some("1000"));
    }
}

async fn rule_29_a_response_over_the_limit_is_sent_whole_and_never_made_again(store: AnyStore) {
    for (index, policy) in both().into_iter().enumerate() {
        for (length, declared) in [(LIMIT + 1, true), (LIMIT + 1, false), (1 << 20, false)] {
            let layer = layer_with(&store, policy.clone());
            let app =
                App::start(layer, move |_| async move { created(body(length, declared)) }).await;
            let ask = keyed(&format!("{index} {length} {declared}").replace(' ', "-"));
            let first = app.send(&ask).await;
            assert_eq!((first.status, first.body.len(), first.is_replay()), (201, length, false));
            for _ in 0..2 {
                let gone = is_gone(&app, &ask, 1).await;
                assert_eq!(gone.problem()["original_status"], 201);
                assert_eq!(gone.header("location"), Some("/charges/7"));
                assert_eq!(gone.header("etag"), Some("\"v1\""));
                assert_eq!(gone.header("x-other"), None);
            }
            app.send(ask.body("other")).await.is_refused(422, "key-reused");
        }
    }
}

/// A stream that goes on after its first item has been seen.
fn endless(kind: &'static str) -> Response<Body> {
    let items = stream::iter(["first"]).chain(stream::pending());
    let body = Body::from_stream(items.map(Ok::<_, std::io::Error>));
    ([("content-type", kind)], body).into_response()
}

async fn rule_29_a_stream_is_never_held_back_nor_made_again(store: AnyStore) {
    let policy = Policy::new().guarantee(Guarantee::AtLeastOnce);
    let app = App::start(layer_with(&store, policy), |run: Run| async move {
        endless(match run.parts.uri.path() {
            "/1" => "text/event-stream",
            "/2" => "Text/Event-Stream; charset=utf-8",
            "/3" => "multipart/x-mixed-replace;boundary=x",
            "/4" => "application/grpc+proto",
            "/5" => "application/x-ndjson",
            path => panic!("{path}"),
        })
    })
    .await;
    for runs in 1..=5 {
        let ask = post(&format!("/{runs}")).key("k");
        let mut connection = app.server.connect().await;
        connection.write(&ask).await;
        let head = connection.read_head().await.expect("an answer");
        assert_eq!((head.status, head.is_replay()), (200, false));
        assert!(connection.read_some(100).await.ends_with(b"first\r\n"));
        is_gone(&app, &ask, runs).await;
        drop(connection);
        is_gone(&app, &ask, runs).await;
    }
}

async fn rule_29_a_slow_body_is_sent_as_it_comes(store: AnyStore) {
    for (index, policy) in both().into_iter().enumerate() {
        let app = App::start(layer_with(&store, policy), |_| async {
            let items = stream::iter(["a", "b", "c"]).then(|item| async move {
                pause(80).await;
                Ok::<_, std::io::Error>(item)
            });
            created(Body::from_stream(items))
        })
        .await;
        let ask = keyed(&index.to_string());
        let first = app.send(&ask).await;
        assert_eq!((first.status, first.text(), first.is_replay()), (201, "abc", false));
        assert_eq!(is_gone(&app, &ask, 1).await.problem()["original_status"], 201);
    }
}

async fn rule_29_the_tombstone_is_stored_before_the_first_byte_is_sent(store: AnyStore) {
    let app = App::start(layer_with(&store, both()[0].clone()), |run: Run| async move {
        match run.parts.uri.path() {
            "/stream" => endless("text/event-stream"),
            "/slow" => endless("text/plain"),
            "/large" => created(body(LIMIT + 1, true)),
            _ => created(body(LIMIT, true)),
        }
    })
    .await;
    for target in ["/stream", "/slow", "/large", "/whole"] {
        let ask = post(target).key("k");
        let mut connection = app.server.connect().await;
        connection.write(&ask).await;
        connection.read_head().await.expect("an answer");
        let record = store.seen(slot_of(&ask)).await.record.expect("a record");
        let Phase::Completed { outcome, .. } = record.phase else { panic!("{record:?}") };
        let is_tombstone = matches!(outcome, Outcome::Tombstone { .. });
        assert_eq!(is_tombstone, target != "/whole", "{target}");
    }
}

async fn rule_29_an_upgrade_leaves_a_tombstone(store: AnyStore) {
    let app = App::start(layer_with(&store, Policy::new()), |_| async {
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
    })
    .await;
    let ask = keyed("k").header("connection", "upgrade").header("upgrade", "echo");
    assert_eq!(app.send(&ask).await.status, 101);
    assert_eq!(is_gone(&app, &ask, 1).await.problem()["original_status"], 101);
}

async fn rule_29_the_types_of_streams_can_be_set(store: AnyStore) {
    let policy = Policy::new().stream_types(["Application/Log"]);
    let app = App::start(layer_with(&store, policy), |run: Run| async move {
        let kind = match run.parts.uri.path() {
            "/log" => "application/log",
            _ => "text/event-stream",
        };
        ([("content-type", kind)], "data")
    })
    .await;
    app.send(post("/log").key("k")).await.is_first("data");
    is_gone(&app, &post("/log").key("k"), 1).await;
    app.send(post("/events").key("k")).await.is_first("data");
    assert!(app.send(post("/events").key("k")).await.is_replay());
}
