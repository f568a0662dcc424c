//! Servers that cannot take work: full, a replica, busy with a script, still loading.

use std::time::Duration;

use tower_idempotency::protocol::{Attempt, Found, Ran, Reply, TakeOver};
use tower_idempotency::store::{Effect, ErrorKind, Store};

use super::{HOUR, WITHIN, attempt, begin_one, complete, lapsing, replayed, response, slot, start};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_full_redis_refuses_new_keys_answers_old_ones_and_lets_running_work_finish() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let store = server.store();
    let (completed, running) = (start(&store).await, start(&store).await);
    let (released, abandoned) = (start(&store).await, lapsing(&store).await);
    complete(&store, &completed, &"x".repeat(5000)).await;
    let filler = vec![b'x'; 64 << 10];
    for name in 0..40_u8 {
        server.command(&[b"SET", &[name], &filler]).expect("there is room");
    }
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"2mb"]).expect("the limit is set");

    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Full, Effect::None));
    let reply = store.begin(&attempt(completed.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response(&"x".repeat(5000)));
    let reply = store.begin(&attempt(running.attempt().slot), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
    let reply = store.begin(running.attempt(), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
    let rerun = Attempt { take_over: TakeOver::Below(5), ..attempt(abandoned.attempt().slot) };
    let error = store.begin(&rerun, WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "a take-over is new work");

    assert_eq!(store.renew(&running, WITHIN).await.expect("renew"), Reply::Applied);
    complete(&store, &running, "done").await;
    let reply = store.release(released.attempt(), Ran::No, HOUR, WITHIN).await;
    assert_eq!(reply.expect("release"), Reply::Applied);
    let (slot, fence) = (abandoned.attempt().slot, abandoned.grant().fence);
    let reply = store.resolve(slot, fence, &response("operator"), HOUR, WITHIN).await;
    assert_eq!(reply.expect("resolve"), Reply::Applied);
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_a_master_again() {
    let (master, server) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let store = server.store();
    let claim = start(&store).await;
    let port = master.port().to_string();
    server.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).expect("it is a replica");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ReadOnly, Effect::None));
    let error = store.complete(&claim, &response("done"), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ReadOnly, Effect::None));
    server.command(&[b"REPLICAOF", b"NO", b"ONE"]).expect("it is a master");
    begin_one(&store).await;
    // The copy from the empty master may have removed the record: then it is put back.
    complete(&store, &claim, "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_busy_with_a_script_is_not_ready() {
    let server = RedisServer::start(&["--busy-reply-threshold", "20"]);
    let store = server.store();
    begin_one(&store).await;
    std::thread::scope(|scope| {
        // It ends when it is killed below.
        scope.spawn(|| server.command(&[b"EVAL", b"while true do end", b"0"]));
        let begun = tokio::task::block_in_place(|| {
            std::thread::sleep(Duration::from_millis(200));
            tokio::runtime::Handle::current().block_on(store.begin(&attempt(slot()), WITHIN))
        });
        let killed = server.command(&[b"SCRIPT", b"KILL"]);
        let error = begun.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
        killed.expect("the script is killed");
    });
    begin_one(&store).await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_not_ready_and_then_is_at_once() {
    let mut server = RedisServer::start(&[]);
    let store = server.store();
    for _ in 0..30 {
        begin_one(&store).await;
    }
    server.command(&[b"SAVE"]).expect("the data is saved");
    server.restart_slowly(Duration::from_millis(20));
    let error = loop {
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        if error.kind() != ErrorKind::Unreachable {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
    server.wait();
    begin_one(&store).await;
}
