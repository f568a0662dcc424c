//! A storm of new requests that holds everything which claims wait for.

use crate::support::app::{eventually, pause};
use crate::support::http::Server;
use crate::support::launch::Kind;
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::replicated::replicated;

#[tokio::test]
async fn w26_claims_that_wait_for_a_replica_do_not_hold_up_who_runs() {
    let (master, replica) = replicated(Kind::Redis);
    let ledger = Ledger::new();
    // A claim may wait for longer than a lease.
    let common = ["--lease-ms", "900", "--store-timeout-ms", "2000", "--ledger", ledger.path()];
    let waits = ["--durability", "replicas:1", "--connections", "1"];
    let server = Process::start(&master.url(), &[&common[..], &waits].concat());
    let other = Process::start(&master.url(), &common);
    let mut client = server.http().connect().await;
    client.write(slow(3000, "k")).await;
    eventually(|| ledger.starts("k") == [1]).await;

    replica.pause();
    let storm: Vec<_> =
        (0..50).map(|number| tokio::spawn(refused(server.http(), number))).collect();
    // Longer than a lease, which only renewals in the midst of the storm can keep alive.
    for _ in 0..20 {
        other.send(&slow(3000, "k")).await.is_refused(409, "in-progress");
        pause(100).await;
    }
    let answer = client.read().await;
    assert_eq!((answer.status, answer.header("idempotency-status")), (200, None), "it is stored");
    other.send(&slow(3000, "k")).await.is_replay_of(&answer);
    for client in storm {
        client.await.expect("they were all refused");
    }
    assert!(ledger.starts("new-0").is_empty(), "what did not count did not run");

    replica.resume();
    assert_eq!(until_settled(&server, &slow(1, "new-0")).await.status, 200);
    assert_eq!(ledger.starts("k"), [1]);
}

/// One of a storm: two new keys, one after the other.
async fn refused(server: Server, number: usize) {
    for round in 0..2 {
        let answer = server.send(&slow(1, &format!("new-{}", number + 50 * round))).await;
        answer.is_refused(503, "store-unavailable");
    }
}
