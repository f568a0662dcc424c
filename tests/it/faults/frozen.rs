//! Servers and stores that stop without dying.

use std::time::{Duration, Instant};

use crate::support::app::{eventually, pause};
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::redis::{RedisServer, shared};

struct Pair {
    first: Process,
    second: Process,
    ledger: Ledger,
}

/// Two servers on one Redis.
fn pair(guarantee: &str) -> Pair {
    let ledger = Ledger::new();
    let prefix = uuid::Uuid::new_v4().to_string();
    let flags = ["--lease-ms", "600", "--guarantee", guarantee, "--prefix", &prefix];
    let flags = [&flags[..], &["--ledger", ledger.path()]].concat();
    let start = || Process::start(&shared().url(), &flags);
    Pair { first: start(), second: start(), ledger }
}

#[tokio::test]
async fn w05_a_worker_that_slept_past_its_lease_answers_with_the_winners_answer() {
    let Pair { first, second, ledger } = pair("at-least-once");
    let request = slow(700, "k");
    let mut client = first.http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    first.pause();
    let taken_over = until_settled(&second, &request).await;
    assert_eq!(taken_over.status, 200);
    assert_eq!(ledger.starts("k"), [1, 2]);
    first.resume();
    let late = client.read().await;
    late.is_replay_of(&taken_over);
    second.send(&request).await.is_replay_of(&taken_over);
    assert_eq!(ledger.ends("k").len(), 2, "both ran: effects need a fence");
}

#[tokio::test]
async fn w05_a_worker_that_slept_past_its_lease_still_stores_its_answer_at_most_once() {
    let Pair { first, second, ledger } = pair("at-most-once");
    let request = slow(700, "k");
    let mut client = first.http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    first.pause();
    until_settled(&second, &request).await.is_refused(409, "outcome-unknown");
    first.resume();
    let answer = client.read().await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    second.send(&request).await.is_replay_of(&answer);
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn a_worker_that_is_taken_over_is_told_that_the_winner_still_runs() {
    let Pair { first, second, ledger } = pair("at-least-once");
    let request = slow(2500, "k");
    let mut client = first.http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    first.pause();
    pause(1400).await;
    let mut other = second.http().connect().await;
    other.write(&request).await;
    eventually(|| ledger.starts("k") == [1, 2]).await;
    // The sleep of the first handler is over by the time it goes on; the second one's is not.
    pause(1200).await;
    first.resume();
    client.read().await.is_refused(409, "in-progress");
    let answer = other.read().await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    first.send(&request).await.is_replay_of(&answer);
}

#[tokio::test]
async fn w07_a_begin_that_a_frozen_redis_reads_too_late_claims_nothing() {
    let redis = RedisServer::start(&[]);
    let ledger = Ledger::new();
    let flags = ["--store-timeout-ms", "300", "--lease-ms", "1000", "--ledger", ledger.path()];
    let server = Process::start(&redis.url(), &flags);
    assert_eq!(server.send(&slow(1, "warm")).await.status, 200);
    redis.pause();
    #[expect(clippy::disallowed_methods, reason = "how long a real server takes")]
    let asked = Instant::now();
    let refused = server.send(&slow(1, "k")).await;
    refused.is_refused(503, "store-unavailable");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(refused.header("retry-after"), Some("1"));
    redis.resume();
    // An orphan would be found in progress now, and unknown once its lease has lapsed.
    let answer = until_settled(&server, &slow(1, "k")).await;
    assert_eq!((answer.status, answer.is_replay()), (200, false));
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w07_a_redis_that_is_frozen_while_the_handler_runs_gets_the_answer_later() {
    let redis = RedisServer::start(&[]);
    let server = Process::start(&redis.url(), &["--store-timeout-ms", "300"]);
    let mut client = server.http().connect().await;
    client.write(slow(300, "k")).await;
    pause(150).await;
    redis.pause();
    let first = client.read().await;
    assert_eq!((first.status, first.header("idempotency-status")), (200, Some("unstored")));
    redis.resume();
    let replay = until_settled(&server, &slow(300, "k")).await;
    assert_eq!((replay.is_replay(), &replay.body), (true, &first.body));
    assert_eq!(server.executions().await, 1);
}
