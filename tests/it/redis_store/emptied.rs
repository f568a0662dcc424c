//! A Redis that has lost everything, and who notices.

use std::time::Duration;

use redis::Value;
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::redis::{Concern, Emptied};
use tower_idempotency::store::{Effect, ErrorKind, RedisStore, Store};

use super::{DURABLE, WITHIN, attempt, begin_one, now, slot, warm_up, wired};
use crate::support::redis::RedisServer;

const CANARY: &[u8] = b"idempotency:canary";

/// A store that has used its Redis and seen the canary there.
async fn used(server: &RedisServer) -> RedisStore {
    let store = server.store();
    begin_one(&store).await;
    while server.command(&[b"EXISTS", CANARY]) != Ok(Value::Int(1)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!reports_it(&store).await);
    store
}

async fn reports_it(store: &RedisStore) -> bool {
    let report = store.verify().await.expect("the server is asked");
    let concern = report.concerns().any(|concern| *concern == Concern::Emptied);
    assert_eq!(report.to_string().contains("Redis was emptied"), concern, "{report}");
    concern
}

/// Whether it notices within some seconds of requests.
async fn notices(store: &RedisStore) -> bool {
    let since = now();
    while now() - since < Duration::from_secs(5) {
        let _ = store.begin(&attempt(slot()), WITHIN).await;
        if reports_it(store).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn w20_an_emptied_redis_is_reported_and_used_on() {
    let server = RedisServer::start(&[]);
    let store = used(&server).await;
    server.command(&[b"FLUSHALL"]).expect("it is emptied");
    assert!(notices(&store).await);
    begin_one(&store).await;
    assert!(store.require_safe().await.is_err());
}

#[tokio::test]
async fn w20_an_emptied_redis_is_refused_until_that_is_acknowledged_if_so_chosen() {
    let server = RedisServer::start(&[]);
    let store = used(&server).await.when_emptied(Emptied::Refuse);
    for _ in 0..2 {
        begin_one(&store).await;
        server.command(&[b"FLUSHALL"]).expect("it is emptied");
        assert!(notices(&store).await);
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
        assert!(!error.is_transient());
        store.acknowledge_emptied();
        assert!(!reports_it(&store).await);
    }
    begin_one(&store).await;
}

#[tokio::test]
async fn w20_a_restart_without_its_data_is_noticed_and_one_with_it_is_not() {
    let always = [DURABLE, &["--appendfsync", "always"]].concat();
    for (options, emptied) in [(&[][..], true), (&always, false)] {
        let mut server = RedisServer::start(options);
        let store = used(&server).await;
        server.kill();
        server.restart();
        assert_eq!(notices(&store).await, emptied);
    }
}

#[tokio::test]
async fn w20_an_emptied_redis_that_another_process_uses_again_is_noticed() {
    let server = RedisServer::start(&[]);
    let store = used(&server).await;
    server.command(&[b"FLUSHALL"]).expect("it is emptied");
    let other = used(&server).await;
    assert!(notices(&store).await);
    assert!(!reports_it(&other).await, "it cannot know");
}

#[tokio::test]
async fn the_canary_is_looked_for_once_on_a_connection_and_then_now_and_then() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    for _ in 0..200 {
        begin_one(&store).await;
    }
    let canaries = wire.canaries();
    assert!((1..=4).contains(&canaries), "{canaries} looks");
    let reply = store.begin(&attempt(slot()), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
}
