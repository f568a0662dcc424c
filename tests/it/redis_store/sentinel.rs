//! A master that Sentinels name: it dies, is demoted, or does not know that it has a successor.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis::ConnectionAddr;
use redis::sentinel::SentinelClientBuilder;
use redis::sentinel::SentinelServerType;
use tokio::runtime::Builder;
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::{ErrorKind, RedisStore, Store};

use super::{WITHIN, attempt, complete, end, now, replayed, response, slot, start, watch};
use crate::support::launch::Kind;
use crate::support::redis::RedisServer;
use crate::support::sentinel::{NAME, SentinelTrio};

/// The time that a call of the layer has.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

fn by_address(trio: &SentinelTrio) -> RedisStore {
    RedisStore::connect(trio.url()).expect("valid addresses")
}

fn by_client(trio: &SentinelTrio) -> RedisStore {
    let url = trio.url();
    let (sentinels, _) = url.strip_prefix("redis+sentinel://").unwrap().split_once('/').unwrap();
    let sentinels = sentinels.split(',').map(|address| {
        let (host, port) = address.split_once(':').expect("a port");
        ConnectionAddr::Tcp(host.to_owned(), port.parse().expect("a port"))
    });
    let client = SentinelClientBuilder::new(sentinels, NAME, SentinelServerType::Master);
    RedisStore::sentinel(client.expect("valid addresses").build().expect("a client"))
}

/// How many records a node has. The canary is none.
fn records(node: &RedisServer) -> u64 {
    let keys: u64 = node.query("DBSIZE").expect("it answers");
    keys - node.query::<u64>("EXISTS idempotency:canary").expect("it answers")
}

/// Begins and completes all the time. Every answer is a good one, or says that there is none now.
async fn work(store: &RedisStore) {
    loop {
        let attempt = attempt(slot());
        match store.begin(&attempt, STORE_TIMEOUT).await {
            Ok(Reply::Started(grant) | Reply::Mine(grant)) => {
                let outcome = response("done");
                let reply = store.complete(&attempt.claim(grant), &outcome, STORE_TIMEOUT).await;
                assert!(matches!(reply, Ok(Reply::Applied) | Err(_)), "{reply:?}");
            }
            Ok(reply) => assert_eq!(reply, Reply::Late),
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Runs the future while the store is at work.
async fn at_work<T>(store: &RedisStore, while_: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        () = work(store) => unreachable!("it never ends"),
        ended = while_ => ended,
    }
}

/// Waits until the store works on this node, and says how long that took.
async fn moves_to(store: &RedisStore, node: &RedisServer) -> Duration {
    let (since, before) = (now(), records(node));
    at_work(store, async {
        while records(node) == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    now() - since
}

#[tokio::test]
async fn calls_go_on_after_the_master_was_killed() {
    let mut trio = SentinelTrio::start(Kind::Redis, &[]);
    for connect in [by_address, by_client] {
        let store = connect(&trio);
        let old = trio.master().expect("there is one");
        let before = start(&store).await;
        assert_eq!(trio.nodes[old].query("WAIT 1 5000"), Ok(1));
        let new = at_work(&store, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            trio.nodes[old].kill();
            trio.await_failover(old).await
        })
        .await;
        let took = moves_to(&store, &trio.nodes[new]).await;
        assert!(took < STORE_TIMEOUT * 2, "it took {took:?}");
        complete(&store, &before, "done").await;
        let reply = store.begin(&attempt(before.attempt().slot), WITHIN).await;
        assert_eq!(replayed(reply), response("done"));
        trio.nodes[old].restart();
        trio.await_replica(old).await;
    }
}

#[tokio::test]
async fn w12_a_master_that_is_demoted_is_left() {
    let trio = SentinelTrio::start(Kind::Valkey, &[]);
    let store = by_address(&trio);
    let before = start(&store).await;
    let new = at_work(&store, trio.replace_master(0)).await;
    let took = moves_to(&store, &trio.nodes[new]).await;
    assert!(took < STORE_TIMEOUT * 2, "it took {took:?}");
    complete(&store, &before, "done").await;
}

#[tokio::test]
async fn w12_a_master_that_is_cut_off_is_left_though_it_answers() {
    let trio = SentinelTrio::in_namespaces(Kind::Redis, &[]);
    let stores = [by_address(&trio), by_client(&trio)];
    for store in &stores {
        complete(store, &start(store).await, "done").await;
    }
    let old = trio.cut_off_master();
    let new = trio.await_failover(old).await;
    for store in &stores {
        let took = moves_to(store, &trio.nodes[new]).await;
        assert!(took < STORE_TIMEOUT * 2, "it took {took:?}");
    }
    let role: Vec<redis::Value> = trio.nodes[old].query("ROLE").expect("it answers");
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()), "it still thinks so");
    let before = records(&trio.nodes[old]);
    for store in &stores {
        complete(store, &start(store).await, "done").await;
    }
    assert_eq!(records(&trio.nodes[old]), before);
}

#[tokio::test]
async fn the_newest_answer_of_the_sentinels_counts() {
    let (trio, new) = replaced_unheard().await;
    trio.sentinels[0].resume();
    // One that is taken in at once answers as it did before.
    let store = by_address(&trio);
    let before = records(&trio.nodes[new]);
    complete(&store, &start(&store).await, "done").await;
    assert_eq!(records(&trio.nodes[new]), before + 1);
}

/// A fail-over of which the first Sentinel, which stands still, hears nothing, and of which the old
/// master cannot be told. Where the Sentinels undo it meanwhile, they never make another one.
async fn replaced_unheard() -> (SentinelTrio, usize) {
    for _ in 0..4 {
        let trio = SentinelTrio::start(Kind::Redis, &[]);
        let old = trio.master().expect("there is one");
        trio.sentinels[0].pause();
        let deaf = "ACL SETUSER default -replicaof -slaveof";
        trio.nodes[old].query::<()>(deaf).expect("it is deaf");
        let replaced = trio.replace_master(1);
        if let Ok(new) = tokio::time::timeout(Duration::from_secs(25), replaced).await {
            return (trio, new);
        }
    }
    panic!("no Sentinels make a fail-over that lasts");
}

#[tokio::test]
async fn a_watch_survives_a_failover() {
    let mut trio = SentinelTrio::start(Kind::Redis, &[]);
    let store = Arc::new(by_address(&trio));
    let old = trio.master().expect("there is one");
    let claim = start(&store).await;
    let watched = watch(&store, &claim);
    assert_eq!(trio.nodes[old].query("WAIT 1 5000"), Ok(1));
    trio.nodes[old].kill();
    trio.await_failover(old).await;
    moves_to(&store, &trio.nodes[1 - old]).await;
    complete(&store, &claim, "done").await;
    let seen = end(watched).await;
    assert_eq!(seen.running(claim.grant().fence), None);
}

#[tokio::test]
async fn sentinels_that_know_no_such_master_are_an_error_that_says_so() {
    let trio = SentinelTrio::start(Kind::Redis, &[]);
    let url = trio.url().replace(NAME, "unknown");
    let store = RedisStore::connect(url).expect("valid addresses");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("No such master"), "{source}");
}

