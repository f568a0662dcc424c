//! Rules 36 and 38: how refusals look.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Response};
use serde_json::json;
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{Policy, Problems, Rejection, Required};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Runs, layer, layer_with};
use crate::support::attempt::attempt_of;
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{Answer, keyed, post};

on_every_store![
    rule_36_each_refusal_is_a_problem_document,
    rule_36_the_base_and_the_documentation_can_be_set,
    rule_36_a_formatter_can_change_everything_but_the_rejection,
    rule_38_a_record_that_cannot_be_read_is_not_executed,
];

const KEY: &str = "key-that-must-not-appear";

/// One refusal of every kind, with its status and whether a retry can help.
async fn refusals(store: &AnyStore) -> Vec<(Answer, u16, bool)> {
    let policy = Policy::new()
        .required(Required::predicate(|parts| parts.uri.path() == "/required"))
        .request_limit(10)
        .response_limit(10)
        .lease(Duration::from_secs(2));
    let faulty = FaultyStore::new(store);
    let layer = layer(&faulty)
        .policy(policy)
        .store_timeout(Duration::from_millis(100))
        .build()
        .expect("valid");
    let app = App::start(layer, |run| async move {
        assert_ne!(run.parts.uri.path(), "/panic");
        "a body of more than ten bytes"
    })
    .await;
    let keyed = |target: &str| post(target).key(KEY);
    let mut refusals = vec![
        (app.send(post("/required")).await, 400, false),
        (app.send(keyed("/").key(KEY)).await, 400, false),
        (app.send(keyed("/").body("more than ten bytes")).await, 413, false),
        (app.send(keyed("/panic")).await, 500, false),
    ];
    app.send(keyed("/")).await;
    refusals.push((app.send(keyed("/").body("other")).await, 422, false));
    refusals.push((app.send(keyed("/")).await, 409, false));
    let _live = store.claimed(attempt_of(&keyed("/live"), Duration::from_secs(30))).await;
    refusals.push((app.send(keyed("/live")).await, 409, true));
    drop(store.claimed(attempt_of(&keyed("/dead"), Duration::from_millis(1))).await);
    tokio::time::sleep(Duration::from_millis(20)).await;
    refusals.push((app.send(keyed("/dead")).await, 409, false));
    for (kind, status, retryable) in [
        (ErrorKind::Unreachable, 503, true),
        (ErrorKind::Unsupported, 503, true),
        (ErrorKind::Corrupt, 500, false),
    ] {
        faulty.fault(Operation::Begin, Fault::Fails(kind));
        refusals.push((app.send(keyed("/")).await, status, retryable));
    }
    refusals
}

const CODES: [&str; 11] = [
    "key-missing",
    "key-invalid",
    "request-too-large",
    "handler-failed",
    "key-reused",
    "result-unavailable",
    "in-progress",
    "outcome-unknown",
    "store-unavailable",
    "record-unsupported",
    "record-corrupt",
];

async fn rule_36_each_refusal_is_a_problem_document(store: AnyStore) {
    let refusals = refusals(&store).await;
    assert_eq!(refusals.len(), CODES.len());
    for ((answer, status, retryable), code) in refusals.into_iter().zip(CODES) {
        answer.is_refused(status, code);
        let problem = answer.problem();
        let members = problem.as_object().expect("an object");
        let mut names: Vec<_> = members.keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut expected = vec!["code", "detail", "retryable", "status", "title", "type"];
        if code == "result-unavailable" {
            expected.insert(2, "original_status");
        }
        assert_eq!(names, expected);
        let uri: http::Uri = problem["type"].as_str().expect("a URI").parse().expect("a URI");
        assert!(
            uri.scheme().is_some()
                && problem["type"].as_str().is_some_and(|uri| uri.ends_with(code))
        );
        assert_eq!(
            (&problem["status"], &problem["retryable"]),
            (&json!(status), &json!(retryable))
        );
        assert!(problem["title"].as_str().is_some_and(|title| title.len() > 10));
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.ends_with('.')));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("retry-after").is_some(), retryable, "{code}");
        assert!(answer.header("link").is_some_and(|link| link.contains("rel=\"describedby\"")));
        assert!(!format!("{:?} {}", answer.headers, answer.text()).contains(KEY));
    }
}

async fn rule_36_the_base_and_the_documentation_can_be_set(store: AnyStore) {
    let problems = Problems::new()
        .base("https://api.example.com/problems/")
        .documentation("https://api.example.com/docs");
    let app = App::counting(layer(&store).problems(problems).build().expect("valid")).await;
    let answer = app.send(keyed("two, keys")).await;
    assert_eq!(answer.problem()["type"], "https://api.example.com/problems/key-invalid");
    let link = answer.header("link").expect("a link");
    assert!(link.starts_with("<https://api.example.com/docs>; rel=\"describedby\""), "{link}");
}

async fn rule_36_a_formatter_can_change_everything_but_the_rejection(store: AnyStore) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let outer = Arc::clone(&seen);
    let problems = Problems::new().format(|rejection, mut response| {
        response.headers_mut().insert("x-code", HeaderValue::from_static(rejection.code()));
        response.extensions_mut().clear();
        response.map(|_| Bytes::from_static(b"our own form"))
    });
    let runs = Runs::default();
    let router = Router::new()
        .fallback(runs.of(|run| async move { run.number.to_string() }))
        .layer(layer(&store).problems(problems).build().expect("valid"))
        .layer(axum::middleware::map_response(move |response: Response<axum::body::Body>| {
            let rejection = response.extensions().get::<Rejection>().cloned();
            outer.lock().unwrap().push(rejection);
            async { response }
        }));
    let app = App::serve(router, runs).await;
    let answer = app.send(keyed("k, l")).await;
    assert_eq!((answer.status, answer.text()), (400, "our own form"));
    assert_eq!(answer.header("x-code"), Some("key-invalid"));
    app.send(keyed("k")).await.is_first("1");
    let seen = seen.lock().unwrap();
    assert!(matches!(seen[..], [Some(Rejection::KeyInvalid(_)), None]), "{seen:?}");
}

async fn rule_38_a_record_that_cannot_be_read_is_not_executed(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let app = App::counting(layer_with(&faulty, Policy::new())).await;
    let first = app.send(keyed("k")).await;
    first.is_first("1");
    for (kind, later, status, code) in [
        (ErrorKind::Unsupported, true, 503, "record-unsupported"),
        (ErrorKind::Corrupt, false, 500, "record-corrupt"),
    ] {
        match &store {
            // It keeps values, not bytes.
            AnyStore::Memory(_) => faulty.fault(Operation::Begin, Fault::Fails(kind)),
            _ => store.overwritten(if later { 0xE2 } else { b'{' }),
        }
        for ask in [keyed("k"), keyed("k").body("other")] {
            let refused = app.send(ask).await;
            refused.is_refused(status, code);
            assert_eq!(refused.header("retry-after"), later.then_some("1"));
            assert_eq!(refused.problem()["retryable"], later);
        }
    }
    faulty.recover();
    store.overwritten(0xE1);
    app.send(keyed("k")).await.is_replay_of(&first);
    assert_eq!(app.runs(), 1);
}
