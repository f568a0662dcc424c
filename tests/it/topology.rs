//! The servers that the tests start do what the tests take for granted.

use std::net::TcpStream;

use redis::cluster::ClusterClient;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{PushKind, Value};

use crate::support::cluster::{self, RedisCluster};
use crate::support::launch::Kind;
use crate::support::postgres::{PostgresServer, Version};
use crate::support::process::Process;
use crate::support::redis::{RedisServer, shared_valkey};
use crate::support::resp::Message;
use crate::support::sentinel::SentinelTrio;
use crate::support::tls::TlsServer;
use crate::support::wire::Wire;

#[test]
fn valkey_is_there() {
    let info = shared_valkey().query::<String>("INFO server").expect("it answers");
    assert!(info.contains("server_name:valkey"), "{info}");
    let server = RedisServer::start_valkey(&["--appendonly", "yes"]);
    server.query::<()>("SET key value").expect("it is set");
    assert_eq!(server.query("WAITAOF 1 0 5000"), Ok((1, 0)));
}

#[test]
fn a_server_with_tls_is_known_by_its_root_certificate_alone() {
    let user = ["--user", "shop", "on", ">word", "~*", "+@all"];
    let server = TlsServer::start(&user);
    let client = server.client("shop:word");
    let mut connection = client.get_connection().expect("the certificate is good");
    let name = redis::cmd("ACL").arg("WHOAMI").query(&mut connection);
    assert_eq!(name, Ok("shop".to_owned()));

    let stranger = TlsServer::start(&[]);
    let certificates = stranger.certificates();
    let client = redis::Client::build_with_tls(server.url("shop:word"), certificates);
    assert!(client.expect("valid certificates").get_connection().is_err());
}

#[tokio::test]
async fn a_killed_master_is_replaced_by_its_replica() {
    let mut trio = SentinelTrio::start(Kind::Redis, &["--appendonly", "yes"]);
    assert_eq!(trio.master(), Some(0));
    assert_eq!(replicated(&trio.nodes[0], "value", 5000), 1);

    trio.nodes[0].kill();
    assert_eq!(trio.await_failover(0).await, 1);
    assert_eq!(trio.nodes[1].query("GET key"), Ok("value".to_owned()));

    trio.nodes[1].query::<()>("SET key later").expect("it is set");
    trio.nodes[0].restart();
    trio.await_replica(0).await;
    assert_eq!(trio.nodes[0].query("GET key"), Ok("later".to_owned()));
}

#[tokio::test]
async fn a_cut_off_master_still_takes_writes_and_is_replaced() {
    cut_off_and_heal(SentinelTrio::in_namespaces(Kind::Redis, &[])).await;
}

#[tokio::test]
async fn a_master_can_be_cut_off_without_namespaces() {
    cut_off_and_heal(SentinelTrio::behind_proxies(Kind::Redis, &[])).await;
}

async fn cut_off_and_heal(trio: SentinelTrio) {
    assert_eq!(trio.cut_off_master(), 0);
    assert_eq!(trio.await_failover(0).await, 1);
    let [old, new] = &trio.nodes;
    assert_eq!(replicated(old, "lost", 200), 0);
    new.query::<()>("SET key kept").expect("so does its successor");
    assert_eq!(old.query("GET key"), Ok("lost".to_owned()));

    trio.heal(0);
    trio.await_replica(0).await;
    assert_eq!(old.query("GET key"), Ok("kept".to_owned()));
}

#[tokio::test]
async fn the_client_library_finds_the_master_through_the_sentinels() {
    let trio = SentinelTrio::start(Kind::Valkey, &[]);
    let url = trio.url();
    let (sentinels, name) = url.rsplit_once('/').expect("a name");
    let sentinels = redis_urls(sentinels, "redis+sentinel://");
    let mut client = SentinelClient::build(sentinels, name, None, SentinelServerType::Master)
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

#[tokio::test]
async fn what_valkey_pushes_is_not_taken_for_a_reply() {
    let server = RedisServer::start_valkey(&[]);
    let wire = Wire::to(server.port()).await;
    let client = redis::Client::open(format!("{}/?protocol=resp3", wire.url()));
    let client = client.expect("a valid address");
    let (sender, mut pushed) = tokio::sync::mpsc::unbounded_channel();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let connect = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connect.await.expect("the server is there");
    connection.subscribe("news").await.expect("it listens");
    let mut ask = async |words: &str| {
        let mut command = redis::Cmd::new();
        words.split(' ').for_each(|word| _ = command.arg(word));
        command.query_async::<Value>(&mut connection).await.expect("an answer")
    };
    wire.reset();
    ask("CLIENT TRACKING ON").await;
    ask("GET key").await;
    server.query::<()>("SET key value").expect("it is set");
    server.query::<()>("PUBLISH news something").expect("it is published");
    assert_eq!(ask("GET key").await, Value::BulkString(b"value".to_vec()));
    let mut kinds = Vec::new();
    while !kinds.contains(&PushKind::Message) {
        kinds.push(pushed.recv().await.expect("a push").kind);
    }
    assert!(kinds.contains(&PushKind::Invalidate), "{kinds:?}");
    assert_eq!(wire.commands_by_connection(), [["CLIENT", "GET", "GET"]]);
    assert_eq!(wire.replies(), 3);
}

#[tokio::test]
async fn frozen_servers_end_with_the_test_process_too() {
    let mut server = Process::start("memory", &[]);
    server.pause();
    server.is_orphaned();
    assert!(!server.ended().await.success());

    let mut postgres = PostgresServer::start(Version::Packaged, &[]);
    postgres.pause();
    postgres.is_orphaned();
    assert!(TcpStream::connect(postgres.address()).is_err());
}

#[test]
fn every_kind_of_value_is_taken_whole() {
    let values =
        ["+OK", ":1", "_", "#t", ",1.5", "(9", "$-1", "*-1", "$4\r\na\r\nb", "=7\r\ntxt:a\r\n"];
    let nested =
        ["*2\r\n:1\r\n~1\r\n+a", "%1\r\n+a\r\n$1\r\nb", "|1\r\n+a\r\n:1\r\n+b", ">1\r\n!1\r\nx"];
    for value in values.into_iter().chain(nested) {
        let bytes = format!("{value}\r\n").into_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Message::take(&mut bytes[..end].to_vec()), None, "{value:?} to {end}");
        }
        let mut both = [&bytes[..], b"+more"].concat();
        assert_eq!(Message::take(&mut both).expect("a message").bytes, bytes);
        assert_eq!(both, b"+more");
    }
}

/// Writes, and says how many replicas have it within so many milliseconds.
fn replicated(node: &RedisServer, value: &str, within: u64) -> u64 {
    let client = redis::Client::open(node.url()).expect("a valid address");
    let mut connection = client.get_connection().expect("the node is there");
    let mut both = redis::pipe();
    both.set("key", value).ignore().cmd("WAIT").arg(1).arg(within);
    let (replicas,) = both.query(&mut connection).expect("it still takes writes");
    replicas
}

/// The addresses in a list, as the client library wants them.
fn redis_urls(list: &str, scheme: &str) -> Vec<String> {
    let list = list.strip_prefix(scheme).expect("this scheme");
    list.split(',').map(|address| format!("redis://{address}")).collect()
}
