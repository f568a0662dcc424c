//! Faults that layers of this kind have had, each as the test that would have found it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use axum::routing::any;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use tokio::sync::Notify;
use tower_idempotency::protocol::{Phase, Record};
use tower_idempotency::{Guarantee, Policy};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, Runs, eventually, layer, layer_with, pause};
use crate::support::attempt::slot_of;
use crate::support::http::{keyed, post};

on_every_store![
    nested_routers_never_answer_for_each_other,
    a_cookie_is_never_given_to_whoever_retries,
    a_quoted_and_a_bare_key_at_once_run_once,
    two_key_lines_are_never_taken_silently,
    a_colon_in_a_key_is_accepted,
    what_cannot_be_stored_never_runs_again_after_the_lease,
    a_handler_that_outlives_its_lease_never_runs_twice,
    no_byte_is_sent_before_the_record_is_stored,
    an_answer_without_content_or_with_a_client_error_runs_once,
    a_client_that_hangs_up_leaves_the_real_answer_and_no_500,
    a_retry_at_the_very_end_of_a_run_never_runs_it_again,
    a_mismatch_never_frees_or_replaces_anything,
];

async fn nested_routers_never_answer_for_each_other(store: AnyStore) {
    let runs = Runs::default();
    let tell = runs.of(|run: Run| async move {
        let axum::extract::OriginalUri(uri) = &run.parts.extensions.get().expect("a URI");
        uri.path().to_owned()
    });
    let resource = || Router::new().route("/{id}", any(tell.clone()));
    let router = Router::new()
        .nest("/charges", resource().layer(layer(&store).build().expect("valid")))
        .nest("/refunds", resource().layer(layer(&store).build().expect("valid")));
    let app = App::serve(router, runs).await;
    for target in ["/charges/7", "/refunds/7"] {
        app.send(post(target).key("k")).await.is_first(target);
    }
    assert_eq!(app.send(post("/charges/7").key("k")).await.text(), "/charges/7");
}

async fn a_cookie_is_never_given_to_whoever_retries(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |_| async {
        let headers = [
            ("set-cookie", "session=secret"),
            ("connection", "x-internal"),
            ("x-internal", "of this connection"),
        ];
        (headers, "body")
    })
    .await;
    assert_eq!(app.send(keyed("k")).await.header("set-cookie"), Some("session=secret"));
    let replay = app.send(keyed("k")).await;
    for name in ["set-cookie", "connection", "x-internal"] {
        assert_eq!(replay.header(name), None);
    }
    assert!(replay.is_replay());
}

async fn a_quoted_and_a_bare_key_at_once_run_once(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |_| pause(100)).await;
    let (quoted, bare) = tokio::join!(app.send(keyed("\"k\"")), app.send(keyed("k")));
    let mut statuses = [quoted.status, bare.status];
    statuses.sort_unstable();
    assert_eq!((statuses, app.runs()), ([200, 409], 1));
}

async fn two_key_lines_are_never_taken_silently(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    app.send(keyed("k").key("l")).await.is_refused(400, "key-invalid");
    // A proxy may have folded them into one.
    app.send(keyed("k, l")).await.is_refused(400, "key-invalid");
    app.send(keyed("\"k\", \"l\"")).await.is_refused(400, "key-invalid");
    assert_eq!(app.runs(), 0);
}

async fn a_colon_in_a_key_is_accepted(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    for key in ["urn:uuid:f81d4fae", ":", "order:17/line:2", "{1}", "(a)=<b>@[c]?!#$%&'*+-.^_`|~"] {
        let first = app.send(keyed(key)).await;
        assert_eq!((first.status, first.is_replay()), (200, false), "{key}");
        app.send(keyed(key)).await.is_replay_of(&first);
    }
}

async fn what_cannot_be_stored_never_runs_again_after_the_lease(store: AnyStore) {
    let policy = Policy::new().lease(Duration::from_millis(100)).response_limit(10);
    let app = App::start(layer_with(&store, policy), |run: Run| async move {
        match run.parts.uri.path() {
            "/large" => "x".repeat(1000).into_response(),
            "/stream" => ([("content-type", "text/event-stream")], "data:").into_response(),
            "/broken" => {
                Body::from_stream(stream::iter([Ok("x"), Err(std::io::Error::other("broken"))]))
                    .into_response()
            }
            path => panic!("{path}"),
        }
    })
    .await;
    let targets = ["/large", "/stream", "/broken", "/panic"];
    for target in targets {
        app.send(post(target).key("k")).await;
    }
    pause(300).await;
    for (target, status) in targets.into_iter().zip([409, 409, 500, 500]) {
        assert_eq!(app.send(post(target).key("k")).await.status, status, "{target}");
    }
    assert_eq!(app.runs(), targets.len());
}

