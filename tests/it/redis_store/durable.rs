//! Claims that wait for replicas: what counts, what falls short, and what a fail-over loses.

use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use tower_idempotency::protocol::{Attempt, Found, Ran, Reply, TakeOver};
use tower_idempotency::store::redis::Durability;
use tower_idempotency::store::{Effect, Error, ErrorKind, RedisStore, Store};

use super::{
    DURABLE, HOUR, WITHIN, attempt, complete, key, replayed, response, slot, start, warm_up,
};
use crate::support::launch::Kind;
use crate::support::redis::RedisServer;
use crate::support::replicated::replicated;
use crate::support::wire::{Loss, Wire};

/// Long enough for a wait to fall short in it.
const SHORT: Duration = Duration::from_secs(1);

fn one() -> Durability {
    Durability::replicas(1)
}

/// Makes the server a replica of nobody.
fn cut_off(server: &RedisServer) {
    server.command(&[b"REPLICAOF", b"127.0.0.1", b"1"]).expect("it has another master");
}

fn promote(replica: &RedisServer) {
    replica.command(&[b"REPLICAOF", b"NO", b"ONE"]).expect("it is the master");
}

fn fell_short(reply: Result<Reply, Error>) {
    let error = reply.expect_err("it fell short");
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::NotDurable, Effect::Unknown),
        "{error:?}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_claim_that_counts_is_on_the_replica() {
    let (master, replica) = replicated(Kind::Redis);
    let store = master.store().durability(one());
    for _ in 0..20 {
        let claim = start(&store).await;
        let exists = replica.command(&[b"EXISTS", &key("idempotency", claim.attempt().slot)]);
        assert_eq!(exists, Ok(Value::Int(1)));
    }
}

#[tokio::test]
async fn a_claim_without_enough_replicas_does_not_count_and_can_be_cancelled() {
    let (master, replica) = replicated(Kind::Redis);
    let (store, attempt) = (master.store().durability(one()), attempt(slot()));
    warm_up(&store).await;
    replica.pause();
    fell_short(store.begin(&attempt, SHORT).await);
    let released = store.release(&attempt, Ran::No, HOUR, WITHIN).await;
    assert_eq!(released.expect("release"), Reply::Applied);
    replica.resume();
    let reply = store.begin(&super::attempt(attempt.slot), WITHIN).await;
    assert!(matches!(&reply, Ok(Reply::Started(grant)) if grant.number == 1), "{reply:?}");

    let none = RedisServer::start(&[]);
    warm_up(&none.store()).await;
    fell_short(none.store().durability(one()).begin(&super::attempt(slot()), SHORT).await);
}

#[tokio::test]
async fn a_master_that_is_demoted_while_a_claim_waits_ends_the_wait() {
    let (master, replica) = replicated(Kind::Redis);
    let store = master.store().durability(one());
    warm_up(&store).await;
    replica.pause();
    let demoted = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cut_off(&master);
    };
    let attempt = attempt(slot());
    let (reply, ()) = tokio::join!(store.begin(&attempt, WITHIN), demoted);
    let error = reply.expect_err("it is no master");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::Unknown), "{error:?}");
}

#[tokio::test]
async fn a_take_over_without_enough_replicas_does_not_count() {
    let (master, replica) = replicated(Kind::Redis);
    let store = master.store().durability(one());
    let abandoned = super::lapsing(&store).await;
    replica.pause();
    let slot = abandoned.attempt().slot;
    let rerun = Attempt { take_over: TakeOver::Below(5), ..attempt(slot) };
    fell_short(store.begin(&rerun, SHORT).await);
    replica.resume();
    let reply = store.begin(&rerun, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
}

/// Redis 7 waits for all that the server has written so far, Valkey for what this connection has.
#[tokio::test]
async fn a_repeat_of_a_lost_begin_has_to_be_on_the_replica_too() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let (master, replica) = replicated(kind);
        let wire = Wire::to(master.port()).await;
        let store = RedisStore::connect(wire.url()).expect("a valid address").durability(one());
        warm_up(&store).await;
        replica.pause();
        wire.lose("EVALSHA", Loss::Close);
        let attempt = attempt(slot());
        // Its copy, on a connection that has written nothing yet, finds the claim.
        fell_short(store.begin(&attempt, SHORT).await);
        replica.resume();
        let reply = store.begin(&attempt, WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
    }
}

#[tokio::test]
async fn what_is_found_needs_no_replica() {
    let (master, replica) = replicated(Kind::Redis);
    let store = master.store().durability(one());
    let (done, large, running) = (start(&store).await, start(&store).await, start(&store).await);
    complete(&store, &done, "done").await;
    complete(&store, &large, &"x".repeat(5000)).await;
    replica.pause();
    let begin = |slot| {
        let store = &store;
        async move { store.begin(&attempt(slot), SHORT).await }
    };
    let (claimed, small, large_one, busy, seen) = tokio::join!(
        begin(slot()),
        begin(done.attempt().slot),
        begin(large.attempt().slot),
        begin(running.attempt().slot),
        store.look(running.attempt().slot, SHORT),
    );
    fell_short(claimed);
    assert_eq!(replayed(small), response("done"));
    assert_eq!(replayed(begin(done.attempt().slot).await), response("done"));
    assert_eq!(replayed(large_one), response(&"x".repeat(5000)));
    assert!(matches!(busy, Ok(Reply::Found(Found::Busy { .. }))), "{busy:?}");
    assert!(seen.expect("look answers").record.is_some());
    replica.resume();
}

