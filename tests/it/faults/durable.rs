//! Claims that wait for a replica: one that does not answer, and one that takes over.

use std::sync::Arc;

use tower_idempotency::store::redis::Durability;

use crate::support::app::{App, eventually, layer};
use crate::support::http::{Answer, post};
use crate::support::launch::Kind;
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::replicated::replicated;

#[tokio::test]
async fn w10_a_claim_that_the_replica_lacks_is_refused_and_its_key_is_free_afterwards() {
    let (master, replica) = replicated(Kind::Redis);
    let store = Arc::new(master.store().durability(Durability::replicas(1)));
    let app = App::counting(layer(&store).build().expect("a valid layer")).await;
    let before = app.send(post("/charges").key("before")).await;
    assert_eq!(before.status, 200);
    replica.pause();
    let refused = app.send(post("/charges").key("k")).await;
    refused.is_refused(503, "store-unavailable");
    assert_eq!(app.runs(), 1, "it was not run");
    app.send(post("/charges").key("before")).await.is_replay_of(&before);
    replica.resume();
    let run = app.settled(post("/charges").key("k")).await;
    assert_eq!((run.status, app.runs()), (200, 2));
    app.send(post("/charges").key("k")).await.is_replay_of(&run);
}

/// A fail-over to a replica that has the claim and not the answer: who asks for it there.
async fn after_the_answer_was_lost(guarantee: &str) -> (Ledger, Answer) {
    let (mut master, replica) = replicated(Kind::Redis);
    let ledger = Ledger::new();
    let flags = ["--lease-ms", "900", "--ledger", ledger.path(), "--guarantee", guarantee];
    let flags = [&flags[..], &["--durability", "replicas:1"]].concat();
    let server = Process::start(&master.url(), &flags);
    let mut client = server.http().connect().await;
    client.write(slow(500, "k")).await;
    eventually(|| ledger.starts("k") == [1]).await;
    replica.command(&[b"REPLICAOF", b"NO", b"ONE"]).expect("it is the master");
    let answer = client.read().await;
    assert_eq!((answer.status, answer.header("idempotency-status")), (200, None), "it is stored");
    master.kill();
    drop(server);
    // Nobody waits for replicas of the new master: it has none.
    let survivor = Process::start(&replica.url(), &flags[..6]);
    let again = until_settled(&survivor, &slow(500, "k")).await;
    (ledger, again)
}

#[tokio::test]
async fn w11_a_fail_over_that_loses_an_answer_makes_it_unknown_at_most_once() {
    let (ledger, again) = after_the_answer_was_lost("at-most-once").await;
    again.is_refused(409, "outcome-unknown");
    assert_eq!(ledger.starts("k"), [1]);
}

#[tokio::test]
async fn w11_a_fail_over_that_loses_an_answer_runs_again_with_a_larger_token_at_least_once() {
    let (ledger, again) = after_the_answer_was_lost("at-least-once").await;
    assert_eq!((again.status, again.is_replay()), (200, false));
    assert_eq!(ledger.starts("k"), [1, 2]);
    assert!(ledger.fences("k").is_sorted_by(|one, next| one < next));
}
