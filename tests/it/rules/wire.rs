//! The wire: what HTTP itself does to requests under protection.

use std::time::Duration;

use tower_idempotency::Policy;

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, eventually, layer, layer_with, pause};
use crate::support::http::{keyed, post};

on_every_store![
    the_handler_gets_the_request_as_it_was_sent,
    pipelined_requests_are_answered_in_order,
    http_1_0_is_protected,
    http_2_is_protected,
    a_broken_upload_leaves_no_record,
    an_upload_over_the_limit_is_a_413_and_leaves_no_record,
    expect_100_continue_is_answered_only_where_the_body_is_wanted,
    a_slow_upload_is_claimed_only_when_it_is_complete,
    a_hundred_concurrent_clients_with_one_key_run_it_once,
];

async fn the_handler_gets_the_request_as_it_was_sent(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |run| async move {
        let named = run.parts.headers.get_all("x-twice").iter().count();
        let key = run.parts.headers["idempotency-key"].to_str().expect("text").to_owned();
        format!("{key} {} {named} {}", run.parts.uri, run.body.escape_ascii())
    })
    .await;
    let ask = post("/a%20b?c=d").header("x-twice", "1").header("x-twice", "2").key("\"k\";p");
    let echoed = "\"k\";p /a%20b?c=d 2 \\x00hello\\xff";
    app.send(ask.clone().body(b"\0hello\xff")).await.is_first(echoed);
    let chunked = post("/").key("k").chunked(&["he", "llo"], &[("x-trailer", "y")]);
    app.send(chunked).await.is_first("k / 0 hello");
    app.send(post("/empty").key("k")).await.is_first("k /empty 0 ");
}

async fn pipelined_requests_are_answered_in_order(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let mut connection = app.server.connect().await;
    let asks =
        [keyed("k"), keyed("k"), keyed("l"), keyed("k").body("other"), keyed("k, l"), keyed("l")];
    connection.write(asks.iter().flat_map(Vec::from).collect::<Vec<u8>>()).await;
    let mut answers = Vec::new();
    for _ in &asks {
        let answer = connection.read().await;
        answers.push((answer.status, answer.is_replay()));
    }
    let expected =
        [(200, false), (200, true), (200, false), (422, false), (400, false), (200, true)];
    assert_eq!((&answers[..], app.runs()), (&expected[..], 2));
}

async fn http_1_0_is_protected(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let request = "POST / HTTP/1.0\r\nidempotency-key: k\r\ncontent-length: 1\r\n\r\nx";
    app.send(request).await.is_first("1");
    assert!(app.send(request).await.is_replay());
    assert!(app.send(keyed("k").body("x")).await.is_replay());
}

async fn http_2_is_protected(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let ask = post("/").header("idempotency-key", "\"k\"").body("x");
    let first = app.server.send_http2(&ask).await;
    first.is_first("1");
    app.server.send_http2(&ask).await.is_replay_of(&first);
    app.server.send_http2(&ask.clone().body("y")).await.is_refused(422, "key-reused");
    let replay = app.send(&ask).await;
    assert_eq!((replay.is_replay(), replay.text()), (true, "1"));
}

async fn a_broken_upload_leaves_no_record(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let chunked = keyed("k").head("transfer-encoding: chunked\r\n");
    let declared = keyed("k").head("content-length: 10\r\n");
    for upload in [
        [&chunked[..], b"5\r\nhello\r\n"].concat(),
        [&chunked[..], b"5\r\nhello\r\nnot a size\r\n"].concat(),
        [&declared[..], b"hello"].concat(),
    ] {
        let mut connection = app.server.connect().await;
        connection.write(upload).await;
        pause(20).await;
        connection.finish().await;
        let answer = connection.try_read().await;
        assert!(answer.is_none_or(|answer| answer.status == 400));
    }
    assert_eq!((app.runs(), store.records()), (0, 0));
    app.send(keyed("k").body("hello")).await.is_first("1");
}

async fn an_upload_over_the_limit_is_a_413_and_leaves_no_record(store: AnyStore) {
    let app = App::counting(layer_with(&store, Policy::new().request_limit(1000))).await;
    let long = "x".repeat(1001);
    let declared = app.send(keyed("k").body(&long)).await;
    declared.is_refused(413, "request-too-large");
    let chunks = app.send(keyed("k").chunked(&[&long[..600], &long[600..]], &[])).await;
    chunks.is_refused(413, "request-too-large");
    assert_eq!((app.runs(), store.records()), (0, 0));
    app.send(keyed("k").body(&long[..1000])).await.is_first("1");
    app.send(post("/").body(&long)).await.is_first("2");
}

async fn expect_100_continue_is_answered_only_where_the_body_is_wanted(store: AnyStore) {
    let app = App::counting(layer_with(&store, Policy::new().request_limit(1000))).await;
    for (key, length, statuses) in
        [("k", 5, &[100, 200][..]), ("k", 5, &[100, 200]), ("k", 1001, &[413]), ("k, l", 5, &[400])]
    {
        let mut connection = app.server.connect().await;
        let lines = format!("expect: 100-continue\r\ncontent-length: {length}\r\n");
        connection.write(keyed(key).head(&lines)).await;
        for status in statuses {
            assert_eq!(connection.read().await.status, *status, "{key} {length}");
            if *status == 100 {
                connection.write("hello").await;
            }
        }
    }
    assert_eq!(app.runs(), 1);
}

async fn a_slow_upload_is_claimed_only_when_it_is_complete(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let mut slow = app.server.connect().await;
    slow.write(keyed("k").head("content-length: 5\r\n")).await;
    slow.write("hel").await;
    pause(50).await;
    app.send(keyed("k").body("hello")).await.is_first("1");
    slow.write("lo").await;
    assert!(slow.read().await.is_replay());
}

async fn a_hundred_concurrent_clients_with_one_key_run_it_once(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |run| async move {
        pause(300).await;
        run.number.to_string()
    })
    .await;
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.send(keyed("k").body("x")).await })
        })
        .collect();
    let mut first = 0;
    for client in clients {
        let answer = client.await.expect("an answer");
        match (answer.status, answer.is_replay()) {
            (200, false) => first += 1,
            (200, true) => {}
            _ => answer.is_refused(409, "in-progress"),
        }
    }
    assert_eq!((first, app.runs()), (1, 1));
    let retry = tokio::time::timeout(Duration::from_secs(1), app.send(keyed("k").body("x"))).await;
    assert!(retry.expect("an answer in time").is_replay());
    eventually(|| app.runs() == 1).await;
}
