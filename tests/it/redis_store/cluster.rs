//! A Cluster: keys on several nodes, slots that move, nodes that die, calls that are sent again.

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::protocol::{Found, Ran, Reply, Slot};
use tower_idempotency::store::{Effect, ErrorKind, RedisStore, Store};

use super::{
    HOUR, WITHIN, attempt, complete, end, key, lapsing, now, replayed, response, slot, start, watch,
};
use crate::support::cluster::{RedisCluster, shared};
use crate::support::launch::Kind;
use crate::support::redis::RedisServer;
use crate::support::wire::{Loss, Wire};

/// The time that a call of the layer has.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

fn store(cluster: &RedisCluster) -> RedisStore {
    RedisStore::connect(cluster.url()).expect("valid addresses")
}

/// A slot whose record lies in this hash slot, by its prefix.
fn tagged(store: RedisStore, tag: &str) -> RedisStore {
    store.prefix(format!("{{{tag}}}"))
}

#[tokio::test]
async fn every_verb_works_on_every_node() {
    let store = store(shared());
    for _ in 0..30 {
        let claim = start(&store).await;
        let again = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
        assert!(matches!(again, Ok(Reply::Found(Found::Busy { .. }))), "{again:?}");
        assert_eq!(store.renew(&claim, WITHIN).await.expect("renew"), Reply::Applied);
        let body = "x".repeat(5000);
        complete(&store, &claim, &body).await;
        let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
        assert_eq!(replayed(reply), response(&body));
        let seen = store.look(claim.attempt().slot, WITHIN).await.expect("look");
        assert_eq!(seen.running(claim.grant().fence), None);

        let reply = store.release(start(&store).await.attempt(), Ran::No, HOUR, WITHIN).await;
        assert_eq!(reply.expect("release"), Reply::Applied);
        let abandoned = lapsing(&store).await;
        let (slot, fence) = (abandoned.attempt().slot, abandoned.grant().fence);
        let reply = store.resolve(slot, fence, &response("operator"), HOUR, WITHIN).await;
        assert_eq!(reply.expect("resolve"), Reply::Applied);
    }
}

