//! Rules 9 to 11: where a key names one operation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{any, post as posted};
use http::{Response, StatusCode};
use tower::{Layer as _, service_fn};
use tower_idempotency::protocol::{IdempotencyKey, KeySyntax, Secret, Slot};
use tower_idempotency::{IdempotencyLayer, Policy, Required, Scope, Tenant, Unresolved};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Runs, layer, layer_with};
use crate::support::http::{Server, keyed, post};

on_every_store![
    rule_09_the_raw_key_is_nowhere_in_the_store,
    rule_09_another_method_is_another_operation,
    rule_09_the_scope_can_be_the_whole_tenant,
    rule_09_a_secret_changes_every_address,
    rule_10_tenants_do_not_share_keys,
    rule_10_the_resolvers_own_answer_is_returned,
    rule_10_a_tenant_that_cannot_be_told_is_never_shared,
    rule_11_a_template_is_one_route,
    rule_11_nested_routers_do_not_share_keys,
    rule_11_plain_services_are_told_apart_by_path,
    rule_11_a_closure_can_name_the_route,
    rule_11_a_policy_finds_its_route_behind_a_stripped_prefix,
];

const KEY: &str = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

async fn rule_09_the_raw_key_is_nowhere_in_the_store(store: AnyStore) {
    let slots = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&slots);
    let app = App::start(layer(&store).build().expect("valid"), move |run| {
        let slot = run.claim.expect("a claim").slot();
        seen.lock().unwrap().push(slot);
        async move { "the answer" }
    })
    .await;
    app.send(keyed(KEY).body("the body")).await.is_first("the answer");
    let slot = slots.lock().unwrap()[0];
    let record = store.seen(slot).await.record.expect("a record");
    let mut stored = vec![slot.as_bytes().to_vec(), record.encode().to_vec()];
    stored.extend(store.raw());
    for secret in [KEY.as_bytes(), b"the body"] {
        let found = stored.iter().any(|bytes| bytes.windows(secret.len()).any(|at| at == secret));
        assert!(!found);
    }
}

async fn rule_09_another_method_is_another_operation(store: AnyStore) {
    let app = App::counting(layer(&store).build().expect("valid")).await;
    app.send(keyed("k")).await.is_first("1");
    let mut patch = keyed("k");
    patch.method = "PATCH".into();
    app.send(patch).await.is_first("2");
}

async fn rule_09_the_scope_can_be_the_whole_tenant(store: AnyStore) {
    let app = App::counting(layer_with(&store, Policy::new().scope(Scope::Tenant))).await;
    app.send(post("/a").key("k")).await.is_first("1");
    assert!(app.send(post("/a").key("k")).await.is_replay());
    app.send(post("/b").key("k")).await.is_refused(422, "key-reused");
}

async fn rule_09_a_secret_changes_every_address(store: AnyStore) {
    let mut slots = Vec::new();
    let key = IdempotencyKey::parse(b"k", &KeySyntax::either()).expect("a key");
    let secrets = [None, Some(Secret::new(b"one")), Some(Secret::new(b"two"))];
    for (index, secret) in secrets.iter().enumerate() {
        let builder = match secret {
            Some(secret) => layer(&store).secret(secret.clone()),
            None => layer(&store),
        };
        let app = App::counting(builder.build().expect("valid")).await;
        app.send(keyed("k")).await.is_first("1");
        assert!(app.send(keyed("k")).await.is_replay());
        assert_eq!(store.records(), index + 1);
        let slot = Slot::derive(secret.as_ref(), "", "POST", Some("/"), &key);
        slots.push(store.seen(slot).await.record.expect("a record").fingerprint);
    }
    assert!(slots[0] != slots[1] && slots[1] != slots[2] && slots[0] != slots[2]);
}

