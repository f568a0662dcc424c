//! A Redis that is killed, restarted and full.

use std::time::Duration;

use crate::support::app::{eventually, pause};
use crate::support::http::post;
use crate::support::process::{Process, slow, until_settled};
use crate::support::redis::RedisServer;

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test]
async fn a_redis_that_was_killed_before_begin_refuses_and_recovers_within_a_second() {
    let mut redis = RedisServer::start(DURABLE);
    let server = Process::start(&redis.url(), &[]);
    let stored = server.send(&slow(1, "before")).await;
    redis.kill();
    let refused = server.send(&slow(1, "k")).await;
    refused.is_refused(503, "store-unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    redis.restart();
    let recovered = tokio::time::timeout(Duration::from_secs(1), async {
        until_settled(&server, &slow(1, "k")).await
    });
    assert_eq!(recovered.await.expect("within a second").status, 200);
    server.send(&slow(1, "before")).await.is_replay_of(&stored);
    assert_eq!(server.executions().await, 2);
}

#[tokio::test]
async fn a_server_starts_while_redis_is_down() {
    let mut redis = RedisServer::start(DURABLE);
    redis.kill();
    let server = Process::start(&redis.url(), &[]);
    server.send(&slow(1, "k")).await.is_refused(503, "store-unavailable");
    redis.restart();
    assert_eq!(until_settled(&server, &slow(1, "k")).await.status, 200);
}

#[tokio::test]
async fn a_redis_that_is_restarted_between_begin_and_complete_stores_the_answer() {
    let mut redis = RedisServer::start(DURABLE);
    let server = Process::start(&redis.url(), &[]);
    let mut client = server.http().connect().await;
    client.write(slow(600, "k")).await;
    pause(200).await;
    redis.restart();
    server.send(&slow(600, "k")).await.is_refused(409, "in-progress");
    let first = client.read().await;
    assert_eq!((first.status, first.header("idempotency-status")), (200, None));
    server.send(&slow(600, "k")).await.is_replay_of(&first);
    assert_eq!(server.executions().await, 1);
}

#[tokio::test]
async fn w09_an_answer_that_cannot_be_stored_is_sent_and_stored_later() {
    let mut redis = RedisServer::start(DURABLE);
    let server = Process::start(&redis.url(), &[]);
    let mut client = server.http().connect().await;
    client.write(slow(300, "k")).await;
    pause(150).await;
    redis.kill();
    let first = client.read().await;
    assert_eq!((first.status, first.header("idempotency-status")), (200, Some("unstored")));
    redis.restart();
    let replay = until_settled(&server, &slow(300, "k")).await;
    assert_eq!((replay.is_replay(), &replay.body), (true, &first.body));
    assert_eq!(server.executions().await, 1);
}

#[tokio::test]
async fn w09_at_least_once_refuses_once_the_claim_may_be_lost() {
    let mut redis = RedisServer::start(DURABLE);
    let flags = ["--guarantee", "at-least-once", "--lease-ms", "300", "--store-timeout-ms", "200"];
    let server = Process::start(&redis.url(), &flags);
    let mut client = server.http().connect().await;
    client.write(slow(900, "k")).await;
    pause(150).await;
    redis.kill();
    client.read().await.is_refused(503, "store-unavailable");
}

#[tokio::test]
async fn fail_open_runs_while_redis_is_down_and_records_the_outcome() {
    let mut redis = RedisServer::start(DURABLE);
    redis.kill();
    // Longer than the longest pause between two knocks at a Redis that was down: the connection that
    // stores the outcome may be back before the one that claims.
    let server = Process::start(&redis.url(), &["--fail-open", "--store-timeout-ms", "1000"]);
    let first = server.send(&slow(1, "k")).await;
    assert_eq!((first.status, first.is_replay()), (200, false));
    redis.restart();
    let records = || {
        let keys: Vec<Vec<u8>> = redis.query("KEYS reference:*").expect("keys");
        keys.iter().filter(|key| key.len() == "reference:".len() + 32).count()
    };
    eventually(|| records() == 1).await;
    let replay = server.send(&slow(1, "k")).await;
    assert_eq!((replay.is_replay(), &replay.body), (true, &first.body));
}

#[tokio::test]
async fn w19_a_full_redis_refuses_new_keys_and_lets_running_ones_finish() {
    let full = ["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"];
    let redis = RedisServer::start(&full);
    let server = Process::start(&redis.url(), &[]);
    let mut running = server.http().connect().await;
    running.write(slow(1500, "running")).await;
    pause(100).await;
    let mut stored = Vec::new();
    let refused = loop {
        let key = format!("fill-{}", stored.len());
        let request = post("/bytes/100000").key(&key);
        let answer = server.send(&request).await;
        if answer.status != 200 {
            break answer;
        }
        stored.push((request, answer));
        assert!(stored.len() < 100, "Redis is never full");
    };
    refused.is_refused(503, "store-unavailable");
    let first = running.read().await;
    assert_eq!((first.status, first.header("idempotency-status")), (200, None));
    server.send(&slow(1500, "running")).await.is_replay_of(&first);
    for (request, answer) in &stored {
        server.send(request).await.is_replay_of(answer);
    }
}
