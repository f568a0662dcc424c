//! The servers that the tests start do what the tests take for granted.

use redis::Value;
use redis::cluster::ClusterClient;
use redis::sentinel::{SentinelClient, SentinelServerType};

use crate::support::cluster::{self, RedisCluster};
use crate::support::launch::Kind;
use crate::support::redis::{RedisServer, shared_valkey};
use crate::support::sentinel::SentinelTrio;

#[test]
fn valkey_is_there() {
    let info = shared_valkey().query::<String>("INFO server").expect("it answers");
    assert!(info.contains("server_name:valkey"), "{info}");
    let server = RedisServer::start_valkey(&["--appendonly", "yes"]);
    server.query::<()>("SET key value").expect("it is set");
    assert_eq!(server.query("WAITAOF 1 0 5000"), Ok((1, 0)));
}

#[tokio::test]
async fn a_killed_master_is_replaced_by_its_replica() {
    let mut trio = SentinelTrio::start(Kind::Redis, &["--appendonly", "yes"]);
    assert_eq!(trio.master(), Some(0));
    trio.nodes[0].query::<()>("SET key value").expect("it is set");
    assert_eq!(trio.nodes[0].query("WAIT 1 5000"), Ok(1));

    trio.nodes[0].kill();
    assert_eq!(trio.await_failover(0).await, 1);
    assert_eq!(trio.nodes[1].query("GET key"), Ok("value".to_owned()));

    trio.nodes[1].query::<()>("SET key later").expect("it is set");
    trio.nodes[0].restart();
    trio.await_replica(0).await;
    assert_eq!(trio.nodes[0].query("GET key"), Ok("later".to_owned()));
}

#[tokio::test]
async fn the_client_library_finds_the_master_through_the_sentinels() {
    let trio = SentinelTrio::start(Kind::Valkey, &[]);
    let url = trio.url();
    let (sentinels, name) = url.rsplit_once('/').expect("a name");
    let sentinels = redis_urls(sentinels, "redis+sentinel://");
    let mut client =
        SentinelClient::build(sentinels, name.to_owned(), None, SentinelServerType::Master)
            .expect("valid addresses");
    let mut master = client.get_async_connection().await.expect("there is a master");
    redis::cmd("SET").arg("key").arg("value").exec_async(&mut master).await.expect("it is set");
    assert_eq!(trio.nodes[0].query("GET key"), Ok("value".to_owned()));
}

#[test]
fn a_migrated_slot_answers_at_its_new_node() {
    let cluster = cluster::shared();
    let (slot, from) = (cluster.slot("key"), cluster.owner("key"));
    let to = (from + 1) % 3;
    let node = |place: usize| &cluster.nodes[place];
    node(from).query::<()>("SET key value").expect("it is set");

    cluster.open_migration(slot, from, to);
    assert_eq!(node(from).query("GET key"), Ok("value".to_owned()));
    let other = "GET {key}other";
    let asked = node(from).query::<Value>(other).expect_err("it is elsewhere");
    assert_eq!(asked.code(), Some("ASK"));

    cluster.move_keys(slot, from, to);
    cluster.close_migration(slot, from, to);
    assert_eq!(cluster.owner("key"), to);
    assert_eq!(node(to).query("GET key"), Ok("value".to_owned()));
    let moved = node(from).query::<Value>("GET key").expect_err("it has moved");
    assert_eq!(moved.code(), Some("MOVED"));
    cluster.migrate(slot, to, from);
    assert_eq!(node(from).query("GET key"), Ok("value".to_owned()));
}

#[tokio::test]
async fn the_client_library_follows_a_slot_that_moves() {
    let cluster = RedisCluster::start(Kind::Valkey, &[]);
    let nodes = redis_urls(&cluster.url(), "redis+cluster://");
    let client = ClusterClient::new(nodes).expect("valid addresses");
    let mut connection = client.get_async_connection().await.expect("the cluster is there");
    let mut increments = async || {
        let value = redis::cmd("INCR").arg("key").query_async::<u64>(&mut connection).await;
        value.expect("it is incremented")
    };
    assert_eq!(increments().await, 1);
    let (slot, from) = (cluster.slot("key"), cluster.owner("key"));
    let to = (from + 1) % 3;
    cluster.open_migration(slot, from, to);
    assert_eq!(increments().await, 2);
    cluster.move_keys(slot, from, to);
    assert_eq!(increments().await, 3);
    cluster.close_migration(slot, from, to);
    assert_eq!(increments().await, 4);
}

#[tokio::test]
async fn a_replica_takes_over_the_slots_of_a_killed_master() {
    let mut cluster = RedisCluster::with_replicas(Kind::Redis, &[]);
    let old = cluster.owner("key");
    cluster.nodes[old].kill();
    assert_eq!(cluster.await_failover(old).await, old + 3);
    cluster.nodes[old].restart();
    cluster.await_replica(old).await;
    assert_eq!(cluster.owner("key"), old + 3);
}

/// The addresses in a list, as the client library wants them.
fn redis_urls(list: &str, scheme: &str) -> Vec<String> {
    let list = list.strip_prefix(scheme).expect("this scheme");
    list.split(',').map(|address| format!("redis://{address}")).collect()
}
