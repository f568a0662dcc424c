//! Durability, the check and the canary on a Cluster, where all of it is per node.

use std::time::Duration;

use futures_util::future::join_all;
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::redis::{Concern, Durability, Role};
use tower_idempotency::store::{Effect, ErrorKind, RedisStore, Store};

use super::{DURABLE, WITHIN, attempt, complete, now, replayed, response, slot, start};
use crate::support::cluster::RedisCluster;
use crate::support::launch::Kind;
use crate::support::patience::{block_until, wait_until};
use crate::support::redis::RedisServer;

fn replicated(kind: Kind) -> (RedisCluster, RedisStore) {
    let cluster = RedisCluster::with_replicas(kind, DURABLE);
    let online = |info: String| info.contains(",state=online,");
    block_until("the replicas are online", || {
        cluster.nodes[..3].iter().all(|node| node.query("INFO replication").is_ok_and(online))
    });
    let store = RedisStore::connect(cluster.url()).expect("valid addresses");
    (cluster, store)
}

#[tokio::test]
async fn a_claim_waits_for_the_replica_of_its_own_node() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let (cluster, store) = replicated(kind);
        let store = store.durability(Durability::replicas(1));
        for claim in join_all((0..60).map(|_| start(&store))).await {
            complete(&store, &claim, "done").await;
            let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
            assert_eq!(replayed(reply), response("done"));
        }
        cluster.nodes[3..].iter().for_each(RedisServer::pause);
        let late = attempt(slot());
        let error = store.begin(&late, Duration::from_secs(2)).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NotDurable, Effect::Unknown));
        cluster.nodes[3..].iter().for_each(RedisServer::resume);
        let reply = store.begin(&late, WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
    }
}

#[tokio::test]
async fn claims_for_one_node_share_a_wait() {
    let (cluster, store) = replicated(Kind::Redis);
    let store = store.durability(Durability::replicas(1));
    let waits = || {
        let of = |node: &RedisServer| -> usize {
            let statistics: String = node.query("INFO commandstats").expect("it answers");
            let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
            line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
        };
        cluster.nodes[..3].iter().map(of).sum::<usize>()
    };
    // Alone, until it is known which node has which slots.
    drop(start(&store).await);
    let mut grouped = false;
    for _ in 0..50 {
        let before = waits();
        join_all((0..300).map(|_| start(&store))).await;
        grouped = waits() - before <= 60;
        if grouped {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(grouped, "300 claims take at most 60 waits");
    // A slot that moves away is noticed, and what is claimed in it still counts.
    for slot in 0..20 {
        cluster.migrate(slot, 0, 1);
    }
    for claim in join_all((0..300).map(|_| start(&store))).await {
        complete(&store, &claim, "done").await;
    }
}

#[tokio::test]
async fn the_check_asks_every_master() {
    let (cluster, store) = replicated(Kind::Redis);
    let report = store.verify().await.expect("the masters are asked");
    let mut addresses: Vec<_> = report.servers.iter().map(|server| &server.address).collect();
    addresses.sort();
    let mut masters: Vec<_> =
        cluster.nodes[..3].iter().map(|node| node.address().to_string()).collect();
    masters.sort();
    assert_eq!(addresses, masters.iter().collect::<Vec<_>>());
    for server in &report.servers {
        let view = server.cluster.expect("it is in a Cluster");
        assert_eq!((view.is_up, view.slots), (Some(true), Some(16384)));
        assert_eq!((server.role, server.replicas, server.online), (Role::Master, 1, 1));
    }
    assert_eq!(report.concerns().count(), 0, "{report}");
    let store = store.durability(Durability::replicas(2));
    let report = store.verify().await.expect("the masters are asked");
    let short = Concern::TooFewReplicas { asked: 2, online: 1 };
    assert_eq!(report.concerns().collect::<Vec<_>>(), [&short; 3]);
}

#[tokio::test]
async fn a_single_emptied_master_is_noticed() {
    a_single_emptied_master_is_noticed_while_the_others(|_| {}).await;
}

#[tokio::test]
async fn a_single_emptied_master_is_noticed_while_the_others_are_full() {
    let full = |node: &RedisServer| node.query::<()>("CONFIG SET maxmemory 1").expect("it is set");
    a_single_emptied_master_is_noticed_while_the_others(full).await;
}

async fn a_single_emptied_master_is_noticed_while_the_others(hinder: impl Fn(&RedisServer)) {
    let cluster = RedisCluster::start(Kind::Redis, &[]);
    let store = RedisStore::connect(cluster.url()).expect("valid addresses");
    drop(start(&store).await);
    let canaries = |node: &RedisServer| {
        node.query::<Vec<Vec<u8>>>("KEYS *canary*").map_or(0, |keys| keys.len())
    };
    let all = || cluster.nodes.iter().map(canaries).sum::<usize>() == 64;
    wait_until("there are canaries", all).await;
    assert!(cluster.nodes.iter().all(|node| canaries(node) > 0));
    [0, 2].iter().for_each(|&other| hinder(&cluster.nodes[other]));
    cluster.nodes[1].query::<()>("FLUSHALL").expect("it is emptied");
    let since = now();
    loop {
        let _ = store.begin(&attempt(slot()), WITHIN).await;
        let report = store.verify().await.expect("the masters are asked");
        if report.concerns().any(|concern| *concern == Concern::Emptied) {
            return;
        }
        assert!(now() - since < Duration::from_secs(20), "nobody has noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
