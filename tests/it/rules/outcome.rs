//! Rules 17 to 19 and 21: what becomes of the key after a run.

use axum::body::Body;
use axum::response::IntoResponse as _;
use futures_util::stream;
use http::{Response, StatusCode};
use tower_idempotency::Guarantee::{self, AtLeastOnce, AtMostOnce};
use tower_idempotency::{Policy, Verdict};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, layer_with, pause};
use crate::support::http::{keyed, post};

on_every_store![
    rule_17_18_19_each_status_is_stored_or_frees_the_key,
    rule_17_a_closure_can_judge,
    rule_17_18_19_the_handler_can_judge,
    rule_18_503_with_retry_after_was_not_executed,
    rule_19_503_without_retry_after_is_ambiguous,
    rule_19_a_body_that_breaks_off_is_ambiguous,
    rule_19_a_failed_service_is_ambiguous,
    rule_19_the_guarantee_can_differ_per_route,
    rule_21_a_panic_is_a_stored_500_under_at_most_once,
    rule_21_a_panic_frees_the_key_under_at_least_once,
];

fn under(guarantee: Guarantee) -> Policy {
    Policy::new().guarantee(guarantee)
}

/// Whether the rules let a retry run after this status without further headers.
fn frees(status: u16, guarantee: Guarantee) -> bool {
    match status {
        401 | 403 | 407 | 421 | 423 | 425 | 429 => true,
        408 | 500..=599 => guarantee == AtLeastOnce,
        _ => false,
    }
}

/// A handler that answers with the status that is its path.
async fn status(run: Run) -> Response<Body> {
    let status: u16 = run.parts.uri.path()[1..].parse().expect("a status");
    let mut response = run.number.to_string().into_response();
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// All of them in memory. A server is told either of two things, whatever the status: there it is those
/// that stand out, and those beside them.
fn statuses(store: &AnyStore) -> Vec<u16> {
    match store {
        AnyStore::Memory(_) => (200..600).collect(),
        _ => {
            (400..430).chain([200, 201, 204, 205, 299, 302, 304, 399, 499, 500, 503, 599]).collect()
        }
    }
}

async fn rule_17_18_19_each_status_is_stored_or_frees_the_key(store: AnyStore) {
    for guarantee in [AtMostOnce, AtLeastOnce] {
        let app = App::start(layer_with(&store, under(guarantee)), status).await;
        let mut connection = app.server.connect().await;
        for status in statuses(&store) {
            let ask = post(&format!("/{status}")).key(format!("{guarantee:?}"));
            let runs = app.runs();
            connection.write(&ask).await;
            let first = connection.read().await;
            assert_eq!((first.status, first.is_replay(), app.runs()), (status, false, runs + 1));
            connection.write(&ask).await;
            let retry = connection.read().await;
            let again = usize::from(frees(status, guarantee));
            assert_eq!(app.runs(), runs + 1 + again, "{status} {guarantee:?}");
            match again {
                0 => retry.is_replay_of(&first),
                _ => assert_eq!((retry.status, retry.is_replay()), (status, false)),
            }
        }
    }
}

async fn rule_17_a_closure_can_judge(store: AnyStore) {
    let policy = Policy::new().verdict(|status, headers| match status.as_u16() {
        200 if headers.contains_key("content-type") => Verdict::NotExecuted,
        429 => Verdict::Definitive,
        _ => Policy::default_verdict(status, headers),
    });
    let app = App::start(layer_with(&store, policy), status).await;
    for (path, runs) in [("/200", 2), ("/429", 3), ("/401", 5), ("/201", 6)] {
        app.send(post(path).key("k")).await;
        app.send(post(path).key("k")).await;
        assert_eq!(app.runs(), runs, "{path}");
    }
}

async fn rule_17_18_19_the_handler_can_judge(store: AnyStore) {
    let handler = |run: Run| async move {
        let verdict = match run.parts.uri.path() {
            "/200/not-executed" => Verdict::NotExecuted,
            "/500/definitive" => Verdict::Definitive,
            "/200/ambiguous" => Verdict::Ambiguous,
            path => panic!("{path}"),
        };
        let status = &run.parts.uri.path()[1..4];
        let mut response = run.number.to_string().into_response();
        *response.status_mut() = status.parse().expect("a status");
        response.extensions_mut().insert(verdict);
        response
    };
    for (guarantee, path, again) in [
        (AtMostOnce, "/200/not-executed", true),
        (AtLeastOnce, "/500/definitive", false),
        (AtMostOnce, "/200/ambiguous", false),
        (AtLeastOnce, "/200/ambiguous", true),
    ] {
        // The closure of the policy comes second.
        let policy = under(guarantee).verdict(|_, _| unreachable!("the handler has judged"));
        let app = App::start(layer_with(&store, policy), handler).await;
        let ask = post(path).key(format!("{guarantee:?}"));
        app.send(&ask).await.is_first("1");
        assert_eq!(app.send(&ask).await.is_replay(), !again, "{guarantee:?} {path}");
        assert_eq!(app.runs(), 1 + usize::from(again));
    }
}

async fn rule_18_503_with_retry_after_was_not_executed(store: AnyStore) {
    let app = App::start(layer_with(&store, under(AtMostOnce)), |run| async move {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], run.number.to_string())
    })
    .await;
    app.send(keyed("k")).await.is_first("1");
    app.send(keyed("k")).await.is_first("2");
}

