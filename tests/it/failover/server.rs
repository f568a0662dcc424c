//! Servers whose master is failed over while their handlers run.

use std::time::Duration;

use crate::support::app::{eventually, pause};
use crate::support::cluster::RedisCluster;
use crate::support::launch::Kind;
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::sentinel::SentinelTrio;

#[tokio::test]
async fn w10_an_answer_is_stored_although_the_master_is_killed_while_the_handler_runs() {
    let mut trio = SentinelTrio::start(Kind::Redis, &[]);
    let server = Process::start(&trio.url(), &["--lease-ms", "3000"]);
    let mut client = server.http().connect().await;
    client.write(slow(3500, "k")).await;
    pause(500).await;
    let old = trio.master().expect("the sentinels agree");
    trio.nodes[old].kill();
    trio.await_failover(old).await;
    let first = client.read().await;
    assert_eq!(first.status, 200);
    until_settled(&server, &slow(3500, "k")).await.is_replay_of_stored(&first);
    assert_eq!(server.executions().await, 1);
}

#[tokio::test]
async fn w10_a_claim_that_only_a_cut_off_master_knew_is_put_back_on_the_new_one() {
    let trio = SentinelTrio::in_namespaces(Kind::Redis, &[]);
    let ledger = Ledger::new();
    let flags = ["--lease-ms", "1500", "--ledger", ledger.path()];
    let servers = [(); 2].map(|()| Process::start(&trio.url(), &flags));
    for server in &servers {
        assert_eq!(server.send(&slow(1, "warm")).await.status, 200);
    }
    let old = trio.cut_off_master();
    let request = slow(9000, "k");
    let mut client = servers[0].http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    trio.await_failover(old).await;
    // Two store time-outs to find the new master, and a renewal.
    pause(2500).await;
    for server in &servers {
        server.send(&request).await.is_refused(409, "in-progress");
    }
    let first = client.read().await;
    assert_eq!((first.status, first.header("idempotency-status")), (200, None));
    for server in &servers {
        server.send(&request).await.is_replay_of(&first);
    }
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w10_a_cut_off_master_that_is_waited_for_starts_nothing() {
    let trio = SentinelTrio::in_namespaces(Kind::Redis, &[]);
    let ledger = Ledger::new();
    let flags = ["--durability", "replicas:1", "--ledger", ledger.path()];
    let server = Process::start(&trio.url(), &flags);
    assert_eq!(server.send(&slow(1, "warm")).await.status, 200);
    let old = trio.cut_off_master();
    server.send(&slow(1, "k")).await.is_refused(503, "store-unavailable");
    trio.await_failover(old).await;
    assert!(ledger.starts("k").is_empty());
    trio.heal(old);
    trio.await_replica(old).await;
    assert_eq!(until_settled(&server, &slow(1, "k")).await.status, 200);
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w10_who_waits_through_a_fail_over_gets_the_answer() {
    let mut trio = SentinelTrio::start(Kind::Redis, &[]);
    let ledger = Ledger::new();
    let flags = ["--in-flight", "wait:30000", "--lease-ms", "5000", "--ledger", ledger.path()];
    let servers = [(); 2].map(|()| Process::start(&trio.url(), &flags));
    let request = slow(4000, "k");
    let mut client = servers[0].http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let (server, request) = (servers[1].http(), request.clone());
            tokio::spawn(async move { server.send(&request).await })
        })
        .collect();
    pause(300).await;
    let old = trio.master().expect("the sentinels agree");
    trio.nodes[old].kill();
    trio.await_failover(old).await;
    let first = client.read().await;
    for waiter in waiters {
        waiter.await.expect("an answer").is_replay_of_stored(&first);
    }
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w10_who_waits_through_a_fail_over_of_a_cluster_gets_the_answer() {
    let mut cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
    let ledger = Ledger::new();
    let flags = ["--in-flight", "wait:30000", "--lease-ms", "8000", "--ledger", ledger.path()];
    let servers = [(); 2].map(|()| Process::start(&cluster.url(), &flags));
    // Some of them are on the node that is killed.
    let keys: Vec<_> = (0..6).map(|number| format!("key-{number}")).collect();
    let (mut clients, mut waiters) = (Vec::new(), Vec::new());
    for key in &keys {
        let mut client = servers[0].http().connect().await;
        client.write(slow(5000, key)).await;
        eventually(|| ledger.starts(key) == [1]).await;
        clients.push(client);
        let (server, request) = (servers[1].http(), slow(5000, key));
        waiters.push(tokio::spawn(async move { server.send(&request).await }));
    }
    pause(300).await;
    cluster.nodes[0].kill();
    cluster.await_failover(0).await;
    for ((key, mut client), waiter) in keys.iter().zip(clients).zip(waiters) {
        let first = client.read().await;
        assert_eq!(first.status, 200);
        waiter.await.expect("an answer").is_replay_of_stored(&first);
        assert_eq!(ledger.starts(key), [1]);
    }
}

#[tokio::test]
async fn w10_an_answer_is_stored_although_a_node_of_the_cluster_is_killed_while_the_handler_runs() {
    let mut cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
    let server =
        Process::start(&cluster.url(), &["--lease-ms", "3000", "--store-timeout-ms", "2000"]);
    let keys: Vec<_> = (0..6).map(|number| format!("key-{number}")).collect();
    let mut clients = Vec::new();
    for key in &keys {
        let mut client = server.http().connect().await;
        client.write(slow(4000, key)).await;
        clients.push(client);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.nodes[0].kill();
    cluster.await_failover(0).await;
    for (key, client) in keys.iter().zip(&mut clients) {
        let first = client.read().await;
        assert_eq!(first.status, 200);
        until_settled(&server, &slow(4000, key)).await.is_replay_of_stored(&first);
    }
    assert_eq!(server.executions().await, 6);
}
