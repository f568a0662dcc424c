//! The same windows with PostgreSQL as the store: servers that are killed at each step, lost replies,
//! and a PostgreSQL that is killed, frozen or told to end.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::app::{eventually, pause};
use crate::support::http::Ask;
use crate::support::patience::wait_until;
use crate::support::postgres::{PostgresServer, Version, shared};
use crate::support::postgres_wire::PostgresWire;
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::wire::{Loss, Point};

/// The calls of a request to a store whose connections are made.
const BEGIN: usize = 0;
const COMPLETE: usize = 1;

struct Scene {
    guarantee: &'static str,
    prefix: String,
    ledger: Ledger,
    wire: PostgresWire,
    request: Ask,
}

impl Scene {
    async fn new(guarantee: &'static str) -> Self {
        Self {
            guarantee,
            prefix: uuid::Uuid::new_v4().to_string(),
            ledger: Ledger::new(),
            wire: PostgresWire::to(shared().port()).await,
            request: slow(1, "k"),
        }
    }

    fn server(&self, store: &str) -> Process {
        let flags = ["--lease-ms", "900", "--guarantee", self.guarantee];
        let places = ["--prefix", &self.prefix, "--ledger", self.ledger.path()];
        Process::start(store, &[flags, places].concat())
    }

    /// A server behind the proxy, which has made its connections. The proxy runs beside the test: the
    /// server makes its table before it says where it listens.
    async fn wired(&self) -> Process {
        let server = self.server(&shared().url_at(self.wire.port()));
        assert_eq!(server.send(&slow(1, "warm")).await.status, 200);
        self.wire.reset();
        server
    }

