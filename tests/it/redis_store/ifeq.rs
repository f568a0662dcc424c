//! Completing with one plain command, where the server can compare.

use std::time::Duration;

use redis::Value;
use tower_idempotency::protocol::{Attempt, Claim, Found, Ran, Reply, TakeOver};
use tower_idempotency::store::{Effect, ErrorKind, RedisStore, Store};

use super::{
    HOUR, WITHIN, attempt, claimed, complete, key, lapsing, replayed, response, slot, start,
    warm_up, wired,
};
use crate::support::redis::RedisServer;
use crate::support::wire::{Loss, Wire};

/// A Valkey behind a proxy, and a store that has used it.
async fn valkey() -> (RedisServer, Wire, RedisStore) {
    let server = RedisServer::start_valkey(&[]);
    let wire = Wire::to(server.port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address");
    warm_up(&store).await;
    // Renewed claims are what brings the script of complete there.
    let renewed = start(&store).await;
    assert_eq!(store.renew(&renewed, WITHIN).await.expect("renew"), Reply::Applied);
    complete(&store, &renewed, "warm").await;
    wire.reset();
    (server, wire, store)
}

async fn stored(store: &RedisStore, claim: &Claim) -> String {
    match replayed(store.begin(&attempt(claim.attempt().slot), WITHIN).await) {
        tower_idempotency::protocol::Outcome::Response { body, .. } => {
            String::from_utf8(body.into()).expect("text")
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_claim_that_nobody_touched_is_completed_with_one_plain_command() {
    let (server, wire, store) = valkey().await;
    for body in ["done", &"x".repeat(100_000)] {
        let claim = start(&store).await;
        wire.reset();
        complete(&store, &claim, body).await;
        assert_eq!((wire.commands(), wire.replies()), (vec!["SET".to_owned()], 1));
        let left = server.command(&[b"PTTL", &key("idempotency", claim.attempt().slot)]);
        let Ok(Value::Int(left)) = left else { panic!("{left:?}") };
        assert!((3_590_000..=3_600_000).contains(&left), "it expires with its retention: {left}");
        assert_eq!(stored(&store, &claim).await, body);
    }
}

#[tokio::test]
async fn the_claim_after_a_released_or_abandoned_one_is_too() {
    let (_server, wire, store) = valkey().await;
    let released = start(&store).await;
    let reply = store.release(released.attempt(), Ran::No, HOUR, WITHIN).await;
    assert_eq!(reply.expect("release"), Reply::Applied);
    let next = claimed(&store, attempt(released.attempt().slot)).await;
    let abandoned = lapsing(&store).await;
    let rerun = Attempt { take_over: TakeOver::Below(5), ..attempt(abandoned.attempt().slot) };
    let Ok(Reply::Reclaimed(grant)) = store.begin(&rerun, WITHIN).await else { panic!("taken") };
    for claim in [next, rerun.claim(grant)] {
        wire.reset();
        complete(&store, &claim, "done").await;
        assert_eq!(wire.commands(), ["SET"]);
    }
}

#[tokio::test]
async fn a_server_that_cannot_compare_is_tried_once_per_connection() {
    let (wire, store) = wired().await;
    let trials = || wire.commands().iter().filter(|command| *command == "SET").count();
    warm_up(&store).await;
    assert_eq!(trials(), 1);
    for _ in 0..3 {
        let claim = start(&store).await;
        wire.reset();
        complete(&store, &claim, "done").await;
        assert_eq!((wire.commands(), wire.replies()), (vec!["EVALSHA".to_owned()], 1));
        assert_eq!(stored(&store, &claim).await, "done");
    }
}

#[tokio::test]
async fn a_new_connection_tries_again_since_the_server_may_be_a_newer_one() {
    let server = RedisServer::start(&[]);
    let wire = Wire::to(server.port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address");
    warm_up(&store).await;
    server.command(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]).expect("connections are killed");
    // This one finds out that its connection is dead.
    complete(&store, &start(&store).await, "done").await;
    let claim = start(&store).await;
    wire.reset();
    complete(&store, &claim, "done").await;
    assert_eq!(wire.commands(), ["SET", "EVALSHA"]);
}

#[tokio::test]
async fn whatever_else_has_become_of_the_claim_is_left_to_the_script() {
    let (server, wire, store) = valkey().await;
    let in_two = ["SET", "EVALSHA"];

    let renewed = start(&store).await;
    assert_eq!(store.renew(&renewed, WITHIN).await.expect("renew"), Reply::Applied);
    wire.reset();
    complete(&store, &renewed, "renewed").await;
    assert_eq!(wire.commands(), in_two);
    assert_eq!(stored(&store, &renewed).await, "renewed");

    let lost = start(&store).await;
    server.command(&[b"DEL", &key("idempotency", lost.attempt().slot)]).expect("it is lost");
    wire.reset();
    complete(&store, &lost, "put back").await;
    assert_eq!(wire.commands(), in_two);
    assert_eq!(stored(&store, &lost).await, "put back");

    let completed = start(&store).await;
    complete(&store, &completed, "first").await;
    complete(&store, &completed, "second").await;
    assert_eq!(stored(&store, &completed).await, "first");

    let released = start(&store).await;
    let reply = store.release(released.attempt(), Ran::Maybe, HOUR, WITHIN).await;
    assert_eq!(reply.expect("release"), Reply::Applied);
    let reply = store.complete(&released, &response("late"), WITHIN).await;
    assert_eq!(reply.expect("complete"), Reply::Fenced(Found::Nothing));

    let fenced = lapsing(&store).await;
    let rerun = Attempt { take_over: TakeOver::Below(5), ..attempt(fenced.attempt().slot) };
    assert!(matches!(store.begin(&rerun, WITHIN).await, Ok(Reply::Reclaimed(_))));
    let reply = store.complete(&fenced, &response("late"), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Fenced(Found::Busy { .. }))), "{reply:?}");
}

#[tokio::test]
async fn a_completion_whose_reply_was_lost_is_recognised() {
    let (_server, wire, store) = valkey().await;
    let claim = start(&store).await;
    wire.reset();
    wire.lose("SET", Loss::Close);
    complete(&store, &claim, "done").await;
    assert_eq!(stored(&store, &claim).await, "done");

    let claim = start(&store).await;
    wire.lose("SET", Loss::Silence);
    let error =
        store.complete(&claim, &response("first"), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    complete(&store, &claim, "second").await;
    assert_eq!(stored(&store, &claim).await, "first");
}

#[tokio::test]
async fn a_full_valkey_lets_running_work_finish() {
    let (server, wire, store) = valkey().await;
    let claim = start(&store).await;
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).expect("the limit is set");
    wire.reset();
    complete(&store, &claim, "done").await;
    assert_eq!(wire.commands(), ["SET", "EVALSHA"]);
    assert_eq!(stored(&store, &claim).await, "done");
}

#[tokio::test]
async fn a_replica_and_a_foreign_value_are_refused_as_ever() {
    let (server, _wire, store) = valkey().await;
    let (claim, foreign) = (start(&store).await, attempt(slot()));
    server.command(&[b"RPUSH", &key("idempotency", foreign.slot), b"a"]).expect("a list");
    let foreign = foreign.claim(claim.grant());
    let error = store.complete(&foreign, &response("never"), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Corrupt, Effect::None));

    server.command(&[b"REPLICAOF", b"127.0.0.1", b"1"]).expect("it is a replica");
    let error = store.complete(&claim, &response("never"), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ReadOnly, Effect::None));
}
