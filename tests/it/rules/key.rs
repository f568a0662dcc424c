//! Rules 1 to 8: whether there is a key, and which.

use axum::http::Method;
use tower_idempotency::{InvalidConfig, KeySyntax, Policy, Required};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, layer, layer_with};
use crate::support::http::{Ask, ask, keyed, post};

on_every_store![
    rule_01_a_key_in_the_trailers_counts_for_nothing,
    rule_01_the_names_of_the_field_can_be_set,
    rule_02_an_unprotected_method_passes_with_garbage_for_a_key,
    rule_02_any_unsafe_method_can_be_protected,
    rule_03_a_key_is_optional,
    rule_03_a_key_can_be_required_always_per_route_or_by_predicate,
    rule_04_a_quoted_key_and_the_same_bare_key_are_one_key,
    rule_04_a_leading_quotation_mark_means_strict_with_no_fallback,
    rule_04_only_one_form_can_be_accepted,
    rule_05_each_byte_is_either_a_bare_key_or_refused,
    rule_05_a_validator_can_refuse_keys,
    rule_06_two_key_lines_are_refused_even_if_they_are_equal,
    rule_06_a_folded_line_is_not_a_key,
    rule_07_a_key_has_1_to_255_octets_after_unquoting,
    rule_07_the_limits_can_be_set,
    rule_07_keys_are_case_sensitive_and_never_decoded,
    rule_08_a_refused_key_runs_nothing_and_leaves_no_record,
];

async fn default_app(store: &AnyStore) -> App {
    App::counting(layer(store).build().expect("the defaults")).await
}

async fn app_with(store: &AnyStore, syntax: KeySyntax) -> App {
    App::counting(layer_with(store, Policy::new().key_syntax(syntax))).await
}

async fn rule_01_a_key_in_the_trailers_counts_for_nothing(store: AnyStore) {
    let app = default_app(&store).await;
    let request =
        post("/").header("trailer", "idempotency-key").chunked(&["x"], &[("idempotency-key", "k")]);
    app.send(request.clone()).await.is_first("1");
    app.send(request).await.is_first("2");
}

async fn rule_01_the_names_of_the_field_can_be_set(store: AnyStore) {
    let names = ["paypal-request-id", "x-idempotency-key"];
    let app = App::counting(layer(&store).header_names(names).build().expect("names")).await;
    let first = app.send(post("/").header("PayPal-Request-Id", "k")).await;
    app.send(post("/").header("X-Idempotency-Key", "k")).await.is_replay_of(&first);
    let both = post("/").header(names[0], "k").header(names[1], "k");
    app.send(both).await.is_refused(400, "key-invalid");
    app.send(keyed("k")).await.is_first("2");
    for none in [&[][..], &["not a name"]] {
        let built = layer(&store).header_names(none.iter().copied()).build();
        assert_eq!(built.err(), Some(InvalidConfig::HeaderName), "{none:?}");
    }
}

async fn rule_02_an_unprotected_method_passes_with_garbage_for_a_key(store: AnyStore) {
    let app = default_app(&store).await;
    for (index, method) in ["GET", "OPTIONS", "TRACE", "PUT", "DELETE"].into_iter().enumerate() {
        let answer = app.send(ask(method, "/").key("\"garbage, ").key("twice")).await;
        answer.is_first(&(index + 1).to_string());
    }
    for method in ["POST", "PATCH"] {
        app.send(ask(method, "/").key("\"garbage, ")).await.is_refused(400, "key-invalid");
    }
}

#[test]
fn rule_02_a_safe_method_cannot_be_protected() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        let store = AnyStore::memory();
        let policy = Policy::new().methods([Method::POST, method.clone()]);
        let built = layer(&store).policy(policy.clone()).build();
        assert_eq!(built.err(), Some(InvalidConfig::SafeMethod(method.clone())));
        let built = layer(&store).route_policy("/", policy).build();
        assert_eq!(built.err(), Some(InvalidConfig::SafeMethod(method)));
    }
}