#[tokio::test]
async fn running_work_can_finish_on_the_known_master_without_any_sentinel() {
    for stop in [RedisServer::kill, |sentinel: &mut RedisServer| sentinel.pause()] {
        let mut trio = SentinelTrio::start(Kind::Redis, &[]);
        let stores = [by_address(&trio), by_client(&trio)];
        let mut claims = Vec::new();
        for store in &stores {
            claims.push(start(store).await);
        }
        trio.sentinels.iter_mut().for_each(stop);
        // Long enough that they are asked before anything is sent.
        tokio::time::sleep(Duration::from_secs(2)).await;
        for (store, claim) in stores.iter().zip(&claims) {
            // Its connection is another than that of begin.
            let reply = store.complete(claim, &response("done"), STORE_TIMEOUT).await;
            assert_eq!(reply.expect("complete"), Reply::Applied);
            trio.nodes[0].query::<()>("CLIENT KILL TYPE normal").expect("they are killed");
            let reply = store.begin(&attempt(slot()), STORE_TIMEOUT).await;
            assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_silent_sentinel_does_not_hide_the_master_from_a_client() {
    let trio = SentinelTrio::start(Kind::Redis, &[]);
    trio.sentinels[0].pause();
    let store = by_client(&trio);
    let since = now();
    while let Err(error) = store.begin(&attempt(slot()), STORE_TIMEOUT).await {
        assert!(error.is_transient(), "{error:?}");
        assert!(now() - since < STORE_TIMEOUT * 3, "{error:?}");
    }
    let old = trio.master().expect("two of them agree");
    trio.nodes[old].pause();
    let new = trio.await_failover(old).await;
    let took = moves_to(&store, &trio.nodes[new]).await;
    assert!(took < STORE_TIMEOUT * 4, "it took {took:?}");
    trio.nodes[old].resume();
}

#[test]
fn a_runtime_that_stands_still_while_asking_does_not_stop_the_others() {
    let trio = SentinelTrio::start(Kind::Redis, &[]);
    let store = by_address(&trio);
    let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (still, moving) = (runtime(), runtime());
    // The runtime in which the connection lives runs on.
    let quiet = || moving.block_on(async { tokio::time::sleep(Duration::from_secs(2)).await });
    drop(moving.block_on(start(&store)));
    quiet();
    // Polled once, it asks before it sends anything, in a runtime that then never runs again.
    let attempt = attempt(slot());
    let mut begun = Box::pin(store.begin(&attempt, WITHIN));
    let polled = still.block_on(async { (&mut begun).now_or_never() });
    assert!(polled.is_none(), "begin asks the Sentinels, not {polled:?}");
    quiet();
    let reply = moving.block_on(store.begin(&self::attempt(slot()), STORE_TIMEOUT));
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    drop(begun);
}