    /// Kills a server in the middle of a request, when this call is at this point.
    async fn crash(&self, call: usize, point: Point) -> Process {
        let server = self.wired().await;
        self.wire.hold(call, point);
        let mut client = server.http().connect().await;
        client.write(&self.request).await;
        eventually(|| self.wire.holds()).await;
        server.kill();
        self.server(&shared().url())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w01_a_crash_before_begin_is_sent_leaves_nothing() {
    let scene = Scene::new("at-most-once").await;
    let survivor = scene.crash(BEGIN, Point::Request).await;
    assert!(scene.ledger.starts("k").is_empty());
    let answer = survivor.send(&scene.request).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    assert_eq!(scene.ledger.starts("k"), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w02_a_crash_after_begin_is_unknown_at_most_once_and_run_later_at_least_once() {
    let scene = Scene::new("at-most-once").await;
    let survivor = scene.crash(BEGIN, Point::Reply).await;
    survivor.send(&scene.request).await.is_refused(409, "in-progress");
    until_settled(&survivor, &scene.request).await.is_refused(409, "outcome-unknown");
    assert!(scene.ledger.starts("k").is_empty());

    let scene = Scene::new("at-least-once").await;
    let survivor = scene.crash(BEGIN, Point::Reply).await;
    let answer = until_settled(&survivor, &scene.request).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    assert_eq!(scene.ledger.starts("k"), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w03_a_crash_after_the_effect_never_runs_twice_at_most_once_and_again_at_least_once() {
    let scene = Scene::new("at-most-once").await;
    let survivor = scene.crash(COMPLETE, Point::Request).await;
    assert_eq!(scene.ledger.ends("k"), [1]);
    until_settled(&survivor, &scene.request).await.is_refused(409, "outcome-unknown");
    assert_eq!(scene.ledger.starts("k"), [1]);

    let scene = Scene::new("at-least-once").await;
    let survivor = scene.crash(COMPLETE, Point::Request).await;
    let answer = until_settled(&survivor, &scene.request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(scene.ledger.starts("k"), [1, 2]);
    survivor.send(&scene.request).await.is_replay_of(&answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn w04_a_crash_after_complete_is_replayed() {
    for guarantee in ["at-most-once", "at-least-once"] {
        let scene = Scene::new(guarantee).await;
        let survivor = scene.crash(COMPLETE, Point::Reply).await;
        let answer = survivor.send(&scene.request).await;
        assert_eq!((answer.status, answer.is_replay()), (200, true), "{guarantee}");
        assert_eq!(scene.ledger.starts("k"), [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w06_a_begin_whose_reply_is_lost_recognises_its_own_claim() {
    let scene = Scene::new("at-most-once").await;
    let server = scene.wired().await;
    scene.wire.lose(Loss::Close);
    let first = server.send(&scene.request).await;
    assert_eq!((first.status, first.is_replay()), (200, false));
    server.send(&scene.request).await.is_replay_of(&first);
    assert_eq!(scene.ledger.starts("k"), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_a_complete_whose_reply_is_lost_is_complete() {
    for loss in [Loss::Close, Loss::Silence] {
        let scene = Scene::new("at-most-once").await;
        let server = scene.wired().await;
        let mut client = server.http().connect().await;
        client.write(slow(300, "k")).await;
        pause(150).await;
        scene.wire.lose(loss);
        let first = client.read().await;
        assert_eq!(first.status, 200, "{loss:?}");
        let replay = server.send(&slow(300, "k")).await;
        assert_eq!((replay.is_replay(), &replay.body), (true, &first.body), "{loss:?}");
        assert_eq!(scene.ledger.starts("k"), [1]);
    }
}

#[tokio::test]
async fn w07_a_begin_that_a_frozen_postgres_reads_too_late_claims_nothing() {
    let postgres = PostgresServer::start(Version::Packaged, &[]);
    let ledger = Ledger::new();
    let flags = ["--store-timeout-ms", "300", "--lease-ms", "1000", "--ledger", ledger.path()];
    let server = Process::start(&postgres.url(), &flags);
    assert_eq!(server.send(&slow(1, "warm")).await.status, 200);
    postgres.pause();
    server.send(&slow(1, "k")).await.is_refused(503, "store-unavailable");
    postgres.resume();
    // An orphan would be found in progress now, and unknown once its lease has lapsed.
    let answer = until_settled(&server, &slow(1, "k")).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w09_an_answer_that_a_frozen_or_killed_postgres_cannot_take_is_stored_later() {
    let mut postgres = PostgresServer::start(Version::Packaged, &[]);
    let server = Process::start(&postgres.url(), &["--store-timeout-ms", "300"]);
    for kill in [false, true] {
        let request = slow(300, if kill { "killed" } else { "frozen" });
        let mut client = server.http().connect().await;
        client.write(&request).await;
        pause(150).await;
        if kill {
            postgres.kill();
        } else {
            postgres.pause();
        }
        let first = client.read().await;
        let status = first.header("idempotency-status");
        assert_eq!((first.status, status), (200, Some("unstored")), "{kill}");
        if kill {
            postgres.restart();
        } else {
            postgres.resume();
        }
        let replay = until_settled(&server, &request).await;
        assert_eq!((replay.is_replay(), &replay.body), (true, &first.body), "{kill}");
    }
    assert_eq!(server.executions().await, 2);
}

#[tokio::test]
async fn a_postgres_that_was_killed_refuses_and_recovers_within_a_second() {
    let mut postgres = PostgresServer::start(Version::Packaged, &[]);
    let server = Process::start(&postgres.url(), &[]);
    let stored = server.send(&slow(1, "before")).await;
    postgres.kill();
    let refused = server.send(&slow(1, "k")).await;
    refused.is_refused(503, "store-unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    postgres.restart();
    let recovered = tokio::time::timeout(Duration::from_secs(1), async {
        until_settled(&server, &slow(1, "k")).await
    });
    assert_eq!(recovered.await.expect("within a second").status, 200);
    server.send(&slow(1, "before")).await.is_replay_of(&stored);
    assert_eq!(server.executions().await, 2);
}

#[tokio::test]
async fn a_server_starts_while_postgres_is_down_and_makes_the_table_later() {
    let mut postgres = PostgresServer::start(Version::Packaged, &[]);
    postgres.kill();
    let server = Process::start(&postgres.url(), &[]);
    server.send(&slow(1, "k")).await.is_refused(503, "store-unavailable");
    postgres.restart();
    assert_eq!(until_settled(&server, &slow(1, "k")).await.status, 200);
}

#[tokio::test]
async fn backends_that_are_terminated_all_the_time_cost_no_answer_and_no_second_run() {
    let postgres = PostgresServer::start(Version::Packaged, &[]);
    let ledger = Ledger::new();
    let server = Process::start(&postgres.url(), &["--ledger", ledger.path()]);
    let client = postgres.client().await;
    let terminating = tokio::spawn(async move {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' \
                      AND random() < 0.5";
        loop {
            pause(20).await;
            client.execute(others, &[]).await.expect("some are terminated");
        }
    });
    let (server, ledger) = (&server, &ledger);
    join_all((0..4).map(async |client| {
        for number in 0..15 {
            let key = format!("{client}-{number}");
            let request = slow(5, &key);
            let answer = until_settled(server, &request).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let again = until_settled(server, &request).await;
            assert_eq!((again.is_replay(), &again.body), (true, &answer.body));
            assert_eq!(ledger.starts(&key), [1]);
        }
    }))
    .await;
    terminating.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_requests_of_another_server_get_the_answer_at_once() {
    let scene = Scene::new("at-most-once").await;
    let flags = ["--in-flight", "wait:10000", "--prefix", &scene.prefix];
    let (one, two) =
        (Process::start(&shared().url(), &flags), Process::start(&shared().url(), &flags));
    let request = slow(1500, "k");
    let mut first = one.http().connect().await;
    first.write(&request).await;
    let table = format!("idempotency_{}", scene.prefix.replace('-', "_"));
    let count = |condition: &str| {
        let query = format!("SELECT count(*) FROM {table} WHERE {condition}");
        shared().query(&query)[0].get::<_, i64>(0)
    };
    wait_until("it runs", || count("phase = 1") == 1).await;
    let mut second = two.http().connect().await;
    second.write(&request).await;
    wait_until("it is waited for", || count("waited") == 1).await;
    let answer = first.read().await;
    let replay = tokio::time::timeout(Duration::from_millis(400), second.read()).await;
    replay.expect("at once").is_replay_of(&answer);
}
