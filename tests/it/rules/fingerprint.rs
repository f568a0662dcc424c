//! Rules 12 to 14 and 40: what must not change between retries.

use http::StatusCode;
use tower_idempotency::{FingerprintPolicy, Policy, Problems, Scope};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, eventually, layer, layer_with, pause};
use crate::support::http::{Ask, keyed, post};

on_every_store![
    rule_12_everything_that_names_the_operation_counts,
    rule_12_nothing_else_counts,
    rule_12_a_body_in_chunks_equals_one_with_a_length,
    rule_12_canonical_json_ignores_the_layout_and_nothing_else,
    rule_12_selected_headers_count,
    rule_12_a_closure_can_replace_the_body,
    rule_12_a_stripped_prefix_still_counts,
    rule_13_a_record_is_compared_under_its_own_scheme,
    rule_13_a_scheme_that_cannot_be_computed_is_never_executed,
    rule_14_a_mismatch_leaves_the_record,
    rule_14_a_mismatch_is_told_before_progress,
    rule_14_the_status_can_be_set,
    rule_40_another_key_with_the_same_body_is_another_operation,
];

fn of(fingerprint: FingerprintPolicy) -> Policy {
    Policy::new().fingerprint(fingerprint)
}

async fn app(store: &AnyStore, fingerprint: FingerprintPolicy) -> App {
    App::counting(layer_with(store, of(fingerprint))).await
}

/// A request with a body of JSON.
fn json(key: &str, body: &str) -> Ask {
    keyed(key).header("content-type", "application/json").body(body)
}

async fn rule_12_everything_that_names_the_operation_counts(store: AnyStore) {
    // Across the whole tenant, so that path and query are told apart by the fingerprint alone.
    let app = App::counting(layer_with(&store, Policy::new().scope(Scope::Tenant))).await;
    let first = || json("k", "{\"amount\":7}");
    let to = |target: &str| Ask { target: target.into(), ..first() };
    app.send(first()).await.is_first("1");
    for other in [
        to("/b"),
        to("/?a=1"),
        first().body("{\"amount\":8}"),
        first().body("{\"amount\":7} "),
        first().body("{\"amount\":7"),
        first().body(""),
        keyed("k").body("{\"amount\":7}"),
        keyed("k").header("content-type", "text/plain").body("{\"amount\":7}"),
        first().header("content-encoding", "gzip"),
    ] {
        app.send(other).await.is_refused(422, "key-reused");
    }
    assert!(app.send(first()).await.is_replay());
    let gzip = || keyed("gzip").header("content-encoding", "gzip").body("x");
    app.send(gzip()).await.is_first("2");
    app.send(gzip().header("content-encoding", "br")).await.is_refused(422, "key-reused");
    app.send(post("/?a=1&b=2").key("q")).await.is_first("3");
    app.send(post("/?b=2&a=1").key("q")).await.is_refused(422, "key-reused");
    app.send(post("/?a=%31&b=2").key("q")).await.is_refused(422, "key-reused");
}

async fn rule_12_nothing_else_counts(store: AnyStore) {
    let app = app(&store, FingerprintPolicy::raw()).await;
    let first = app.send(json("k", "{}")).await;
    for content_type in
        ["APPLICATION/JSON", "application/json;charset=utf-8", "Application/Json ;a"]
    {
        let same = keyed("k").header("content-type", content_type).body("{}");
        app.send(same.header("user-agent", "other").header("date", "now"))
            .await
            .is_replay_of(&first);
    }
    app.server
        .send_http2(&Ask {
            lines: vec![
                ("idempotency-key".into(), b"k".to_vec()),
                ("content-type".into(), b"application/json".to_vec()),
            ],
            ..json("k", "{}")
        })
        .await;
    assert_eq!(app.runs(), 1);
}