async fn rule_10_tenants_do_not_share_keys(store: AnyStore) {
    let layer = IdempotencyLayer::new(store, Tenant::header("x-tenant"));
    let app = App::start(layer, |run| async move {
        format!("{} {}", run.number, run.claim.expect("a claim").tenant())
    })
    .await;
    for (tenant, answer) in [("ann", "1 ann"), ("bob", "2 bob"), ("Ann", "3 Ann")] {
        app.send(keyed("k").header("x-tenant", tenant)).await.is_first(answer);
    }
    let replayed = app.send(keyed("k").header("x-tenant", "ann")).await;
    assert_eq!((replayed.is_replay(), replayed.text()), (true, "1 ann"));
}

async fn rule_10_the_resolvers_own_answer_is_returned(store: AnyStore) {
    #[derive(Clone)]
    struct Login(String);
    let by_login = Tenant::extension(|login: &Login| login.0.clone());
    let app = App::counting(IdempotencyLayer::new(store.clone(), by_login)).await;
    app.send(keyed("k")).await.is_refused(400, "tenant-unresolved");

    let tenant = Tenant::resolve(|parts| match parts.uri.path() {
        "/status" => Err(Unresolved::status(StatusCode::MISDIRECTED_REQUEST)),
        "/response" => Err(Unresolved::response(
            Response::builder()
                .status(401)
                .header("www-authenticate", "Basic")
                .body("who?".into())
                .expect("valid"),
        )),
        path => Ok(path.to_owned()),
    });
    let app = App::counting(IdempotencyLayer::new(store.clone(), tenant)).await;
    assert_eq!(app.send(post("/status").key("k")).await.status, 421);
    let own = app.send(post("/response").key("k")).await;
    assert_eq!(
        (own.status, own.text(), own.header("www-authenticate")),
        (401, "who?", Some("Basic"))
    );
    assert_eq!((app.runs(), store.records()), (0, 0));
    app.send(post("/response")).await.is_first("1");
}

async fn rule_10_a_tenant_that_cannot_be_told_is_never_shared(store: AnyStore) {
    let app = App::counting(IdempotencyLayer::new(store, Tenant::header("x-tenant"))).await;
    app.send(keyed("k")).await.is_refused(400, "tenant-unresolved");
    app.send(keyed("k").header("x-tenant", "")).await.is_refused(400, "tenant-unresolved");
    app.send(keyed("k").header("x-tenant", b"\xff")).await.is_refused(400, "tenant-unresolved");
    let twice = keyed("k").header("x-tenant", "ann").header("x-tenant", "ann");
    app.send(twice).await.is_refused(400, "tenant-unresolved");
    assert_eq!(app.runs(), 0);
}

async fn rule_11_a_template_is_one_route(store: AnyStore) {
    for (index, app) in routers(&store, "/accounts/{id}").into_iter().enumerate() {
        let (router, runs) = app;
        let app = App::serve(router, runs).await;
        let key = format!("k{index}");
        app.send(post("/accounts/1").key(&key)).await.is_first("1");
        assert!(app.send(post("/accounts/1").key(&key)).await.is_replay());
        app.send(post("/accounts/2").key(&key)).await.is_refused(422, "key-reused");
        app.send(post("/other/1").key(&key)).await.is_first("2");
    }
}

/// The same two routes with a layer around the router, its routes, and each method.
fn routers(store: &AnyStore, template: &str) -> Vec<(Router, Runs)> {
    let layer = || layer(store).build().expect("valid");
    let of = |attach: &dyn Fn(Runs) -> Router| {
        let runs = Runs::default();
        (attach(runs.clone()), runs)
    };
    let plain = |runs: &Runs| {
        let handler = runs.of(|run| async move { run.number.to_string() });
        Router::new().route(template, any(handler.clone())).route("/other/{id}", any(handler))
    };
    vec![
        of(&|runs| plain(&runs).layer(layer())),
        of(&|runs| plain(&runs).route_layer(layer())),
        of(&|runs| {
            let handler = runs.of(|run| async move { run.number.to_string() });
            let layer = layer();
            Router::new()
                .route(template, posted(handler.clone()).layer(layer.clone()))
                .route("/other/{id}", posted(handler).layer(layer))
        }),
    ]
}

