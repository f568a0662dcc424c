//! Watching a slot: what it costs, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::protocol::{Attempt, FenceToken, Phase, Ran, Reply};
use tower_idempotency::store::{ErrorKind, RedisStore, Seen, Store};

use super::{
    HOUR, WITHIN, attempt, claimed, complete, count, end, key, replayed, response, runs, slot,
    start, watch,
};
use crate::support::patience::wait_until;
use crate::support::redis::RedisServer;
use crate::support::wire::Wire;

fn is_completed(seen: &Seen) -> bool {
    seen.record.as_ref().is_some_and(|record| matches!(record.phase, Phase::Completed { .. }))
}

/// Waits until a slot is watched: it has been looked at, and Redis will tell.
async fn is_watched(server: &RedisServer, looks: usize) {
    wait_until("somebody has looked", || runs(server, "pttl") == looks).await;
}

/// A private server, a store that watches and another that changes things.
fn pair() -> (RedisServer, Arc<RedisStore>, RedisStore) {
    let server = RedisServer::start(&[]);
    let (watching, other) = (server.store().into(), server.store());
    (server, watching, other)
}

#[tokio::test]
async fn however_many_watch_a_slot_they_look_at_it_twice() {
    let (server, store, other) = pair();
    let claim = start(&other).await;
    let watches: Vec<_> = (0..250).map(|_| watch(&store, &claim)).collect();
    is_watched(&server, 1).await;
    complete(&other, &claim, "done").await;
    for watch in watches {
        assert!(is_completed(&end(watch).await));
    }
    let commands = ["get", "pttl", "client|tracking", "hello", "publish"];
    assert_eq!(commands.map(|command| runs(&server, command)), [2, 2, 1, 1, 0]);
}

#[tokio::test]
async fn whatever_ends_a_claim_ends_its_watch() {
    let (server, store, other) = pair();
    for (number, what) in ["complete", "release", "DEL", "FLUSHALL", "PEXPIRE"].iter().enumerate() {
        let claim = start(&other).await;
        let watch = watch(&store, &claim);
        is_watched(&server, 2 * number + 1).await;
        let slot = claim.attempt().slot;
        let key = key("idempotency", slot);
        match *what {
            "complete" => complete(&other, &claim, "done").await,
            "release" => {
                let reply = other.release(claim.attempt(), Ran::No, HOUR, WITHIN).await;
                assert_eq!(reply.expect("release"), Reply::Applied);
            }
            "PEXPIRE" => _ = server.command(&[b"PEXPIRE", &key, b"1"]).expect("it is told"),
            "DEL" => _ = server.command(&[b"DEL", &key]).expect("it is told"),
            command => _ = server.command(&[command.as_bytes()]).expect("it is told"),
        }
        let seen = end(watch).await;
        assert_eq!(seen.running(claim.grant().fence), None, "{what}: {seen:?}");
        let there = seen.record.is_some();
        assert_eq!(there, matches!(*what, "complete" | "release"), "{what}: {seen:?}");
        // One look before it, one after it, and none that came by chance. Whether there is one
        // between the command and the expiry does not matter.
        let looks = runs(&server, "pttl") - 2 * number;
        assert!(looks == 2 || *what == "PEXPIRE", "{looks} looks around {what}");
    }
}

#[tokio::test]
async fn a_claim_that_is_renewed_is_watched_on() {
    let (server, store, other) = pair();
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    for renewals in 0..3 {
        is_watched(&server, renewals + 1).await;
        let reply = other.renew(&claim, WITHIN).await;
        assert_eq!(reply.expect("renew"), Reply::Applied);
    }
    is_watched(&server, 4).await;
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(watch).await));
    assert_eq!(runs(&server, "pttl"), 5);
}

