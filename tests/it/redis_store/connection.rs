//! Connections that die, fall silent or take their time, and who notices.

use std::time::Duration;

use tower_idempotency::protocol::{Found, Reply};
use tower_idempotency::store::{Effect, ErrorKind, Store};

use super::{WITHIN, attempt, complete, slot, start, warm_up, wired};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_connection_that_died_while_idle_is_not_noticed() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    let claim = start(&store).await;
    warm_up(&store).await;
    server.command(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]).expect("connections are killed");
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
    complete(&store, &claim, "done").await;
}

#[tokio::test]
async fn a_crowd_waits_for_one_connection() {
    let (wire, store) = wired().await;
    let begins = (0..200).map(|_| async { store.begin(&attempt(slot()), WITHIN).await });
    for reply in futures_util::future::join_all(begins).await {
        assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    }
    assert_eq!(wire.commands().iter().filter(|name| *name == "TIME").count(), 1);
}

#[tokio::test]
async fn work_that_was_given_up_on_while_connecting_was_never_sent() {
    let server = RedisServer::start(&[]);
    server.pause();
    let store = server.store();
    let error = store.begin(&attempt(slot()), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::None));
    server.resume();
}
