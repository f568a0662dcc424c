//! Replies of Redis that never arrive.

use tower_idempotency::store::Operation;

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, eventually, layer, pause};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;
use crate::support::process::{Process, slow};
use crate::support::redis::shared;
use crate::support::wire::{Loss, Wire};

async fn server() -> (Process, Wire) {
    let wire = Wire::to(shared().port()).await;
    let prefix = uuid::Uuid::new_v4().to_string();
    let flags = ["--prefix", prefix.as_str(), "--store-timeout-ms", "600"];
    let server = Process::start(&wire.url(), &flags);
    assert_eq!(server.send(&slow(1, "warm")).await.status, 200);
    (server, wire)
}

#[tokio::test]
async fn w06_a_begin_whose_reply_is_lost_recognises_its_own_claim() {
    let (server, wire) = server().await;
    wire.lose("EVALSHA", Loss::Close);
    let first = server.send(&slow(1, "k")).await;
    assert_eq!((first.status, first.is_replay()), (200, false));
    server.send(&slow(1, "k")).await.is_replay_of(&first);
    assert_eq!(server.executions().await, 2, "with the one that warmed up");
}

#[tokio::test]
async fn w06_a_begin_whose_reply_never_comes_is_cancelled() {
    let (server, wire) = server().await;
    wire.lose("EVALSHA", Loss::Silence);
    server.send(&slow(1, "k")).await.is_refused(503, "store-unavailable");
    server.send(&slow(1, "k")).await.is_refused(409, "in-progress");
    pause(1500).await;
    let first = server.send(&slow(1, "k")).await;
    assert_eq!((first.status, first.is_replay()), (200, false));
    assert_eq!(server.executions().await, 2, "with the one that warmed up");
}

#[tokio::test]
async fn w08_a_complete_whose_reply_is_lost_is_complete() {
    for loss in [Loss::Close, Loss::Silence] {
        let (server, wire) = server().await;
        let mut client = server.http().connect().await;
        client.write(slow(300, "k")).await;
        pause(150).await;
        wire.lose("EVALSHA", loss);
        let first = client.read().await;
        assert_eq!(first.status, 200, "{loss:?}");
        let replay = server.send(&slow(300, "k")).await;
        assert_eq!((replay.is_replay(), &replay.body), (true, &first.body), "{loss:?}");
        assert_eq!(server.executions().await, 2, "with the one that warmed up");
    }
}

async fn w06_a_refused_attempt_cancels_the_copy_of_its_begin_that_was_lost(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let owner = App::start(layer(&store).build().expect("valid"), async |_| pause(500).await).await;
    let other = App::counting(layer(&faulty).build().expect("valid")).await;
    let mut first = owner.server.connect().await;
    first.write(keyed("k")).await;
    eventually(|| owner.runs() == 1).await;
    faulty.fault(Operation::Begin, Fault::LosesReply);
    let refused = tokio::spawn({
        let other = other.clone();
        async move { other.send(keyed("k")).await }
    });
    eventually(|| faulty.calls(Operation::Begin) > 0).await;
    faulty.recover();
    refused.await.expect("an answer").is_refused(409, "in-progress");
    eventually(|| faulty.calls(Operation::Release) > 0).await;
    assert_eq!(first.read().await.status, 200);
    assert!(other.send(keyed("k")).await.is_replay());
}

on_every_store!(w06_a_refused_attempt_cancels_the_copy_of_its_begin_that_was_lost);
