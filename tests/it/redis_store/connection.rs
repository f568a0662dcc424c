//! Connections that die, fall silent or take their time, and who notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tower_idempotency::protocol::{Claim, Ran, Reply};
use tower_idempotency::store::redis::Durability;
use tower_idempotency::store::{Effect, Error, ErrorKind, RedisStore, Store};

use super::{HOUR, WITHIN, attempt, complete, lapsing, now, response, slot, start, warm_up, wired};
use crate::support::dialect::Dialect;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::launch::Kind;
use crate::support::patience::wait_until;
use crate::support::redis::{RedisServer, shared};
use crate::support::replicated::replicated;

#[tokio::test]
async fn a_connection_that_died_while_idle_is_not_noticed() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    let claim = start(&store).await;
    warm_up(&store).await;
    server.command(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]).expect("connections are killed");
    let reply = store.begin(&attempt(slot()), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Started(_) | Reply::Mine(_))), "{reply:?}");
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
async fn w26_a_storm_of_claims_keeps_no_running_work_from_its_renewal_and_its_end() {
    let port = shared().port();
    let proxy = FaultProxy::to(Dialect::Redis, &[port]).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port(port));
    let store = Arc::new(RedisStore::connect(url).expect("a valid address"));
    let work = Work::begun(&store).await;
    // From now on a connection brings thirty replies a second.
    proxy.set(Fault::Slow(Duration::from_millis(30)));
    let (storm, answered) = storm(&store);
    // When the first is answered, all of them have been sent.
    wait_until("one is claimed", || answered.load(Ordering::Relaxed) > 0).await;
    work.ends(&store).await;
    let before = answered.load(Ordering::Relaxed);
    assert!(before < 100, "it waited for {before} claims");
    proxy.heal();
    let replies = storm.join_all().await;
    assert!(replies.iter().all(|reply| matches!(reply, Ok(Reply::Started(_)))), "{replies:?}");
}

#[tokio::test]
async fn w26_a_storm_of_claims_that_wait_for_a_replica_keeps_no_running_work_from_its_end() {
    let (master, replica) = replicated(Kind::Redis);
    let store = Arc::new(master.store().durability(Durability::replicas(1)));
    let work = Work::begun(&store).await;
    replica.pause();
    let (storm, answered) = storm(&store);
    wait_until("some wait", || blocked(&master) > 0).await;
    work.ends(&store).await;
    assert_eq!(answered.load(Ordering::Relaxed), 0, "it waited as well");
    replica.resume();
    let replies = storm.join_all().await;
    assert!(replies.iter().all(|reply| matches!(reply, Ok(Reply::Started(_)))), "{replies:?}");
}

/// Two hundred claims at once, and how many of them are answered.
fn storm(store: &Arc<RedisStore>) -> (JoinSet<Result<Reply, Error>>, Arc<AtomicUsize>) {
    let (mut storm, answered) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..200 {
        let (store, answered) = (Arc::clone(store), Arc::clone(&answered));
        storm.spawn(async move {
            let reply = store.begin(&attempt(slot()), WITHIN).await;
            answered.fetch_add(1, Ordering::Relaxed);
            reply
        });
    }
    (storm, answered)
}

/// Work that waits for its end, one piece for each way to end.
struct Work {
    running: Claim,
    freed: Claim,
    abandoned: Claim,
}

impl Work {
    async fn begun(store: &RedisStore) -> Self {
        // The connection is made and the scripts are known.
        warm_up(store).await;
        let (running, freed) = (start(store).await, start(store).await);
        Self { running, freed, abandoned: lapsing(store).await }
    }

    async fn ends(&self, store: &RedisStore) {
        let (slot, fence) = (self.abandoned.attempt().slot, self.abandoned.grant().fence);
        let ends = [
            store.renew(&self.running, WITHIN).await,
            store.complete(&self.running, &response("done"), WITHIN).await,
            store.release(self.freed.attempt(), Ran::Maybe, HOUR, WITHIN).await,
            store.resolve(slot, fence, &response("known"), HOUR, WITHIN).await,
        ];
        assert!(ends.iter().all(|end| matches!(end, Ok(Reply::Applied))), "{ends:?}");
    }
}