#[tokio::test]
async fn a_crowd_of_begins_shares_its_waits() {
    let (master, _replica) = replicated(Kind::Redis);
    let wire = Wire::to(master.port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address").durability(one());
    warm_up(&store).await;
    wire.reset();
    let begins = (0..200).map(|_| async { store.begin(&attempt(slot()), WITHIN).await });
    for reply in join_all(begins).await {
        assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    }
    let count = |name: &str| wire.commands().iter().filter(|command| *command == name).count();
    assert_eq!(count("EVALSHA"), 200);
    assert!((1..=20).contains(&count("WAIT")), "{} waits", count("WAIT"));
}

#[tokio::test]
async fn one_begin_is_one_script_and_one_wait_and_a_completion_waits_for_nothing() {
    let (master, _replica) = replicated(Kind::Redis);
    let wire = Wire::to(master.port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address").durability(one());
    warm_up(&store).await;
    wire.reset();
    let claim = start(&store).await;
    assert_eq!(wire.commands(), ["EVALSHA", "WAIT"]);
    wire.reset();
    complete(&store, &claim, "done").await;
    assert_eq!(wire.commands(), ["EVALSHA"]);
}

#[tokio::test]
async fn callers_that_go_away_take_nobody_with_them() {
    let (master, _replica) = replicated(Kind::Redis);
    let store = master.store().durability(one());
    for round in 0..20 {
        let begins = (0..20).map(|number| {
            let store = &store;
            async move {
                let attempt = attempt(slot());
                let begin = store.begin(&attempt, WITHIN);
                if number % 2 == 0 {
                    let moment = Duration::from_micros(50 * round);
                    let _ = tokio::time::timeout(moment, begin).await;
                } else {
                    let reply = begin.await;
                    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
                }
            }
        });
        join_all(begins).await;
    }
}

#[test]
fn a_runtime_that_ends_with_a_group_under_way_does_not_stop_the_others() {
    let (master, replica) = replicated(Kind::Redis);
    let store = master.store().durability(one());
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (moving, ending) = (runtime(), runtime());
    moving.block_on(warm_up(&store));
    replica.pause();
    ending.block_on(async {
        let begun = tokio::time::timeout(SHORT / 4, store.begin(&attempt(slot()), WITHIN)).await;
        assert!(begun.is_err(), "begin waits for the replica, not {begun:?}");
    });
    drop(ending);
    replica.resume();
    let reply = moving.block_on(store.begin(&attempt(slot()), WITHIN));
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
}

/// The master goes on without its replica for a moment, is killed, and the replica takes its place:
/// how many claims counted, and how many of them are lost.
async fn lost_to_a_cut_off_master(durability: Durability) -> (usize, usize) {
    let (mut master, replica) = replicated(Kind::Redis);
    let store = master.store().durability(durability);
    let mut claims = Vec::new();
    for round in 0..6 {
        if round == 3 {
            cut_off(&replica);
        }
        let begins = (0..50).map(|_| {
            let store = &store;
            async move {
                let attempt = attempt(slot());
                let reply = store.begin(&attempt, SHORT).await;
                matches!(reply, Ok(Reply::Started(_))).then_some(attempt.slot)
            }
        });
        claims.extend(join_all(begins).await.into_iter().flatten());
    }
    master.kill();
    promote(&replica);
    let missing =
        |slot: &&_| replica.command(&[b"EXISTS", &key("idempotency", **slot)]) == Ok(Value::Int(0));
    (claims.len(), claims.iter().filter(missing).count())
}

#[tokio::test]
async fn no_claim_that_counts_is_lost_with_a_cut_off_master() {
    let (claims, lost) = lost_to_a_cut_off_master(Durability::local()).await;
    eprintln!("local: {lost} of {claims} acknowledged claims lost");
    assert_eq!((claims, lost), (300, 150));
    let (claims, lost) = lost_to_a_cut_off_master(one()).await;
    eprintln!("replicas(1): {lost} of {claims} acknowledged claims lost");
    assert_eq!((claims, lost), (150, 0));
}

#[tokio::test]
async fn a_server_that_cannot_wait_for_its_disk_refuses_and_says_what_to_do() {
    let server = RedisServer::start(DURABLE);
    let store = server.store().durability(Durability::local().on_disk());
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::Unknown));
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("7.2"), "{source}");
}

#[tokio::test]
async fn a_claim_can_wait_for_the_append_only_files() {
    let (master, replica) = replicated(Kind::Valkey);
    for server in [&master, &replica] {
        server.command(&[b"CONFIG", b"SET", b"appendfsync", b"always"]).expect("it is set");
    }
    let wire = Wire::to(master.port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address");
    let store = store.durability(one().on_disk());
    warm_up(&store).await;
    wire.reset();
    let _claim = start(&store).await;
    assert_eq!(wire.commands(), ["EVALSHA", "WAITAOF"]);
    replica.command(&[b"CONFIG", b"SET", b"appendonly", b"no"]).expect("it is set");
    fell_short(store.begin(&attempt(slot()), SHORT).await);

    let local = master.store().durability(Durability::local().on_disk());
    warm_up(&local).await;
    master.command(&[b"CONFIG", b"SET", b"appendonly", b"no"]).expect("it is set");
    let error = local.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::Unknown));
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("appendonly is disabled"), "{source}");
}
