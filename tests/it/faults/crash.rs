//! A server that is killed at each step of a request. A proxy in front of Redis holds the step.

use crate::support::app::eventually;
use crate::support::http::Ask;
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::redis::shared;
use crate::support::wire::{Point, Wire};

/// The calls of a request to a store whose scripts are loaded.
const BEGIN: usize = 0;
const COMPLETE: usize = 1;

struct Scene {
    guarantee: &'static str,
    prefix: String,
    ledger: Ledger,
    wire: Wire,
    request: Ask,
}

impl Scene {
    async fn new(guarantee: &'static str) -> Self {
        Self {
            guarantee,
            prefix: uuid::Uuid::new_v4().to_string(),
            ledger: Ledger::new(),
            wire: Wire::to(shared().port()).await,
            request: slow(1, "k"),
        }
    }

    fn server(&self, store: &str) -> Process {
        let flags = ["--lease-ms", "900", "--guarantee", self.guarantee];
        let places = ["--prefix", &self.prefix, "--ledger", self.ledger.path()];
        Process::start(store, &[flags, places].concat())
    }

    /// Kills a server in the middle of a request, when this call is at this point.
    async fn crash(&self, call: usize, point: Point) {
        let server = self.server(&self.wire.url());
        let warm = server.send(&slow(1, "warm")).await;
        assert_eq!(warm.status, 200, "{warm:?}");
        self.wire.reset();
        self.wire.hold(call, point);
        let mut client = server.http().connect().await;
        client.write(&self.request).await;
        eventually(|| self.wire.holds()).await;
        server.kill();
    }

    /// Another server, which reaches Redis without the proxy.
    fn survivor(&self) -> Process {
        self.server(&shared().url())
    }
}

#[tokio::test]
async fn w01_a_crash_before_begin_is_sent_leaves_nothing() {
    let scene = Scene::new("at-most-once").await;
    scene.crash(BEGIN, Point::Request).await;
    assert!(scene.ledger.starts("k").is_empty());
    let survivor = scene.survivor();
    let answer = survivor.send(&scene.request).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    assert_eq!(scene.ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w02_a_crash_after_begin_is_unknown_at_most_once() {
    let scene = Scene::new("at-most-once").await;
    scene.crash(BEGIN, Point::Reply).await;
    let survivor = scene.survivor();
    survivor.send(&scene.request).await.is_refused(409, "in-progress");
    until_settled(&survivor, &scene.request).await.is_refused(409, "outcome-unknown");
    assert!(scene.ledger.starts("k").is_empty());
}

#[tokio::test]
async fn w02_a_crash_after_begin_is_run_once_later_at_least_once() {
    let scene = Scene::new("at-least-once").await;
    scene.crash(BEGIN, Point::Reply).await;
    let survivor = scene.survivor();
    survivor.send(&scene.request).await.is_refused(409, "in-progress");
    let answer = until_settled(&survivor, &scene.request).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    assert_eq!(scene.ledger.starts("k"), [2]);
    survivor.send(&scene.request).await.is_replay_of(&answer);
}

#[tokio::test]
async fn w03_a_crash_after_the_effect_never_runs_twice_at_most_once() {
    let scene = Scene::new("at-most-once").await;
    scene.crash(COMPLETE, Point::Request).await;
    assert_eq!(scene.ledger.ends("k"), [1]);
    let survivor = scene.survivor();
    until_settled(&survivor, &scene.request).await.is_refused(409, "outcome-unknown");
    survivor.send(&scene.request).await.is_refused(409, "outcome-unknown");
    assert_eq!(scene.ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w03_a_crash_after_the_effect_runs_again_at_least_once() {
    let scene = Scene::new("at-least-once").await;
    scene.crash(COMPLETE, Point::Request).await;
    let survivor = scene.survivor();
    let answer = until_settled(&survivor, &scene.request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(scene.ledger.starts("k"), [1, 2]);
    survivor.send(&scene.request).await.is_replay_of(&answer);
}

#[tokio::test]
async fn w04_a_crash_after_complete_is_replayed() {
    for guarantee in ["at-most-once", "at-least-once"] {
        let scene = Scene::new(guarantee).await;
        scene.crash(COMPLETE, Point::Reply).await;
        let survivor = scene.survivor();
        let answer = survivor.send(&scene.request).await;
        assert_eq!((answer.status, answer.is_replay()), (200, true), "{guarantee}");
        assert_eq!(survivor.send(&scene.request).await.body, answer.body);
        assert_eq!(scene.ledger.starts("k"), [1]);
    }
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_handler_runs_once_at_most_once() {
    let scene = Scene::new("at-most-once").await;
    killed_in_the_handler(&scene).await;
    let survivor = scene.survivor();
    until_settled(&survivor, &slow(400, "k")).await.is_refused(409, "outcome-unknown");
    assert_eq!((scene.ledger.starts("k"), scene.ledger.ends("k").len()), (vec![1], 0));
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_handler_runs_again_at_least_once() {
    let scene = Scene::new("at-least-once").await;
    killed_in_the_handler(&scene).await;
    let survivor = scene.survivor();
    let answer = until_settled(&survivor, &slow(400, "k")).await;
    assert_eq!(answer.status, 200);
    assert_eq!((scene.ledger.starts("k"), scene.ledger.ends("k")), (vec![1, 2], vec![2]));
}

async fn killed_in_the_handler(scene: &Scene) {
    let server = scene.server(&shared().url());
    let mut client = server.http().connect().await;
    client.write(slow(400, "k")).await;
    eventually(|| scene.ledger.starts("k") == [1]).await;
    server.kill();
}
