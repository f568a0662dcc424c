//! Clocks that differ and jump: of servers, and of the store. Processes that have a clock of their own
//! find it in place of the wall clock (libfaketime); how much time passes for them is not changed.

use crate::support::app::{eventually, pause};
use crate::support::fake_clock::FakeClock;
use crate::support::http::post;
use crate::support::launch::{Kind, Launch};
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::redis::{RedisServer, shared};

const HOUR: i64 = 3600;

const DAY: i64 = 24 * HOUR;

/// A store by a clock that can be set, and servers on it by the clock of the machine.
struct Scene {
    clock: FakeClock,
    store: RedisServer,
    ledger: Ledger,
    flags: Vec<&'static str>,
}

impl Scene {
    fn new(flags: &[&'static str]) -> Self {
        let clock = FakeClock::ahead(0);
        let environment = clock.environment();
        let store =
            RedisServer::launch(&Launch { kind: Kind::Valkey, environment, ..Launch::default() });
        Self { clock, store, ledger: Ledger::new(), flags: flags.to_vec() }
    }

    fn server(&self) -> Process {
        let flags = [&self.flags[..], &["--ledger", self.ledger.path()]].concat();
        Process::start(&self.store.url(), &flags)
    }
}

#[tokio::test]
async fn w15_the_clock_of_a_server_ends_no_lease_and_keeps_none() {
    let (ledger, prefix) = (Ledger::new(), uuid::Uuid::new_v4().to_string());
    let flags = ["--lease-ms", "600", "--prefix", &prefix, "--ledger", ledger.path()];
    let clocks = [FakeClock::ahead(DAY), FakeClock::ahead(-DAY)];
    let [ahead, behind] =
        clocks.each_ref().map(|clock| Process::start_by(clock, &shared().url(), &flags));
    for (key, first, second) in [("a", &behind, &ahead), ("b", &ahead, &behind)] {
        let mut client = first.http().connect().await;
        client.write(slow(1500, key)).await;
        eventually(|| ledger.starts(key) == [1]).await;
        for _ in 0..10 {
            second.send(&slow(1500, key)).await.is_refused(409, "in-progress");
            pause(100).await;
        }
        let answer = client.read().await;
        assert_eq!((answer.status, answer.is_replay()), (200, false));
        second.send(&slow(1500, key)).await.is_replay_of(&answer);
        assert_eq!(ledger.starts(key), [1]);
    }
    // Who has died is noticed in time, whatever those who ask take the time for.
    let mut client = ahead.http().connect().await;
    client.write(slow(1500, "c")).await;
    eventually(|| ledger.starts("c") == [1]).await;
    ahead.kill();
    until_settled(&behind, &slow(1500, "c")).await.is_refused(409, "outcome-unknown");
}

#[tokio::test]
async fn w15_the_clock_of_a_server_may_jump_while_a_handler_runs() {
    let (ledger, clock) = (Ledger::new(), FakeClock::ahead(0));
    let prefix = uuid::Uuid::new_v4().to_string();
    let flags = ["--lease-ms", "600", "--prefix", &prefix, "--ledger", ledger.path()];
    let flags = [&flags[..], &["--guarantee", "at-least-once"]].concat();
    let jumping = Process::start_by(&clock, &shared().url(), &flags);
    let other = Process::start(&shared().url(), &flags);
    for (key, jump) in [("forward", DAY), ("back", -DAY)] {
        clock.set(0);
        let mut client = jumping.http().connect().await;
        client.write(slow(1500, key)).await;
        eventually(|| ledger.starts(key) == [1]).await;
        clock.set(jump);
        for _ in 0..10 {
            other.send(&slow(1500, key)).await.is_refused(409, "in-progress");
            pause(100).await;
        }
        let answer = client.read().await;
        assert_eq!((answer.status, answer.is_replay()), (200, false), "{key}");
        other.send(&slow(1500, key)).await.is_replay_of(&answer);
        assert_eq!(jumping.send(&slow(1, &format!("after-{key}"))).await.status, 200);
        assert_eq!(ledger.starts(key), [1]);
    }
}

#[tokio::test]
async fn w16_a_store_whose_clock_jumps_past_a_lease_is_unknown_and_keeps_the_answer_at_most_once() {
    let scene = Scene::new(&["--lease-ms", "3000"]);
    let (first, second) = (scene.server(), scene.server());
    let mut client = first.http().connect().await;
    client.write(slow(1500, "k")).await;
    eventually(|| scene.ledger.starts("k") == [1]).await;
    scene.clock.set(HOUR);
    second.send(&slow(1500, "k")).await.is_refused(409, "outcome-unknown");
    let answer = client.read().await;
    assert_eq!((answer.status, answer.header("idempotency-status")), (200, None));
    second.send(&slow(1500, "k")).await.is_replay_of(&answer);
    assert_eq!(scene.ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w16_a_store_whose_clock_jumps_past_a_lease_has_one_answer_at_least_once() {
    let scene = Scene::new(&["--lease-ms", "3000", "--guarantee", "at-least-once"]);
    let (first, second) = (scene.server(), scene.server());
    let mut client = first.http().connect().await;
    client.write(slow(1500, "k")).await;
    eventually(|| scene.ledger.starts("k") == [1]).await;
    scene.clock.set(HOUR);
    let answer = second.send(&slow(1500, "k")).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false), "it is taken over");
    let late = client.read().await;
    if late.status == 200 {
        late.is_replay_of(&answer);
    } else {
        late.is_refused(409, "in-progress");
    }
    first.send(&slow(1500, "k")).await.is_replay_of(&answer);
    assert_eq!(scene.ledger.starts("k"), [1, 2]);
    assert!(scene.ledger.fences("k").is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn w16_a_store_whose_clock_jumps_past_the_retention_forgets_but_stores_what_still_runs() {
    let scene = Scene::new(&["--lease-ms", "900"]);
    let (first, second) = (scene.server(), scene.server());
    assert_eq!(first.send(&slow(1, "done")).await.status, 200);
    let mut client = first.http().connect().await;
    client.write(slow(1500, "k")).await;
    eventually(|| scene.ledger.starts("k") == [1]).await;
    scene.clock.set(3 * DAY);
    // The worker says at its next renewal that the key is its own.
    pause(700).await;
    second.send(&slow(1500, "k")).await.is_refused(409, "in-progress");
    let answer = client.read().await;
    assert_eq!((answer.status, answer.header("idempotency-status")), (200, None));
    second.send(&slow(1500, "k")).await.is_replay_of(&answer);
    assert_eq!(scene.ledger.starts("k"), [1]);
    let again = second.send(&slow(1, "done")).await;
    assert_eq!((again.status, again.is_replay()), (200, false), "its retention is over");
    assert!(scene.ledger.fences("done").is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn w17_a_store_whose_clock_jumps_back_keeps_leases_for_longer_and_loses_nothing() {
    let scene = Scene::new(&["--lease-ms", "600"]);
    let (first, second) = (scene.server(), scene.server());
    let stored = first.send(&slow(1, "done")).await;
    let mut client = first.http().connect().await;
    client.write(slow(1200, "k")).await;
    eventually(|| scene.ledger.starts("k") == [1]).await;
    scene.clock.set(-HOUR);
    let answer = client.read().await;
    assert_eq!((answer.status, answer.header("idempotency-status")), (200, None));
    second.send(&slow(1200, "k")).await.is_replay_of(&answer);
    second.send(&slow(1, "done")).await.is_replay_of(&stored);
    assert_eq!(second.send(&slow(1, "new")).await.status, 200);

    scene.clock.set(0);
    let mut client = first.http().connect().await;
    client.write(slow(1200, "dead")).await;
    eventually(|| scene.ledger.starts("dead") == [1]).await;
    first.kill();
    scene.clock.set(-HOUR);
    pause(1500).await;
    second.send(&slow(1200, "dead")).await.is_refused(409, "in-progress");
    scene.clock.set(0);
    until_settled(&second, &slow(1200, "dead")).await.is_refused(409, "outcome-unknown");
    assert_eq!(scene.ledger.starts("dead"), [1]);
}

#[tokio::test]
async fn w17_tokens_of_a_key_grow_although_the_clock_of_the_store_jumps_back() {
    let scene = Scene::new(&["--guarantee", "at-least-once"]);
    let server = scene.server();
    // Nothing was done, says the handler, so the key is free again.
    let request = post("/status/503?retry-after=1").key("k");
    for ahead in [0, -HOUR, -DAY] {
        scene.clock.set(ahead);
        assert_eq!(server.send(&request).await.status, 503);
    }
    assert_eq!(scene.ledger.starts("k").len(), 3);
    assert!(scene.ledger.fences("k").is_sorted_by(|one, next| one < next));
}
