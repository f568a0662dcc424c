//! Rules 30 to 35: what a replay is made of.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tower_idempotency::clock::ManualClock;
use tower_idempotency::{MemoryStore, Policy};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, layer, layer_with};
use crate::support::http::{ask, keyed, post};

on_every_store![
    rule_30_headers_of_one_message_or_client_are_not_replayed,
    rule_30_what_connection_names_is_not_replayed,
    rule_30_the_lists_of_headers_can_be_changed,
    rule_31_repeated_headers_stay_apart_in_order_byte_for_byte,
    rule_32_a_replay_has_the_same_status_headers_and_bytes_and_the_marker,
    rule_32_a_marker_of_the_handler_or_the_client_is_ignored,
    rule_32_the_name_of_the_marker_can_be_set,
    rule_33_an_answer_without_content_replays_without_a_length,
    rule_34_trailers_are_replayed_over_http_1,
    rule_34_trailers_are_replayed_over_http_2,
];

/// A handler whose answer has these headers, as bytes.
async fn with_headers(
    store: &AnyStore,
    policy: Policy,
    headers: &[(&'static str, &'static [u8])],
) -> App {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.append(*name, HeaderValue::from_bytes(value).expect("a value"));
    }
    App::start(layer_with(store, policy), move |_| {
        let mut response = Response::new(Body::from("body"));
        response.headers_mut().extend(all.clone());
        async { response }
    })
    .await
}

const ONE_MESSAGE: &[&str] = &[
    "set-cookie",
    "www-authenticate",
    "proxy-authenticate",
    "authentication-info",
    "proxy-authentication-info",
    "alt-svc",
    "server-timing",
    "request-id",
    "x-request-id",
    "x-correlation-id",
    "traceparent",
    "tracestate",
    "x-b3-traceid",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "x-ratelimit-limit",
    "x-rate-limit-reset",
    "keep-alive",
    "proxy-connection",
    "te",
];

async fn rule_30_headers_of_one_message_or_client_are_not_replayed(store: AnyStore) {
    let headers: Vec<_> = ONE_MESSAGE.iter().map(|name| (*name, &b"once"[..])).collect();
    let app =
        with_headers(&store, Policy::new(), &[&headers[..], &[("x-kept", b"y")]].concat()).await;
    let first = app.send(keyed("k")).await;
    let replay = app.send(keyed("k")).await;
    assert_eq!((replay.is_replay(), replay.header("x-kept")), (true, Some("y")));
    for name in ONE_MESSAGE {
        assert_eq!(first.all(name), [b"once"], "{name}");
        assert!(replay.all(name).is_empty(), "{name}");
    }
    assert_eq!(replay.all("date").len(), 1);
}

async fn rule_30_what_connection_names_is_not_replayed(store: AnyStore) {
    let headers: &[(_, &[u8])] = &[
        ("connection", b"X-Hop , x-two"),
        ("connection", b"x-three"),
        ("x-hop", b"1"),
        ("x-two", b"2"),
        ("x-three", b"3"),
        ("x-four", b"4"),
    ];
    let app = with_headers(&store, Policy::new(), headers).await;
    assert_eq!(app.send(keyed("k")).await.header("x-hop"), Some("1"));
    let replay = app.send(keyed("k")).await;
    for name in ["connection", "x-hop", "x-two", "x-three"] {
        assert!(replay.all(name).is_empty(), "{name}");
    }
    assert_eq!(replay.header("x-four"), Some("4"));
}