async fn rule_02_any_unsafe_method_can_be_protected(store: AnyStore) {
    let purge = Method::from_bytes(b"PURGE").expect("a method");
    let policy = Policy::new().methods([Method::PUT, Method::DELETE, purge]);
    let app = App::counting(layer_with(&store, policy)).await;
    for method in ["PUT", "DELETE", "PURGE"] {
        let first = app.send(ask(method, "/").key("k")).await;
        app.send(ask(method, "/").key("k")).await.is_replay_of(&first);
    }
    app.send(keyed("k")).await.is_first("4");
    app.send(keyed("k")).await.is_first("5");
}

async fn rule_03_a_key_is_optional(store: AnyStore) {
    let app = default_app(&store).await;
    app.send(post("/")).await.is_first("1");
    app.send(post("/")).await.is_first("2");
}

async fn rule_03_a_key_can_be_required_always_per_route_or_by_predicate(store: AnyStore) {
    let layer = layer(&store)
        .policy(
            Policy::new()
                .required(Required::predicate(|parts| parts.headers.contains_key("x-amount"))),
        )
        .route_policy("/charges", Policy::new().required(Required::always()))
        .build()
        .expect("valid");
    let app = App::counting(layer).await;
    app.send(post("/charges")).await.is_refused(400, "key-missing");
    app.send(post("/").header("x-amount", "7")).await.is_refused(400, "key-missing");
    assert_eq!(app.runs(), 0);
    app.send(post("/")).await.is_first("1");
    app.send(ask("GET", "/charges")).await.is_first("2");
    app.send(post("/charges").key("k")).await.is_first("3");
}

