//! What is never run again, and servers that are not configured alike.

use std::time::Duration;

use futures_util::future::join_all;
use tower_idempotency::{IdempotencyLayer, InvalidConfig, MemoryStore, Policy, Tenant};

use crate::support::app::pause;
use crate::support::http::{Ask, post};
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::redis::shared;

struct Place {
    prefix: String,
    ledger: Ledger,
}

impl Place {
    fn new() -> Self {
        Self { prefix: uuid::Uuid::new_v4().to_string(), ledger: Ledger::new() }
    }

    fn server(&self, flags: &[&str]) -> Process {
        let places = ["--prefix", &self.prefix, "--ledger", self.ledger.path()];
        Process::start(&shared().url(), &[flags, &places].concat())
    }
}

/// Runs a request, kills its server, lets the lease lapse, and asks another server.
async fn after_a_crash_and_a_lease(guarantee: &str, request: &Ask) -> (u16, Ask, Process, Place) {
    let place = Place::new();
    let flags = ["--lease-ms", "300", "--guarantee", guarantee];
    let server = place.server(&flags);
    let first = server.send(request).await;
    server.kill();
    pause(350).await;
    (first.status, request.clone(), place.server(&flags), place)
}

#[tokio::test]
async fn w28_a_response_that_is_too_large_is_never_run_again() {
    let targets = ["/bytes/1048577", "/stream/100000", "/sse/2/1"];
    let both = ["at-most-once", "at-least-once"];
    let scenes = both.into_iter().flat_map(|guarantee| targets.map(|target| (guarantee, target)));
    join_all(scenes.map(async |(guarantee, target)| {
        let request = post(target).key("k");
        let (status, request, next, place) = after_a_crash_and_a_lease(guarantee, &request).await;
        let retry = next.send(&request).await;
        retry.is_refused(409, "result-unavailable");
        assert_eq!(retry.problem()["original_status"], status, "{target} {guarantee}");
        assert_eq!(place.ledger.starts("k"), [1], "{target} {guarantee}");
    }))
    .await;
}

/// A failure without a response is stored at most once, and run again at least once.
async fn follows_the_guarantee(target: &str) {
    let request = post(target).key("k");
    let (status, request, next, place) = after_a_crash_and_a_lease("at-most-once", &request).await;
    assert_eq!(status, 500);
    let replay = next.send(&request).await;
    assert_eq!((replay.status, replay.is_replay()), (500, true));
    assert_eq!(replay.problem()["code"], "handler-failed");
    assert_eq!(place.ledger.starts("k"), [1]);
    let (_, request, next, place) = after_a_crash_and_a_lease("at-least-once", &request).await;
    next.send(&request).await.is_refused(500, "handler-failed");
    assert_eq!(place.ledger.starts("k"), [1, 2]);
}

#[tokio::test]
async fn w28_a_body_that_breaks_off_follows_the_guarantee() {
    follows_the_guarantee("/stream-error").await;
}

#[tokio::test]
async fn w29_a_panic_follows_the_guarantee() {
    follows_the_guarantee("/panic").await;
}

#[test]
fn w30_a_retention_that_could_end_during_a_run_is_refused() {
    let policy = Policy::new().lease(Duration::from_secs(30)).retention(Duration::from_secs(59));
    let built =
        IdempotencyLayer::builder(MemoryStore::new(), Tenant::single()).policy(policy).build();
    assert!(matches!(built, Err(InvalidConfig::RetentionTooShort { .. })));
}

#[tokio::test]
async fn w30_a_run_longer_than_the_retention_keeps_its_record() {
    let place = Place::new();
    let server = place.server(&["--lease-ms", "300", "--retention-ms", "700"]);
    let request = slow(2000, "k");
    let mut client = server.http().connect().await;
    client.write(&request).await;
    for _ in 0..12 {
        pause(100).await;
        server.send(&request).await.is_refused(409, "in-progress");
    }
    let first = client.read().await;
    server.send(&request).await.is_replay_of(&first);
    assert_eq!(place.ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w32_servers_that_fingerprint_differently_recognise_each_others_requests() {
    let place = Place::new();
    let raw = place.server(&["--fingerprint", "raw"]);
    let json = place.server(&["--fingerprint", "json"]);
    let request = |key: &str, body: &str| {
        post("/echo").key(key).header("content-type", "application/json").body(body)
    };
    for (key, first, second) in [("a", &raw, &json), ("b", &json, &raw)] {
        let answer = first.send(&request(key, r#"{"amount":1}"#)).await;
        assert_eq!(answer.status, 201);
        second.send(&request(key, r#"{"amount":1}"#)).await.is_replay_of(&answer);
        second.send(&request(key, r#"{"amount":2}"#)).await.is_refused(422, "key-reused");
        assert_eq!(place.ledger.starts(key), [1]);
    }
}

#[tokio::test]
async fn w32_a_server_with_a_shorter_lease_does_not_steal() {
    let place = Place::new();
    let long = place.server(&["--lease-ms", "3000", "--guarantee", "at-least-once"]);
    let short = place.server(&["--lease-ms", "200", "--guarantee", "at-least-once"]);
    let mut client = long.http().connect().await;
    client.write(slow(2000, "k")).await;
    for _ in 0..8 {
        pause(100).await;
        short.send(&slow(2000, "k")).await.is_refused(409, "in-progress");
        short.send(&slow(2000, "k").body("another")).await.is_refused(422, "key-reused");
    }
    let first = client.read().await;
    assert_eq!(first.status, 200);
    assert_eq!(until_settled(&short, &slow(2000, "k")).await.body, first.body);
    assert_eq!(place.ledger.starts("k"), [1]);
}