#[tokio::test]
async fn a_watch_is_told_by_the_node_that_has_the_key() {
    let (store, other) = (Arc::new(store(shared())), store(shared()));
    let claims: Vec<_> = futures_util::future::join_all((0..12).map(|_| start(&other))).await;
    let watches: Vec<_> = claims.iter().map(|claim| watch(&store, claim)).collect();
    for claim in &claims {
        complete(&other, claim, "done").await;
    }
    for (watch, claim) in watches.into_iter().zip(&claims) {
        let seen = end(watch).await;
        assert_eq!(seen.running(claim.grant().fence), None);
    }
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = RedisCluster::start(Kind::Valkey, &[]);
    let store = Arc::new(tagged(store(&cluster), "tag"));
    let (hash_slot, from) = (cluster.slot("{tag}"), cluster.owner("{tag}"));
    let to = (from + 1) % 3;
    let (first, second) = (start(&store).await, start(&store).await);
    cluster.open_migration(hash_slot, from, to);
    // Keys that are not there yet are at the new node; of those that are, one has moved.
    let third = start(&store).await;
    complete(&store, &first, "at the old node").await;
    cluster.move_keys(hash_slot, from, to);
    complete(&store, &second, "at the new node").await;
    let watched = watch(&store, &third);
    for (claim, body) in [(&first, "at the old node"), (&second, "at the new node")] {
        let slot = claim.attempt().slot;
        assert!(store.look(slot, WITHIN).await.expect("look").record.is_some());
        assert_eq!(replayed(store.begin(&attempt(slot), WITHIN).await), response(body));
    }
    complete(&store, &third, &"x".repeat(5000)).await;
    let seen = end(watched).await;
    assert_eq!(seen.running(third.grant().fence), None);
    cluster.close_migration(hash_slot, from, to);
    let reply = store.begin(&attempt(third.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response(&"x".repeat(5000)));
    complete(&store, &start(&store).await, "done").await;
}

#[tokio::test]
async fn slots_that_move_under_load_are_not_noticed() {
    let cluster = RedisCluster::start(Kind::Redis, &[]);
    let store = tagged(store(&cluster), "tag");
    let hash_slot = cluster.slot("{tag}");
    let work = async {
        for _ in 0..4 {
            let claims = (0..50).map(|_| async {
                let attempt = attempt(slot());
                // Mine, if it was sent again: the library stands still now and then.
                let claim = match store.begin(&attempt, WITHIN).await {
                    Ok(Reply::Started(grant) | Reply::Mine(grant)) => attempt.claim(grant),
                    reply => panic!("begin gave {reply:?}"),
                };
                complete(&store, &claim, "done").await;
                let reply = store.begin(&self::attempt(claim.attempt().slot), WITHIN).await;
                assert_eq!(replayed(reply), response("done"));
            });
            futures_util::future::join_all(claims).await;
        }
    };
    let moves = async {
        for _ in 0..4 {
            let from = cluster.owner("{tag}");
            tokio::task::yield_now().await;
            cluster.migrate(hash_slot, from, (from + 1) % 3);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(work, moves);
}

#[tokio::test]
async fn a_node_that_dies_is_replaced_and_the_others_answer_meanwhile() {
    let mut cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
    let there = |cluster: &RedisCluster, tag: &str| cluster.owner(tag) == 0;
    let tags: Vec<_> = (0..64).map(|number| format!("{{{number}}}")).collect();
    let dead = tags.iter().find(|tag| there(&cluster, tag)).expect("a tag there").clone();
    let alive = tags.iter().find(|tag| !there(&cluster, tag)).expect("a tag elsewhere").clone();
    let (dead, alive) = [dead, alive].map(|tag| store(&cluster).prefix(tag)).into();
    for store in [&dead, &alive] {
        complete(store, &start(store).await, "done").await;
    }
    cluster.nodes[0].kill();
    let error = dead.begin(&attempt(slot()), STORE_TIMEOUT).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(error.effect(), Effect::Unknown);
    complete(&alive, &start(&alive).await, "done").await;
    cluster.await_failover(0).await;
    let since = now();
    while let Err(error) = dead.begin(&attempt(slot()), STORE_TIMEOUT).await {
        assert!(error.is_transient(), "{error:?}");
        assert!(now() - since < STORE_TIMEOUT * 2, "{error:?}");
    }
}

#[tokio::test]
async fn a_node_that_falls_silent_is_left_for_its_successor() {
    let cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
    let store = store(&cluster);
    let there = |slot: &Slot| {
        let hash_slot = redis::cluster_routing::Slot::for_key(key("idempotency", *slot));
        (5462..10922).any(|number| redis::cluster_routing::Slot::new(number) == Some(hash_slot))
    };
    let slots = || std::iter::repeat_with(slot);
    let (silent, alive) = (|| slots().find(there), || slots().find(|slot| !there(slot)));
    complete(&store, &start(&store).await, "done").await;
    cluster.nodes[1].pause();
    // The others keep the connection alive all the time.
    let others = async {
        loop {
            let reply = store.begin(&attempt(alive().expect("a slot")), STORE_TIMEOUT).await;
            assert!(reply.is_ok() || reply.is_err_and(|error| error.is_transient()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let calls = async {
        cluster.await_failover(1).await;
        let since = now();
        let short = Duration::from_millis(300);
        while store.begin(&attempt(silent().expect("a slot")), short).await.is_err() {
            assert!(now() - since < STORE_TIMEOUT * 3, "the silent node is still asked");
        }
    };
    tokio::select! { () = others => {}, () = calls => {} }
    cluster.nodes[1].resume();
}

/// A Cluster of one node behind a proxy, and its store. It speaks RESP2, which the proxy knows.
async fn wired() -> (RedisServer, Wire, RedisStore) {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]);
    server.query::<()>("CLUSTER ADDSLOTSRANGE 0 16383").expect("it serves all slots");
    let wire = Wire::to(server.port()).await;
    let port = wire.url().rsplit_once(':').expect("a port").1.to_owned();
    server.query::<()>(&format!("CONFIG SET cluster-announce-port {port}")).expect("it is known");
    crate::support::patience::wait_until("it serves", || {
        server.query::<String>("CLUSTER INFO").is_ok_and(|info| info.contains("cluster_state:ok"))
    })
    .await;
    let url = format!("redis+cluster://127.0.0.1:{port}?protocol=2");
    (server, wire, RedisStore::connect(url).expect("a valid address"))
}

#[tokio::test]
async fn what_the_client_library_sends_again_is_carried_out_once() {
    let (server, wire, store) = wired().await;
    complete(&store, &start(&store).await, "warm").await;
    wire.reset();
    wire.lose("EVALSHA", Loss::Close);
    let one = attempt(slot());
    let reply = store.begin(&one, WITHIN).await;
    let Ok(Reply::Mine(grant)) = reply else { panic!("{reply:?}") };
    assert_eq!(grant.number, 1);
    let sent = wire.commands().iter().filter(|name| *name == "EVALSHA").count();
    assert_eq!(sent, 2, "the library has sent it again: {:?}", wire.commands());

    let claim = one.claim(grant);
    wire.lose("EVALSHA", Loss::Close);
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
    let key = key("idempotency", claim.attempt().slot);
    assert_eq!(server.command(&[b"EXISTS", &key]), Ok(redis::Value::Int(1)));
}

#[tokio::test]
async fn nothing_is_known_of_a_call_that_may_have_been_sent_again() {
    let (server, _wire, store) = wired().await;
    complete(&store, &start(&store).await, "warm").await;
    server.query::<()>("CONFIG SET maxmemory 1").expect("it is full");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Full, Effect::Unknown));
}

#[tokio::test]
async fn without_notifications_a_slot_is_looked_at_now_and_then() {
    let (_server, wire, store) = wired().await;
    let store = Arc::new(store);
    let claim = start(&store).await;
    let watched = watch(&store, &claim);
    crate::support::patience::wait_until("it has looked twice", || {
        wire.commands().iter().filter(|name| *name == "PTTL").count() >= 2
    })
    .await;
    complete(&store, &claim, "done").await;
    let seen = end(watched).await;
    assert_eq!(seen.running(claim.grant().fence), None);
    assert!(!wire.commands().contains(&"TRACKING".to_owned()));
}