async fn rule_12_a_body_in_chunks_equals_one_with_a_length(store: AnyStore) {
    for fingerprint in [FingerprintPolicy::raw(), FingerprintPolicy::json()] {
        let app = app(&store, fingerprint.clone()).await;
        let key = format!("{fingerprint:?}").len().to_string();
        let first = app.send(json(&key, "[1,2,3]")).await;
        for chunks in [&["[1,2,3]"][..], &["[1", ",2,", "3]"], &["[", "1", ",", "2,3", "]"]] {
            app.send(json(&key, "").chunked(chunks, &[])).await.is_replay_of(&first);
        }
        app.send(json(&key, "").chunked(&["[1", "2,3]"], &[])).await.is_refused(422, "key-reused");
        let empty = format!("{key}-empty");
        let absent = app.send(post("/").key(&empty).head("")).await;
        app.send(post("/").key(&empty)).await.is_replay_of(&absent);
        app.send(post("/").key(&empty).chunked(&[], &[("x", "y")])).await.is_replay_of(&absent);
    }
}

async fn rule_12_canonical_json_ignores_the_layout_and_nothing_else(store: AnyStore) {
    let app = app(&store, FingerprintPolicy::json()).await;
    for (index, (first, same, other)) in [
        ("{\"a\":1,\"b\":[1,2]}", " { \"b\" : [1 , 2], \"a\":1.0 }\n", "{\"a\":1,\"b\":[2,1]}"),
        ("{\"a\":\"\\u0041\"}", "{\"a\":\"A\"}", "{\"a\":\"a\"}"),
        ("1e2", "100", "101"),
        ("9007199254740992", " 9007199254740992", "9007199254740993"),
        ("{\"n\":9007199254740993}", "{\"n\":9007199254740993}", "{\"n\":9007199254740994}"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
            "123456789012345678901234567891",
        ),
        ("-9007199254740993", "-9007199254740993", "-9007199254740992"),
        ("9007199254740991.0", "9007199254740991", "9007199254740990"),
        ("9007199254740992.0", "9007199254740992.0", "9007199254740992"),
        ("[{\"a\":1},{\"b\":2}]", "[ {\"a\":1}, {\"b\":2} ]", "[{\"a\":1},{\"b\":3}]"),
        ("{\"a\":{\"b\":1}}", "{\"a\": {\"b\": 1}}", "{\"a\":{\"b\":2}}"),
        ("{\"a:b\":\"c:d\"}", "{\"a:b\" : \"c:d\"}", "{\"a:b\":\"c:e\"}"),
        ("{\"\\\":\":1}", "{ \"\\\":\" : 1 }", "{\"\\\":\":2}"),
        ("{\"\\\"::\":1}", "{ \"\\\"::\" : 1 }", "{\"\\\"::\":2}"),
        ("-7", " -7.0", "-8"),
        ("not json", "not json", "not  json"),
        ("null", "null ", "\"null\""),
        ("{\"a\":1}", "{\"a\":1}", "{\"a\":2,\"a\":1}"),
        ("", "", "null"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = index.to_string();
        let answer = app.send(json(&key, first)).await;
        app.send(json(&key, same)).await.is_replay_of(&answer);
        app.send(json(&key, other)).await.is_refused(422, "key-reused");
    }
}

async fn rule_12_selected_headers_count(store: AnyStore) {
    let app = app(&store, FingerprintPolicy::raw().headers(["API-Version", "x-region"])).await;
    app.send(keyed("k").header("api-version", "2")).await.is_first("1");
    app.send(keyed("k")).await.is_refused(422, "key-reused");
    app.send(keyed("k").header("api-version", "3")).await.is_refused(422, "key-reused");
    app.send(keyed("k").header("x-region", "2")).await.is_refused(422, "key-reused");
    let twice = keyed("k").header("api-version", "2").header("api-version", "2");
    app.send(twice).await.is_refused(422, "key-reused");
    assert!(
        app.send(keyed("k").header("Api-Version", "2").header("x-other", "y")).await.is_replay()
    );
}

async fn rule_12_a_closure_can_replace_the_body(store: AnyStore) {
    let amount = FingerprintPolicy::custom(1, |_, body| {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        value["amount"].to_string().into_bytes()
    });
    let app = app(&store, amount).await;
    let first = app.send(json("k", "{\"amount\":7,\"sent\":1}")).await;
    app.send(json("k", "{\"amount\":7,\"sent\":2}")).await.is_replay_of(&first);
    app.send(json("k", "{\"amount\":8,\"sent\":1}")).await.is_refused(422, "key-reused");
}

async fn rule_12_a_stripped_prefix_still_counts(store: AnyStore) {
    let runs = crate::support::app::Runs::default();
    let handler = runs.of(|run| async move { run.number.to_string() });
    let layer = layer_with(&store, Policy::new().scope(Scope::Tenant));
    let inner = axum::Router::new().route("/create", axum::routing::any(handler)).layer(layer);
    let router = axum::Router::new().nest("/a", inner.clone()).nest("/b", inner);
    let app = App::serve(router, runs).await;
    app.send(post("/a/create").key("k")).await.is_first("1");
    app.send(post("/b/create").key("k")).await.is_refused(422, "key-reused");
}

async fn rule_13_a_record_is_compared_under_its_own_scheme(store: AnyStore) {
    let raw = app(&store, FingerprintPolicy::raw()).await;
    let json_with_header = app(&store, FingerprintPolicy::json().headers(["x-region"])).await;
    let first = raw.send(json("k", "{\"a\":1}")).await;
    json_with_header.send(json("k", "{\"a\":1}")).await.is_replay_of(&first);
    json_with_header.send(json("k", "{ \"a\":1}")).await.is_refused(422, "key-reused");
    let first = json_with_header.send(json("l", "{\"a\":1}").header("x-region", "eu")).await;
    let retry = |region: &str| json("l", "{ \"a\": 1.0}").header("x-region", region);
    raw.send(retry("eu")).await.is_replay_of(&first);
    raw.send(retry("us")).await.is_refused(422, "key-reused");
    assert_eq!((raw.runs(), json_with_header.runs()), (1, 1));
}

async fn rule_13_a_scheme_that_cannot_be_computed_is_never_executed(store: AnyStore) {
    let custom = |version| FingerprintPolicy::custom(version, |_, body| body.to_vec());
    let before = app(&store, custom(1)).await;
    let first = before.send(json("k", "{}")).await;
    for after in [custom(2), FingerprintPolicy::raw(), FingerprintPolicy::json()] {
        let after = app(&store, after).await;
        let answer = after.send(json("k", "{}")).await;
        answer.is_refused(409, "result-unavailable");
        assert_eq!(answer.problem().get("original_status"), None);
        assert_eq!(after.runs(), 0);
    }
    before.send(json("k", "{}")).await.is_replay_of(&first);
    let raw = app(&store, FingerprintPolicy::raw()).await;
    raw.send(json("l", "{}")).await.is_first("1");
    assert!(before.send(json("l", "{}")).await.is_replay());
}

async fn rule_14_a_mismatch_leaves_the_record(store: AnyStore) {
    let app = app(&store, FingerprintPolicy::raw()).await;
    let first = app.send(keyed("k").body("one")).await;
    app.send(keyed("k").body("two")).await.is_refused(422, "key-reused");
    app.send(keyed("k").body("one")).await.is_replay_of(&first);
}

async fn rule_14_a_mismatch_is_told_before_progress(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |_| async {
        pause(300).await;
        "done"
    })
    .await;
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.send(keyed("k").body("one")).await }
    });
    eventually(|| app.runs() == 1).await;
    app.send(keyed("k").body("two")).await.is_refused(422, "key-reused");
    app.send(keyed("k").body("one")).await.is_refused(409, "in-progress");
    first.await.expect("an answer").is_first("done");
}

async fn rule_14_the_status_can_be_set(store: AnyStore) {
    let problems = Problems::new().reused_status(StatusCode::BAD_REQUEST);
    let app = App::counting(layer(&store).problems(problems).build().expect("valid")).await;
    app.send(keyed("k").body("one")).await.is_first("1");
    let refused = app.send(keyed("k").body("two")).await;
    refused.is_refused(400, "key-reused");
    assert_eq!(refused.problem()["status"], 400);
}

async fn rule_40_another_key_with_the_same_body_is_another_operation(store: AnyStore) {
    let app = app(&store, FingerprintPolicy::raw()).await;
    app.send(keyed("k").body("one")).await.is_first("1");
    app.send(keyed("l").body("one")).await.is_first("2");
}