async fn rule_04_a_quoted_key_and_the_same_bare_key_are_one_key(store: AnyStore) {
    let app = default_app(&store).await;
    let first = app.send(keyed("8e03978e-40d5")).await;
    for same in [
        "\"8e03978e-40d5\"",
        "\"8e03978e-40d5\";a;b=1;c=\"x\";d=:YWJj:;e=?1",
        "\"8e03978e-40d5\" ",
        "  \t8e03978e-40d5 ",
    ] {
        app.send(keyed(same)).await.is_replay_of(&first);
    }
    let escaped = app.send(keyed(r#""a \"b\" \\ c, d; e""#)).await;
    assert_eq!((escaped.status, escaped.is_replay()), (200, false));
    app.send(keyed(r#""a \"b\" \\ c, d; e";p"#)).await.is_replay_of(&escaped);
}

async fn rule_04_a_leading_quotation_mark_means_strict_with_no_fallback(store: AnyStore) {
    let app = default_app(&store).await;
    for invalid in [
        &b"\"open"[..],
        b"\"",
        b"\"a\"b",
        b"\"a\" b",
        b"\"a\", \"b\"",
        b"\"a\",",
        b"\"a\"\"b\"",
        b"\"a\";",
        b"\"a\";A=1",
        b"\"a\";b=",
        b"\"a\\x\"",
        b"\"a\\\"",
        b"\"caf\xc3\xa9\"",
        b"\"\x80\"",
        b"\"tab\there\"",
    ] {
        let answer = app.send(post("/").key(invalid)).await;
        answer.is_refused(400, "key-invalid");
    }
    assert_eq!(app.runs(), 0);
}

async fn rule_04_only_one_form_can_be_accepted(store: AnyStore) {
    let strict = app_with(&store, KeySyntax::string_only()).await;
    for other in ["token", "*token", "1", "1.5", "?1", ":YWJj:", "@1", "%\"x\"", "(\"a\")"] {
        strict.send(keyed(other)).await.is_refused(400, "key-invalid");
    }
    strict.send(keyed("\"k\"")).await.is_first("1");
    let bare = app_with(&store, KeySyntax::bare_only()).await;
    bare.send(keyed("\"bare\"")).await.is_refused(400, "key-invalid");
    bare.send(keyed("bare")).await.is_first("1");
}

async fn rule_05_each_byte_is_either_a_bare_key_or_refused(store: AnyStore) {
    let app = default_app(&store).await;
    for byte in 0..=255_u8 {
        let runs = app.runs();
        let mut connection = app.server.connect().await;
        connection.write(post("/").key([b'k', byte, b'k'])).await;
        let answer = connection.try_read().await;
        let is_bare = (0x21..=0x7e).contains(&byte) && !b"\",;\\".contains(&byte);
        let status = answer.map(|answer| answer.status);
        assert_eq!(status, Some(if is_bare { 200 } else { 400 }), "{byte:#x}");
        assert_eq!(app.runs() - runs, usize::from(is_bare), "{byte:#x}");
    }
}

async fn rule_05_a_validator_can_refuse_keys(store: AnyStore) {
    let policy = Policy::new().key_validator(|key| key.starts_with("order-"));
    let app = App::counting(layer_with(&store, policy)).await;
    app.send(keyed("17")).await.is_refused(400, "key-invalid");
    app.send(keyed("\"17\"")).await.is_refused(400, "key-invalid");
    app.send(keyed("\"order-17\"")).await.is_first("1");
}

async fn rule_06_two_key_lines_are_refused_even_if_they_are_equal(store: AnyStore) {
    let app = default_app(&store).await;
    for (one, other) in [("k", "k"), ("k", "l"), ("k", "\"k\""), ("k", "")] {
        let lines = post("/").key(one).header("x-between", "y").header("IDEMPOTENCY-KEY", other);
        app.send(lines.clone()).await.is_refused(400, "key-invalid");
        app.server.send_http2(&lowercase(lines)).await.is_refused(400, "key-invalid");
    }
    assert_eq!(app.runs(), 0);
}

fn lowercase(mut ask: Ask) -> Ask {
    ask.lines.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    ask
}

async fn rule_06_a_folded_line_is_not_a_key(store: AnyStore) {
    let app = default_app(&store).await;
    let mut connection = app.server.connect().await;
    connection.write(post("/").key("one\r\n two")).await;
    let answer = connection.try_read().await;
    assert!(answer.is_none_or(|answer| answer.status == 400));
    assert_eq!(app.runs(), 0);
}

async fn rule_07_a_key_has_1_to_255_octets_after_unquoting(store: AnyStore) {
    let app = default_app(&store).await;
    for empty in ["", "   ", "\"\"", "\"\";a=1"] {
        app.send(keyed(empty)).await.is_refused(400, "key-invalid");
    }
    let longest = "x".repeat(255);
    app.send(keyed("y")).await.is_first("1");
    app.send(keyed(&longest)).await.is_first("2");
    assert!(app.send(keyed(&format!("\"{longest}\""))).await.is_replay());
    let escaped = format!("\"{}\"", "\\\"".repeat(255));
    app.send(keyed(&escaped)).await.is_first("3");
    for long in [format!("{longest}x"), format!("\"{longest}x\""), "x".repeat(60_000)] {
        app.send(keyed(&long)).await.is_refused(400, "key-invalid");
    }
    assert_eq!(app.runs(), 3);
}

async fn rule_07_the_limits_can_be_set(store: AnyStore) {
    let app = app_with(&store, KeySyntax::either().length(3..=4)).await;
    for (key, fits) in [("ab", false), ("abc", true), ("abcd", true), ("abcde", false)] {
        assert_eq!(app.send(keyed(key)).await.status, if fits { 200 } else { 400 }, "{key}");
        let quoted = app.send(keyed(&format!("\"{key}\""))).await;
        assert_eq!((quoted.status == 200, quoted.is_replay()), (fits, fits), "{key}");
    }
}

async fn rule_07_keys_are_case_sensitive_and_never_decoded(store: AnyStore) {
    let app = default_app(&store).await;
    let keys = ["Key", "key", "KEY", "k%65y", "%6bey", "key%20", "key+", "a2V5", "a:b", "a%3Ab"];
    for key in keys {
        assert!(!app.send(keyed(key)).await.is_replay(), "{key}");
    }
    assert_eq!(app.runs(), keys.len());
}

async fn rule_08_a_refused_key_runs_nothing_and_leaves_no_record(store: AnyStore) {
    let app = default_app(&store).await;
    for invalid in ["a,b", "a;b", "a\\b", "a b", "\"open"] {
        app.send(keyed(invalid).body("x")).await.is_refused(400, "key-invalid");
    }
    assert_eq!((app.runs(), store.records()), (0, 0));
    app.send(keyed("a").body("other")).await.is_first("1");
    assert_eq!(store.records(), 1);
}
