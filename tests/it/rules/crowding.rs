//! Limits on how much runs at once.

use std::time::Duration;

use http::StatusCode;
use tower_idempotency::protocol::Ran;
use tower_idempotency::store::Store as _;
use tower_idempotency::{IdempotencyLayer, InFlight, InvalidConfig, Policy, Tenant};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, eventually, layer, pause};
use crate::support::attempt::attempt_of;
use crate::support::http::{keyed, post};

on_every_store![
    more_than_may_run_is_refused_and_replays_still_work,
    a_tenant_that_runs_as_much_as_it_may_leaves_the_others_alone,
    handlers_whose_clients_have_gone_still_count,
];

async fn slow(layer: IdempotencyLayer, millis: u64) -> App {
    App::start(layer, move |run: Run| async move {
        pause(millis).await;
        run.number.to_string()
    })
    .await
}

async fn more_than_may_run_is_refused_and_replays_still_work(store: AnyStore) {
    let app = slow(layer(&store).max_in_flight(2).build().expect("valid"), 500).await;
    let before = app.send(keyed("before")).await;
    let running = ["a", "b"].map(|key| app.in_background(&keyed(key)));
    eventually(|| app.runs() == 3).await;
    let records = store.records();
    let refused = app.send(keyed("c")).await;
    refused.is_refused(503, "too-many-in-flight");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.problem()["retryable"], true);
    assert_eq!(store.records(), records, "it leaves no record");
    app.send(keyed("before")).await.is_replay_of(&before);
    app.send(keyed("a")).await.is_refused(409, "in-progress");
    app.send(keyed("a").body("another")).await.is_refused(422, "key-reused");
    assert_eq!(app.send(post("/")).await.status, StatusCode::OK, "no key, no limit");
    for running in running {
        assert_eq!(running.await.expect("an answer").status, 200);
    }
    app.send(keyed("c")).await.is_first("5");
}

async fn a_tenant_that_runs_as_much_as_it_may_leaves_the_others_alone(store: AnyStore) {
    let builder = IdempotencyLayer::builder(store, Tenant::header("x-tenant"));
    let app = slow(builder.max_in_flight_per_tenant(1).build().expect("valid"), 400).await;
    let of = |tenant: &str, key: &str| keyed(key).header("x-tenant", tenant);
    let running = app.in_background(&of("one", "a"));
    eventually(|| app.runs() == 1).await;
    app.send(of("one", "b")).await.is_refused(503, "too-many-in-flight");
    app.send(of("two", "a")).await.is_first("2");
    running.await.expect("an answer").is_first("1");
    app.send(of("one", "b")).await.is_first("3");
}

async fn handlers_whose_clients_have_gone_still_count(store: AnyStore) {
    let app = slow(layer(&store).max_in_flight(1).build().expect("valid"), 400).await;
    let mut client = app.server.connect().await;
    client.write(keyed("a")).await;
    eventually(|| app.runs() == 1).await;
    drop(client);
    pause(50).await;
    app.send(keyed("b")).await.is_refused(503, "too-many-in-flight");
    assert!(app.settled(keyed("a")).await.is_replay());
    app.send(keyed("b")).await.is_first("2");
}

#[tokio::test]
async fn a_request_that_waits_needs_no_room_while_it_waits() {
    let store = AnyStore::memory();
    let policy = Policy::new().in_flight(InFlight::wait(Duration::from_secs(5)));
    let builder = layer(&store).policy(policy).max_in_flight(1);
    let app = slow(builder.build().expect("valid"), 300).await;
    let claim = store.claimed(attempt_of(&keyed("elsewhere"), Duration::from_secs(30))).await;
    let waiting = app.in_background(&keyed("elsewhere"));
    pause(100).await;
    app.send(keyed("a")).await.is_first("1");
    // Even without room it waits for the one that runs elsewhere.
    let running = app.in_background(&keyed("b"));
    eventually(|| app.runs() == 2).await;
    let another = app.in_background(&keyed("elsewhere"));
    pause(50).await;
    assert!(!waiting.is_finished() && !another.is_finished());
    running.await.expect("an answer").is_first("2");
    let within = Duration::from_secs(1);
    store.release(claim.attempt(), Ran::No, within, within).await.expect("it is released");
    let answers = [waiting.await.expect("an answer"), another.await.expect("an answer")];
    assert!(answers.iter().all(|answer| answer.text() == "3"), "{answers:?}");
}

#[tokio::test]
async fn limits_and_waits_that_let_nothing_through_are_refused() {
    let store = AnyStore::memory();
    let none = layer(&store).max_in_flight(0).build();
    assert_eq!(none.err(), Some(InvalidConfig::NoRoom));
    let none = layer(&store).max_in_flight_per_tenant(0).build();
    assert_eq!(none.err(), Some(InvalidConfig::NoRoom));
    let policy = Policy::new().in_flight(InFlight::wait(Duration::ZERO));
    assert_eq!(layer(&store).policy(policy).build().err(), Some(InvalidConfig::NoTime));
}
