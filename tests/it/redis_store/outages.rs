//! A server that goes away and comes back, and calls that were given up on meanwhile.

use std::time::Duration;

use redis::Value;
use tower_idempotency::protocol::{Found, Reply};
use tower_idempotency::store::{Effect, ErrorKind, Store};

use super::{
    WITHIN, attempt, begin_one, complete, key, now, replayed, response, slot, start, warm_up, wired,
};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_script_flush_is_survived() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    let claim = start(&store).await;
    server.command(&[b"SCRIPT", b"FLUSH"]).expect("scripts are flushed");
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn a_restart_between_begin_and_complete_loses_nothing() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = server.store();
    let claim = start(&store).await;
    server.kill();
    server.restart();
    let retry = attempt(claim.attempt().slot);
    // What was sent on the broken connection might still be read, for all that the store can know.
    let error = store.begin(&retry, WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown));
    let reply = store.begin(&retry, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn a_store_can_be_made_and_refuse_while_redis_is_down_and_recovers_within_a_second() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let store = server.store();
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::None));
    assert!(error.is_transient());
    for _ in 0..2 {
        server.restart();
        let back = now();
        while let Err(error) = store.begin(&attempt(slot()), Duration::from_millis(500)).await {
            assert!(now() - back < Duration::from_secs(1), "{error:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        warm_up(&store).await;
        server.kill();
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn a_begin_that_was_given_up_on_does_not_land_later() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    warm_up(&store).await;
    server.pause();
    let within = Duration::from_millis(200);
    let (attempt, started) = (attempt(slot()), now());
    let error = store.begin(&attempt, within).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    assert!(now() - started < within * 3, "the call is over when its time is over");
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.resume();
    let seen = store.look(attempt.slot, WITHIN).await.expect("look answers");
    assert_eq!(seen.record, None);
    let keys = server.command(&[b"EXISTS", &key("idempotency", attempt.slot)]);
    assert_eq!(keys, Ok(Value::Int(0)));
}

#[tokio::test]
async fn a_clock_that_was_set_forward_costs_one_repetition() {
    let (wire, store) = wired().await;
    wire.set_back(Duration::from_secs(86_400));
    begin_one(&store).await;
    let scripts = wire.commands().iter().filter(|name| name.starts_with("EVAL")).count();
    assert!(scripts >= 2, "the first copy is late: {:?}", wire.commands());
    wire.reset();
    begin_one(&store).await;
    assert_eq!(wire.commands(), ["EVALSHA"], "the time is known now");
}