/// How many connections of a server wait for something.
fn blocked(server: &RedisServer) -> usize {
    let clients: String = server.query("INFO clients").expect("it answers");
    let line = clients.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.parse().ok()).expect("a number")
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

#[tokio::test]
async fn a_silent_connection_is_replaced_however_short_the_time_of_a_call() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    wire.mute();
    let short = Duration::from_millis(40);
    let error = store.begin(&attempt(slot()), short).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    let claim = soon(async || {
        let attempt = attempt(slot());
        match store.begin(&attempt, short).await? {
            Reply::Started(grant) => Ok(attempt.claim(grant)),
            reply => panic!("begin gave {reply:?}"),
        }
    })
    .await;
    let error = store.renew(&claim, short).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    let reply = soon(async || store.renew(&claim, short).await).await;
    assert_eq!(reply, Reply::Applied);
}

#[test]
fn a_runtime_that_stands_still_while_connecting_does_not_stop_the_others() {
    let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (still, moving) = (runtime(), runtime());
    let store = shared().store().connect_timeout(Duration::from_millis(200));
    let one = attempt(slot());
    // Polled once, it has handed the connecting to this runtime, which then never runs again.
    let begun = still.block_on(async { store.begin(&one, WITHIN).now_or_never() });
    assert!(begun.is_none(), "begin waits for the connection, not {begun:?}");
    let reply = moving.block_on(store.begin(&attempt(slot()), WITHIN));
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    drop(still);
}

#[tokio::test]
async fn there_are_as_many_connections_as_were_asked_for() {
    let server = RedisServer::start(&[]);
    let connections = || {
        let list: String = server.query("CLIENT LIST TYPE normal").expect("it answers");
        list.lines().count() - 1 // This one.
    };
    for (asked, expected) in [(0, 1), (1, 1), (3, 3)] {
        let store = server.store().connections(asked);
        assert_eq!(connections(), 0, "they are made when they are needed");
        let mut claims = Vec::new();
        for _ in 0..64 {
            claims.push(start(&store).await);
        }
        assert_eq!(connections(), expected, "for new requests");
        for claim in &claims {
            complete(&store, claim, "done").await;
        }
        assert_eq!(connections(), 2 * expected, "and for finishing work");
        drop(store);
        wait_until("they are closed", || connections() == 0).await;
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_knocked_at_less_and_less_often() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("redis://{}", closed.local_addr().expect("its address"));
    let knocks = tokio::spawn(async move {
        let mut knocks = 0;
        let all = async {
            while closed.accept().await.is_ok() {
                knocks += 1;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(1600), all).await;
        knocks
    });
    let store = RedisStore::connect(url).expect("a valid address");
    while !knocks.is_finished() {
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::None));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // After 50, 100, 200, and then 400 ms, each of them up to a quarter shorter.
    let knocks = knocks.await.expect("it counts");
    assert!((2..=8).contains(&knocks), "{knocks} attempts");
}

/// What it gives once it succeeds; it has to within a second.
async fn soon<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
    let since = now();
    loop {
        match call().await {
            Ok(given) => return given,
            Err(error) => assert!(now() - since < Duration::from_secs(1), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_call_may_take_all_the_time_there_is() {
    let (master, _replica) = replicated(Kind::Redis);
    for durability in [Durability::local(), Durability::replicas(1)] {
        let (store, attempt) = (master.store().durability(durability), attempt(slot()));
        let reply = store.begin(&attempt, Duration::MAX).await;
        let Ok(Reply::Started(grant)) = reply else { panic!("begin gave {reply:?}") };
        let (claim, outcome) = (attempt.claim(grant), response("done"));
        let reply = store.renew(&claim, Duration::MAX).await;
        assert_eq!(reply.expect("renew"), Reply::Applied);
        let reply = store.complete(&claim, &outcome, Duration::MAX).await;
        assert_eq!(reply.expect("complete"), Reply::Applied);
    }
}
