//! Fail-overs of a Cluster, and slots that move.

use tower_idempotency::store::RedisStore;
use tower_idempotency::store::redis::Durability;

use super::load::{Load, with_and_without_waiting};
use crate::support::cluster::RedisCluster;
use crate::support::launch::Kind;

fn store(cluster: &RedisCluster, durability: Durability) -> RedisStore {
    RedisStore::connect(cluster.url()).expect("valid addresses").durability(durability)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w10_of_a_cluster_master_that_is_killed_only_claims_are_lost_that_did_not_wait() {
    with_and_without_waiting(|name, durability| async move {
        let mut cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
        let load = Load::on(store(&cluster, durability));
        load.more(500).await;
        cluster.nodes[1].kill();
        cluster.await_failover(1).await;
        load.more(300).await;
        let claims = load.stop().await;
        let lost = claims.lost(&format!("cluster master killed, durability {name}")).await;
        assert!(name == "local" || lost == 0, "{lost} lost");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w22_no_claim_is_lost_when_slots_move() {
    with_and_without_waiting(|name, durability| async move {
        let cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
        let load = Load::on(store(&cluster, durability));
        load.more(500).await;
        // From the first to the second node, some of them half-way open for a while.
        for slot in 0..60 {
            cluster.open_migration(slot, 0, 1);
            if slot % 10 == 0 {
                load.more(20).await;
            }
            cluster.move_keys(slot, 0, 1);
            cluster.close_migration(slot, 0, 1);
        }
        load.more(200).await;
        let claims = load.stop().await;
        assert_eq!(claims.lost(&format!("slots moved, durability {name}")).await, 0);
    })
    .await;
}