async fn a_handler_that_outlives_its_lease_never_runs_twice(store: AnyStore) {
    let policy = Policy::new().lease(Duration::from_millis(400)).guarantee(Guarantee::AtLeastOnce);
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let app = App::start(layer_with(&store, policy), move |_| {
        let gone = Arc::clone(&gone);
        async move { gone.notified().await }
    })
    .await;
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.send(keyed("k")).await }
    });
    eventually(|| app.runs() == 1).await;
    for _ in 0..5 {
        pause(190).await;
        app.send(keyed("k")).await.is_refused(409, "in-progress");
    }
    go.notify_one();
    assert_eq!(first.await.expect("an answer").status, 200);
    assert_eq!(app.runs(), 1);
}

async fn no_byte_is_sent_before_the_record_is_stored(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |_| async {
        let items = stream::iter(["a", "b"]).then(|item| async move {
            pause(20).await;
            Ok::<_, std::io::Error>(item)
        });
        Body::from_stream(items)
    })
    .await;
    let mut connection = app.server.connect().await;
    connection.write(keyed("k")).await;
    connection.read_head().await.expect("an answer");
    let record = store.seen(slot_of(&keyed("k"))).await.record;
    assert!(matches!(record, Some(Record { phase: Phase::Completed { .. }, .. })), "{record:?}");
}

async fn an_answer_without_content_or_with_a_client_error_runs_once(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |run: Run| async move {
        StatusCode::from_bytes(&run.parts.uri.path().as_bytes()[1..]).expect("a status")
    })
    .await;
    for (index, status) in [204, 205, 400, 402, 404, 409, 410, 422].into_iter().enumerate() {
        let ask = post(&format!("/{status}")).key("k");
        let first = app.send(&ask).await;
        app.send(&ask).await.is_replay_of(&first);
        assert_eq!((first.status, app.runs()), (status, index + 1));
    }
}

async fn a_client_that_hangs_up_leaves_the_real_answer_and_no_500(store: AnyStore) {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let app = App::start(layer(&store).build().expect("valid"), move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            (StatusCode::CREATED, "the real answer")
        }
    })
    .await;
    let mut connection = app.server.connect().await;
    connection.write(keyed("k")).await;
    eventually(|| app.runs() == 1).await;
    drop(connection);
    pause(50).await;
    go.notify_one();
    let retry = app.settled(keyed("k")).await;
    assert_eq!((retry.status, retry.text(), retry.is_replay()), (201, "the real answer", true));
}

async fn a_retry_at_the_very_end_of_a_run_never_runs_it_again(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |_| pause(30)).await;
    for key in 0..10 {
        let key = key.to_string();
        let runs = app.runs();
        let requests = (0..9).map(|index| {
            let (app, ask) = (app.clone(), keyed(&key));
            async move {
                // The first one at once, and all others when it is about to end.
                pause(if index == 0 { 0 } else { 24 + index }).await;
                app.send(ask).await
            }
        });
        let answers = futures_util::future::join_all(requests).await;
        let first = answers.iter().filter(|answer| answer.status == 200 && !answer.is_replay());
        assert_eq!((first.count(), app.runs()), (1, runs + 1));
    }
}

async fn a_mismatch_never_frees_or_replaces_anything(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let first = app.send(keyed("k").body("one")).await;
    let before = store.seen(slot_of(&keyed("k"))).await.record.expect("a record");
    for body in ["two", "", "three"] {
        app.send(keyed("k").body(body)).await.is_refused(422, "key-reused");
    }
    let after = store.seen(slot_of(&keyed("k"))).await.record.expect("a record");
    assert_eq!((after.nonce, after.phase), (before.nonce, before.phase));
    app.send(keyed("k").body("one")).await.is_replay_of(&first);
}
