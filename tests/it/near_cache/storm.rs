//! Crowds: what they cost the store, and that they all get the answer that the store holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tower_idempotency::protocol::{Attempt, Found, Nonce, Ran, Reply, Slot};
use tower_idempotency::store::{MemoryStore, NearCache, Operation, Store};

use super::{HOUR, Scene, answered, attempt, begin, other, response};
use crate::support::any_store::AnyStore;
use crate::support::app::{App, layer};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{keyed, post};
use crate::support::process::Process;
use crate::support::redis::shared;
use crate::support::wire::Wire;

#[tokio::test]
async fn a_storm_of_replays_asks_the_store_once() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    scene.store.fault(Operation::Begin, Fault::Hangs);
    for outcome in join_all((0..1000).map(|_| scene.replay(&attempt))).await {
        assert_eq!(outcome, response("answer"));
    }
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn a_storm_of_retries_over_http_asks_the_store_once() {
    let store = FaultyStore::new(&AnyStore::memory());
    let near = Arc::new(NearCache::new(store.clone()).max_age(HOUR));
    let app = App::counting(layer(&near).build().expect("valid")).await;
    let first = app.send(keyed("storm")).await;
    app.send(keyed("storm")).await.is_replay_of(&first);
    for retry in join_all((0..200).map(|_| app.send(keyed("storm")))).await {
        retry.is_replay_of(&first);
    }
    assert_eq!((store.calls(Operation::Begin), app.runs()), (2, 1));
}

#[tokio::test]
async fn a_storm_of_retries_at_one_server_costs_redis_nothing() {
    let wire = Wire::to(shared().port()).await;
    let flags = ["--near-cache-bytes", "1000000", "--near-cache-age-ms", "600000"];
    let server = Process::start(&wire.url(), &flags);
    let key = uuid::Uuid::new_v4().to_string();
    let ask = post("/echo").key(&key).body("hello");
    let first = server.send(&ask).await;
    server.send(&ask).await.is_replay_of(&first);
    wire.reset();
    for retry in join_all((0..200).map(|_| server.send(&ask))).await {
        retry.is_replay_of(&first);
    }
    assert_eq!(wire.commands(), [""; 0]);
}

#[tokio::test]
async fn a_record_that_is_deleted_from_redis_is_gone_after_max_age() {
    let clock = Arc::<tower_idempotency::clock::ManualClock>::default();
    let store = AnyStore::redis();
    let near = NearCache::with_clock(store.clone(), Arc::clone(&clock));
    let attempt = attempt();
    let claim = store.claimed(attempt.clone()).await;
    store.completed(&claim, &response("answer")).await;
    begin(&near, &attempt).await;
    store.emptied();
    assert_eq!(super::outcome(begin(&near, &attempt).await), response("answer"));
    clock.advance(super::MAX_AGE);
    let reply = begin(&near, &attempt).await;
    assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
}

/// Tasks on several threads do everything that a process does to a few keys. Once one of them was
/// told an outcome, all are told this one, and another request is never told any.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_on_few_keys_gets_one_outcome_for_each() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let near = NearCache::new(MemoryStore::new()).max_bytes(32 << 10);
    let crowd = Arc::new((near, Mutex::new(HashMap::new())));
    let tasks = (0..16).map(|task| {
        let crowd = Arc::clone(&crowd);
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(task));
            for _ in 0..2000 {
                let slot = Slot::from_bytes([random.random_range(0..100); 32]);
                let nonce = Nonce::from_bytes(random.random());
                let (near, outcomes) = &*crowd;
                one_request(near, outcomes, Attempt { slot, nonce, ..attempt() }, &mut random)
                    .await;
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("no task fails");
    }
    let (near, outcomes) = &*crowd;
    assert!(outcomes.lock().unwrap().len() > 50 && near.bytes() <= 32 << 10);
}

async fn one_request(
    near: &NearCache<MemoryStore>,
    outcomes: &Mutex<HashMap<Slot, String>>,
    attempt: Attempt,
    random: &mut StdRng,
) {
    let within = Duration::from_secs(10);
    let reply = begin(near, &attempt).await;
    tokio::task::yield_now().await;
    match reply {
        Reply::Started(_) if random.random_ratio(1, 2) => {
            let reply = near.release(&attempt, Ran::No, within, within).await;
            assert_eq!(answered(reply), Reply::Applied);
        }
        Reply::Started(grant) => {
            let body = random.random::<u64>().to_string();
            let known = outcomes.lock().unwrap().insert(attempt.slot, body.clone());
            assert_eq!(known, None, "it ran before");
            let reply = near.complete(&attempt.claim(grant), &response(&body), within).await;
            assert_eq!(answered(reply), Reply::Applied);
        }
        Reply::Found(Found::Completed { outcome, .. }) => {
            let known = outcomes.lock().unwrap().get(&attempt.slot).cloned();
            assert_eq!(outcome, response(&known.expect("it ran")));
            let reply = begin(near, &other(&attempt)).await;
            assert_eq!(reply, Reply::Found(Found::Mismatch));
        }
        Reply::Found(Found::Busy { .. }) => {}
        reply => panic!("{reply:?}"),
    }
}
