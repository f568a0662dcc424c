//! Fail-overs that Sentinels arrange.

use tower_idempotency::store::RedisStore;
use tower_idempotency::store::redis::Durability;

use super::load::{Load, with_and_without_waiting};
use crate::support::app::pause;
use crate::support::launch::Kind;
use crate::support::sentinel::SentinelTrio;

fn store(trio: &SentinelTrio, durability: Durability) -> RedisStore {
    RedisStore::connect(trio.url()).expect("a valid address").durability(durability)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w10_of_a_master_that_is_killed_only_claims_are_lost_that_did_not_wait_for_its_replica() {
    with_and_without_waiting(|name, durability| async move {
        let mut trio = SentinelTrio::start(Kind::Redis, &[]);
        let load = Load::on(store(&trio, durability));
        load.more(500).await;
        let old = trio.master().expect("the sentinels agree");
        trio.nodes[old].kill();
        trio.await_failover(old).await;
        if name == "local" {
            load.more(500).await;
        }
        let claims = load.stop().await;
        let lost = claims.lost(&format!("master killed, durability {name}")).await;
        assert!(name == "local" || lost == 0, "{lost} lost");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w10_of_a_master_that_is_cut_off_only_claims_are_lost_that_did_not_wait_for_its_replica() {
    with_and_without_waiting(|name, durability| async move {
        let trio = SentinelTrio::in_namespaces(Kind::Redis, &[]);
        let load = Load::on(store(&trio, durability));
        load.more(500).await;
        let old = trio.cut_off_master();
        let new = trio.await_failover(old).await;
        // Two store time-outs, and the new master has to be in use.
        pause(2000).await;
        let before = records(&trio, new);
        if name == "local" {
            load.more(200).await;
            assert!(records(&trio, new) > before, "the new master is in use");
        }
        trio.heal(old);
        trio.await_replica(old).await;
        load.more(200).await;
        let claims = load.stop().await;
        let lost = claims.lost(&format!("master cut off, durability {name}")).await;
        assert!(name == "local" || lost == 0, "{lost} lost");
    })
    .await;
}

fn records(trio: &SentinelTrio, node: usize) -> usize {
    trio.nodes[node].query("DBSIZE").expect("a number")
}