async fn rule_11_nested_routers_do_not_share_keys(store: AnyStore) {
    let runs = Runs::default();
    let handler = runs.of(|run| async move { run.number.to_string() });
    let layer = layer(&store).build().expect("valid");
    let charges = Router::new().route("/create", any(handler.clone()));
    let fallback = Router::new().fallback(handler.clone());
    let plain = layer.layer(service_fn(move |request: http::Request<_>| {
        let answer = handler(request.map(axum::body::Body::new));
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    }));
    let router = Router::new()
        .nest("/charges", charges.clone().layer(layer.clone()))
        .nest("/refunds", charges.clone().layer(layer.clone()))
        .nest("/outer-1", Router::new().nest("/inner", charges.clone().layer(layer.clone())))
        .nest("/outer-2", Router::new().nest("/inner", charges.clone()).layer(layer.clone()))
        .nest_service("/routers-1", charges.clone().layer(layer.clone()))
        .nest_service("/routers-2", charges.layer(layer.clone()))
        .nest("/fallback-1", fallback.clone().layer(layer.clone()))
        .nest("/fallback-2", fallback.layer(layer.clone()))
        .nest_service("/plain-1", plain.clone())
        .nest_service("/plain-2", plain);
    let app = App::serve(router, runs).await;
    let targets = [
        "/charges/create",
        "/refunds/create",
        "/outer-1/inner/create",
        "/outer-2/inner/create",
        "/routers-1/create",
        "/routers-2/create",
        "/fallback-1/create",
        "/fallback-2/create",
        "/plain-1/create",
        "/plain-2/create",
    ];
    for (index, target) in targets.iter().enumerate() {
        app.send(post(target).key("k")).await.is_first(&(index + 1).to_string());
    }
    for (index, target) in targets.iter().enumerate() {
        let answer = app.send(post(target).key("k")).await;
        assert_eq!((answer.is_replay(), answer.text()), (true, &*(index + 1).to_string()));
    }
}

async fn rule_11_plain_services_are_told_apart_by_path(store: AnyStore) {
    let runs = Runs::default();
    let handler = runs.of(|run| async move { run.number.to_string() });
    let service = layer(&store).build().expect("valid").layer(service_fn(
        move |request: http::Request<_>| {
            let answer = handler(request.map(axum::body::Body::new));
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        },
    ));
    let server = Server::start(service).await;
    server.send(post("/a").key("k")).await.is_first("1");
    server.send(post("/b").key("k")).await.is_first("2");
    assert!(server.send(post("/a").key("k")).await.is_replay());
    server.send(post("/a?x=1").key("k")).await.is_refused(422, "key-reused");
}

async fn rule_11_a_closure_can_name_the_route(store: AnyStore) {
    let policy = Policy::new()
        .retention(Duration::from_secs(60))
        .route(|parts| parts.uri.path().trim_start_matches("/v1").to_owned());
    let app = App::counting(layer_with(&store, policy)).await;
    app.send(post("/v1/charges").key("k")).await.is_first("1");
    app.send(post("/charges").key("k")).await.is_refused(422, "key-reused");
    app.send(post("/v2/charges").key("k")).await.is_first("2");
}

async fn rule_11_a_policy_finds_its_route_behind_a_stripped_prefix(store: AnyStore) {
    let layer = layer(&store)
        .route_policy("/api/charges", Policy::new().required(Required::always()))
        .route_policy("/refunds", Policy::new().required(Required::always()))
        .build()
        .expect("valid");
    let plain = layer.layer(service_fn(|_: http::Request<_>| async {
        Ok::<_, std::convert::Infallible>(Response::new(axum::body::Body::from("ran")))
    }));
    let router = Router::new().nest_service("/api", plain);
    let app = App::serve(router, Runs::default()).await;
    app.send(post("/api/charges")).await.is_refused(400, "key-missing");
    app.send(post("/api/refunds")).await.is_first("ran");
}