async fn rule_30_the_lists_of_headers_can_be_changed(store: AnyStore) {
    let names = |names: &[&'static str]| -> Vec<HeaderName> {
        names.iter().map(|name| HeaderName::from_static(name)).collect()
    };
    let policy = Policy::new()
        .keep_headers(names(&["set-cookie", "ratelimit-limit", "keep-alive", "connection"]))
        .drop_headers(names(&["x-secret"]));
    let headers: &[(_, &[u8])] = &[
        ("set-cookie", b"a=1"),
        ("ratelimit-limit", b"9"),
        ("keep-alive", b"timeout=5"),
        ("x-secret", b"s"),
    ];
    let app = with_headers(&store, policy, headers).await;
    app.send(keyed("k")).await;
    let replay = app.send(keyed("k")).await;
    assert_eq!(
        (replay.header("set-cookie"), replay.header("ratelimit-limit")),
        (Some("a=1"), Some("9"))
    );
    // Fields of one connection are out of reach of any list.
    assert_eq!((replay.header("keep-alive"), replay.header("x-secret")), (None, None));
}

async fn rule_31_repeated_headers_stay_apart_in_order_byte_for_byte(store: AnyStore) {
    let link: [&[u8]; 4] = [b"<c>; rel=next", b"<a>", b"<c>; rel=next", b"caf\xc3\xa9 \xe9\xff\t|"];
    let headers: Vec<_> = link.iter().map(|value| ("link", *value)).collect();
    let more: [(_, &[u8]); 3] = [("x-empty", b""), ("vary", b"accept"), ("vary", b"origin")];
    let app = with_headers(&store, Policy::new(), &[&headers[..], &more].concat()).await;
    for replayed in [false, true] {
        let answer = app.send(keyed("k")).await;
        assert_eq!(answer.is_replay(), replayed);
        assert_eq!(answer.all("link"), link);
        assert_eq!(
            (answer.all("vary"), answer.all("x-empty")),
            (vec![&b"accept"[..], b"origin"], vec![&b""[..]])
        );
    }
}

async fn rule_32_a_replay_has_the_same_status_headers_and_bytes_and_the_marker(store: AnyStore) {
    let body: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let bytes = body.clone();
    let app = App::start(layer(&store).build().expect("valid"), move |run: Run| {
        let body = bytes.clone();
        async move {
            let number = run.number.to_string();
            (StatusCode::CREATED, [("location", "/7"), ("x-run", &number)], body).into_response()
        }
    })
    .await;
    let first = app.send(keyed("k")).await;
    assert_eq!(
        (first.status, &first.body, first.all("idempotent-replayed").len()),
        (201, &body, 0)
    );
    for _ in 0..3 {
        app.send(keyed("k")).await.is_replay_of(&first);
    }
    let other = app.send(keyed("k").body("other")).await;
    other.is_refused(422, "key-reused");
    assert!(other.all("idempotent-replayed").is_empty());
    let over_http_2 = app.server.send_http2(&post("/").header("idempotency-key", "k")).await;
    over_http_2.is_replay_of(&first);
}

async fn rule_32_a_marker_of_the_handler_or_the_client_is_ignored(store: AnyStore) {
    let headers: &[(_, &[u8])] =
        &[("idempotent-replayed", b"true"), ("idempotent-replayed", b"maybe")];
    let app = with_headers(&store, Policy::new(), headers).await;
    let first = app.send(keyed("k").header("idempotent-replayed", "true")).await;
    assert!(first.all("idempotent-replayed").is_empty());
    let replay = app.send(keyed("k").header("idempotent-replayed", "false")).await;
    assert_eq!(replay.all("idempotent-replayed"), [b"true"]);
    assert_eq!(app.runs(), 1);
}

async fn rule_32_the_name_of_the_marker_can_be_set(store: AnyStore) {
    let app = App::counting(layer(&store).marker("x-replayed").build().expect("valid")).await;
    assert!(app.send(keyed("k")).await.all("x-replayed").is_empty());
    let replay = app.send(keyed("k")).await;
    assert_eq!(
        (replay.header("x-replayed"), replay.header("idempotent-replayed")),
        (Some("true"), None)
    );
}

