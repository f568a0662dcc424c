//! What requests cost Redis, through the whole layer: commands on the wire, and bytes of a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use futures_util::future::join_all;
use http::{Request, header};
use tower::ServiceExt as _;
use tower_idempotency::protocol::FenceToken;
use tower_idempotency::store::{RedisStore, Store};
use tower_idempotency::{IdempotencyLayer, InFlight, Policy, Tenant};

use super::{WITHIN, slot, wired};
use crate::support::redis::RedisServer;

const HERD: usize = 500;

/// What a herd goes through: 194 bytes of JSON are answered once so many have asked.
struct Herd {
    router: Router,
    asked: Arc<AtomicUsize>,
}

impl Herd {
    fn over(store: impl Store, size: usize) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let all = Arc::clone(&asked);
        let early = move || all.load(Ordering::Relaxed) < size;
        Self { asked, ..Self::answered_after(early, store, size) }
    }

    /// The same, answered once it is no longer too early.
    fn answered_after<F>(early: F, store: impl Store, size: usize) -> Self
    where
        F: Fn() -> bool + Clone + Send + Sync + 'static,
    {
        let pay = async move || {
            while early() {
                tokio::task::yield_now().await;
            }
            let answer = format!(r#"{{"id":"{}"}}"#, "7".repeat(185));
            ([(header::CONTENT_TYPE, "application/json")], answer)
        };
        let policy = Policy::new().in_flight(InFlight::wait(Duration::from_secs(60)));
        let layer = IdempotencyLayer::builder(store, Tenant::single()).policy(policy);
        let layer = layer.max_waiters(size, size).build().expect("a valid policy");
        Self { router: Router::new().route("/", post(pay)).layer(layer), asked: Arc::default() }
    }

    async fn ask(&self, key: &str) {
        let request = Request::post("/").header("idempotency-key", key).body(Body::from("order"));
        // The layer is polled at once, so whoever is counted here is already under way.
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Ok(response) = self.router.clone().oneshot(request.expect("a request")).await;
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn a_fresh_request_costs_two_commands_and_a_replay_one() {
    let (wire, store) = wired().await;
    let one = Herd::over(store, 1);
    // Connections are made, and scripts loaded.
    one.ask(&uuid::Uuid::new_v4().to_string()).await;
    let key = uuid::Uuid::new_v4().to_string();
    for (what, commands) in [("fresh", 2), ("replay", 1), ("replay", 1)] {
        wire.reset();
        one.ask(&key).await;
        assert_eq!(wire.commands().len(), commands, "{what}: {:?}", wire.commands());
    }
}

#[tokio::test]
async fn five_hundred_at_once_for_one_key_cost_what_one_of_them_does() {
    let (wire, store) = wired().await;
    let store = Arc::new(store);
    Herd::over(Arc::clone(&store), 1).ask(&uuid::Uuid::new_v4().to_string()).await;
    let herd = Herd::over(store, HERD);
    wire.reset();
    let key = uuid::Uuid::new_v4().to_string();
    join_all((0..HERD).map(|_| herd.ask(&key))).await;
    assert_eq!(wire.commands().len(), 2, "{:?}", wire.commands());
}

#[tokio::test]
async fn five_hundred_at_once_in_four_processes_cost_three_commands_more_for_each_of_the_others() {
    const PROCESSES: usize = 4;
    // One claims and completes. Each of the others claims in vain, looks, is told of the change and looks.
    const COMMANDS: usize = 2 + 3 * (PROCESSES - 1);
    let (wire, first) = wired().await;
    let early = {
        let wire = wire.clone();
        // All have claimed, and all but one have looked.
        move || wire.commands().len() < 2 * PROCESSES - 1
    };
    let connect = || RedisStore::connect(wire.url()).expect("a valid address");
    let stores = std::iter::once(first).chain(std::iter::repeat_with(connect)).take(PROCESSES);
    let mut herds = Vec::new();
    for store in stores.map(Arc::new) {
        // Connections are made, and scripts loaded.
        Herd::over(Arc::clone(&store), 1).ask(&uuid::Uuid::new_v4().to_string()).await;
        let nothing = store.watch(slot(), FenceToken::from_number(7), WITHIN).await;
        assert_eq!(nothing.expect("it looks").record, None);
        herds.push(Herd::answered_after(early.clone(), store, HERD));
    }
    wire.reset();
    let key = uuid::Uuid::new_v4().to_string();
    join_all((0..HERD).map(|number| herds[number % PROCESSES].ask(&key))).await;
    assert_eq!(wire.commands().len(), COMMANDS, "{:?}", wire.commands());
}

#[tokio::test]
async fn a_record_of_a_small_answer_takes_few_bytes_of_redis() {
    const RECORDS: usize = 1000;
    let server = RedisServer::start(&[]);
    let one = Herd::over(server.store().prefix("p"), 1);
    for _ in 0..RECORDS {
        one.ask(&uuid::Uuid::new_v4().to_string()).await;
    }
    let mut most = 0;
    let keys: Vec<Vec<u8>> = server.query("KEYS p:*").expect("the server answers");
    for key in keys.iter().filter(|key| key.len() == "p:".len() + 32) {
        let usage = server.command(&[b"MEMORY", b"USAGE", key]).expect("the server answers");
        let redis::Value::Int(bytes) = usage else { panic!("{usage:?}") };
        most = most.max(bytes);
    }
    assert!(keys.len() >= RECORDS, "{} records", keys.len());
    // Redis's allocator gives 320 bytes to a value of more than 256, and 48 to a key of more than 28.
    assert!(most <= 408, "{most} bytes");
}