async fn rule_19_503_without_retry_after_is_ambiguous(store: AnyStore) {
    for (guarantee, again) in [(AtMostOnce, false), (AtLeastOnce, true)] {
        let app = App::start(layer_with(&store, under(guarantee)), status).await;
        let ask = post("/503").key(format!("{guarantee:?}"));
        app.send(&ask).await.is_first("1");
        assert_eq!(app.send(&ask).await.is_replay(), !again);
    }
}

/// A body that breaks off after its beginning.
fn broken() -> Body {
    Body::from_stream(stream::iter([Ok("the beginning"), Err(std::io::Error::other("broken"))]))
}

async fn rule_19_a_body_that_breaks_off_is_ambiguous(store: AnyStore) {
    for guarantee in [AtMostOnce, AtLeastOnce] {
        let layer = layer_with(&store, under(guarantee));
        let app = App::start(layer, |_| async { Response::new(broken()) }).await;
        fails_once(&app, guarantee).await;
    }
}

async fn rule_19_a_failed_service_is_ambiguous(store: AnyStore) {
    for guarantee in [AtMostOnce, AtLeastOnce] {
        let runs = crate::support::app::Runs::default();
        let count = runs.clone();
        let service = tower::ServiceBuilder::new()
            .map_err(|error: std::io::Error| -> std::convert::Infallible {
                panic!("it reaches the server: {error}")
            })
            .layer(layer_with(&store, under(guarantee)))
            .service_fn(move |_: http::Request<_>| {
                count.next();
                async { Err::<Response<Body>, _>(std::io::Error::other("failed")) }
            });
        let server = crate::support::http::Server::start(service).await;
        fails_once(&App { server, runs }, guarantee).await;
    }
}

/// A run without a response is a 500 problem; the guarantee decides about the retry.
async fn fails_once(app: &App, guarantee: Guarantee) {
    let ask = keyed(&format!("{guarantee:?}"));
    let first = app.send(&ask).await;
    first.is_refused(500, "handler-failed");
    let again = guarantee == AtLeastOnce;
    assert_eq!(first.problem()["retryable"], again);
    let retry = app.send(&ask).await;
    assert_eq!(app.runs(), 1 + usize::from(again), "{guarantee:?}");
    if again {
        retry.is_refused(500, "handler-failed");
    } else {
        // It answers for the operation, so it carries the marker.
        retry.is_replay_of(&first);
    }
}

async fn rule_19_the_guarantee_can_differ_per_route(store: AnyStore) {
    let layer = crate::support::app::layer(&store)
        .route_policy("/500", under(AtLeastOnce))
        .build()
        .expect("valid");
    let app = App::start(layer, status).await;
    app.send(post("/500").key("k")).await.is_first("1");
    app.send(post("/500").key("k")).await.is_first("2");
    app.send(post("/502").key("k")).await.is_first("3");
    assert!(app.send(post("/502").key("k")).await.is_replay());
}

/// Panics at once, after it has waited, or while its response is read.
async fn panics(run: Run) -> Response<Body> {
    match run.parts.headers["x-when"].to_str() {
        Ok("now") => panic!("a bug"),
        Ok("later") => {
            pause(20).await;
            panic!("a bug")
        }
        _ => Response::new(Body::from_stream(stream::poll_fn(
            |_| -> std::task::Poll<Option<Result<&str, std::io::Error>>> { panic!("a bug") },
        ))),
    }
}

async fn rule_21_a_panic_is_a_stored_500_under_at_most_once(store: AnyStore) {
    let app = App::start(layer_with(&store, under(AtMostOnce)), panics).await;
    for (index, when) in ["now", "later", "in the body"].into_iter().enumerate() {
        let ask = keyed(&format!("k{index}")).header("x-when", when);
        let first = app.send(&ask).await;
        first.is_refused(500, "handler-failed");
        assert_eq!(first.problem()["retryable"], false);
        app.send(&ask).await.is_replay_of(&first);
        assert_eq!(app.runs(), index + 1);
    }
}

async fn rule_21_a_panic_frees_the_key_under_at_least_once(store: AnyStore) {
    let app = App::start(layer_with(&store, under(AtLeastOnce)), panics).await;
    for (index, when) in ["now", "later", "in the body"].into_iter().enumerate() {
        let ask = keyed(&format!("k{index}")).header("x-when", when);
        for _ in 0..2 {
            let failed = app.send(&ask).await;
            failed.is_refused(500, "handler-failed");
            assert_eq!(failed.problem()["retryable"], true);
        }
        assert_eq!(app.runs(), 2 * (index + 1));
    }
}