async fn rule_33_an_answer_without_content_replays_without_a_length(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |run: Run| async move {
        let status = run.parts.uri.path()[1..].parse().expect("a number");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response.headers_mut().insert("etag", HeaderValue::from_static("\"v\""));
        response
    })
    .await;
    for (status, length) in [(204, None), (205, Some("0")), (304, None), (200, Some("0"))] {
        let ask = post(&format!("/{status}")).key("k");
        let first = app.send(&ask).await;
        let replay = app.send(&ask).await;
        replay.is_replay_of(&first);
        assert_eq!((replay.status, replay.header("etag")), (status, Some("\"v\"")));
        assert!(replay.body.is_empty());
        // 205 and 200 have a length over HTTP/1.1, which hyper adds to an empty body.
        assert_eq!(replay.header("content-length"), length, "{status}");
        assert_eq!(replay.header("transfer-encoding"), None, "{status}");
        let ask = post(&format!("/{status}")).header("idempotency-key", "k");
        let over_http_2 = app.server.send_http2(&ask).await;
        assert_eq!((over_http_2.status, over_http_2.is_replay()), (status, true));
        if status != 200 {
            assert_eq!(over_http_2.header("content-length"), None, "{status}");
        }
    }
}

/// A body with trailers, one name twice.
async fn trailing(_: Run) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", HeaderValue::from_static("1"));
    trailers.append("x-sum", HeaderValue::from_static("2"));
    let body = Full::new(Bytes::from_static(b"data")).with_trailers(async { Some(Ok(trailers)) });
    ([("trailer", "x-sum")], Body::new(body)).into_response()
}

async fn rule_34_trailers_are_replayed_over_http_1(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), trailing).await;
    let first = app.send(keyed("k").header("te", "trailers")).await;
    let sum = |value: &[u8]| ("x-sum".to_owned(), value.to_vec());
    assert_eq!((first.text(), &first.trailers), ("data", &vec![sum(b"1"), sum(b"2")]));
    assert_eq!((first.header("trailer"), first.header("content-length")), (Some("x-sum"), None));
    app.send(keyed("k").header("te", "trailers")).await.is_replay_of(&first);
    let without = app.send(keyed("k")).await;
    assert_eq!((without.text(), without.is_replay(), without.trailers.len()), ("data", true, 0));
}

async fn rule_34_trailers_are_replayed_over_http_2(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), trailing).await;
    let ask = ask("POST", "/").header("idempotency-key", "k");
    let first = app.server.send_http2(&ask).await;
    assert_eq!((first.text(), first.trailers.len()), ("data", 2));
    app.server.send_http2(&ask).await.is_replay_of(&first);
}

#[tokio::test]
async fn rule_35_a_replay_of_a_fresh_response_says_its_age() {
    for (name, value, age) in [
        ("cache-control", "public, Max-Age=60", Some("7")),
        ("cache-control", "s-maxage=60", Some("7")),
        ("expires", "Thu, 01 Dec 2044 16:00:00 GMT", Some("7")),
        ("cache-control", "no-store", None),
        ("x-other", "max-age=60", None),
    ] {
        let clock = Arc::new(ManualClock::default());
        let store = AnyStore::Memory(Arc::new(MemoryStore::with_clock(Arc::clone(&clock))));
        let app = with_headers(&store, Policy::new(), &[(name, value.as_bytes())]).await;
        assert_eq!(app.send(keyed("k")).await.header("age"), None);
        clock.advance(Duration::from_millis(7900));
        assert_eq!(app.send(keyed("k")).await.header("age"), age, "{name}: {value}");
    }
}

#[tokio::test]
async fn rule_35_an_age_that_was_stored_goes_on() {
    let clock = Arc::new(ManualClock::default());
    let store = AnyStore::Memory(Arc::new(MemoryStore::with_clock(Arc::clone(&clock))));
    let headers: &[(_, &[u8])] = &[("age", b"10"), ("cache-control", b"max-age=60")];
    let app = with_headers(&store, Policy::new(), headers).await;
    assert_eq!(app.send(keyed("k")).await.all("age"), [b"10"]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(app.send(keyed("k")).await.all("age"), [b"15"]);
}