#[tokio::test]
async fn what_is_no_record_any_more_ends_a_watch() {
    let (server, store, other) = pair();
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    is_watched(&server, 1).await;
    server.command(&[b"SET", &key("idempotency", claim.attempt().slot), b"foreign"]).expect("set");
    let error = watch.await.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_and_when_the_lease_is() {
    let (_server, store, other) = pair();
    let claim = start(&other).await;
    let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
    let seen = store.watch(slot, fence, Duration::from_millis(30)).await.expect("it looks");
    assert!(seen.running(fence).is_some(), "{seen:?}");

    let lease = Duration::from_millis(100);
    let claim = claimed(&other, Attempt { lease, ..attempt(self::slot()) }).await;
    let seen = end(watch(&store, &claim)).await;
    assert_eq!(seen.running(claim.grant().fence), None);
    assert!(matches!(seen.record.expect("it is there").phase, Phase::InProgress { .. }));
}

#[tokio::test]
async fn a_watch_of_what_is_not_running_ends_at_once() {
    let (server, store, other) = pair();
    let claim = start(&other).await;
    let first = watch(&store, &claim);
    is_watched(&server, 1).await;
    // Somebody watches this slot already, and what that one has found says nothing of this claim.
    let unknown = FenceToken::from_number(7);
    let seen = store.watch(claim.attempt().slot, unknown, WITHIN).await.expect("it looks");
    assert!(seen.running(claim.grant().fence).is_some());
    assert_eq!(runs(&server, "pttl"), 2);
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(first).await));
    assert_eq!(store.watch(slot(), unknown, WITHIN).await.expect("it looks").record, None);
}

#[tokio::test]
async fn a_watch_survives_its_connection() {
    let (mut server, store, other) = pair();
    let claim = start(&other).await;
    let first = watch(&store, &claim);
    is_watched(&server, 1).await;
    server.command(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]).expect("connections are killed");
    wait_until("it looks again", || runs(&server, "pttl") >= 2).await;
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(first).await));

    // The record goes with the server.
    let claim = start(&other).await;
    let second = watch(&store, &claim);
    wait_until("it looks", || runs(&server, "hello") >= 2).await;
    server.kill();
    server.restart();
    assert_eq!(end(second).await.record, None);
}

#[tokio::test]
async fn a_watch_survives_a_connection_that_falls_silent() {
    let server = RedisServer::start(&[]);
    let wire = Wire::to(server.port()).await;
    let store = Arc::new(RedisStore::connect(wire.url()).expect("a valid address"));
    let other = server.store();
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    is_watched(&server, 1).await;
    wire.mute();
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(watch).await));
}

#[tokio::test]
async fn where_nothing_is_notified_it_is_looked_at_now_and_then() {
    let server = RedisServer::start(&[]);
    let refused = "ACL SETUSER default -client|tracking";
    server.query::<()>(refused).expect("the right is taken away");
    let (store, other) = (Arc::new(server.store()), server.store());
    for number in 1..=2 {
        let claim = start(&other).await;
        let watch = watch(&store, &claim);
        wait_until("it has looked twice", || runs(&server, "pttl") >= 2 * number).await;
        complete(&other, &claim, "done").await;
        assert!(is_completed(&end(watch).await));
    }
    let asked = count(&server, "client|tracking", "rejected_calls");
    assert_eq!(asked, 1, "it was asked for once, and not again so soon");
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind() {
    let (server, store, other) = pair();
    let connections = || {
        let list: String = server.query("CLIENT LIST TYPE normal").expect("it answers");
        list.lines().count() - 1
    };
    let claim = start(&other).await;
    drop(start(&store).await);
    assert_eq!(connections(), 2, "nobody watches, and there is no connection for it");
    let watch = watch(&store, &claim);
    is_watched(&server, 1).await;
    watch.abort();
    assert!(watch.await.is_err());
    for _ in 0..5 {
        other.renew(&claim, WITHIN).await.expect("renew");
    }
    complete(&other, &claim, "done").await;
    let reply = other.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
    assert_eq!(runs(&server, "pttl"), 1, "nobody has looked again");
}
