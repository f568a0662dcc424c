//! Credentials, rights and prefixes, and what the check of a server finds.

use std::sync::Arc;

use redis::Value;
use tower_idempotency::protocol::{Ran, Reply};
use tower_idempotency::store::redis::{Concern, Durability, Role};
use tower_idempotency::store::{Effect, ErrorKind, RedisStore, Store};

use super::{
    DURABLE, HOUR, WITHIN, attempt, begin_one, complete, end, key, lapsing, replayed, response,
    runs, slot, start, watch,
};
use crate::support::cluster::RedisCluster;
use crate::support::launch::Kind;
use crate::support::patience::wait_until;
use crate::support::redis::{RedisServer, shared};
use crate::support::replicated::replicated;
use crate::support::sentinel::SentinelTrio;
use crate::support::tls::TlsServer;

/// What goes with every look of who watches.
const LOOK: &str = "client|tracking";

#[tokio::test]
async fn wrong_credentials_are_refused_and_not_shown() {
    let server = RedisServer::start(&[]);
    server.command(&[b"CONFIG", b"SET", b"requirepass", b"s3cret-right"]).expect("it is set");
    let url = format!("redis://:s3cret-wrong@127.0.0.1:{}/0", server.port());
    let store = RedisStore::connect(url).expect("a valid address");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
    let shown = format!("{store:?} {error:?} {error}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("127.0.0.1"), "{shown}");

    let url = format!("redis://:s3cret-right@127.0.0.1:{}/0", server.port());
    begin_one(&RedisStore::connect(url).expect("a valid address")).await;
}

#[tokio::test]
async fn wrong_credentials_are_refused_by_sentinels_and_a_cluster_too() {
    let (trio, cluster) =
        (SentinelTrio::start(Kind::Redis, &[]), RedisCluster::start(Kind::Redis, &[]));
    for url in [trio.url(), cluster.url()] {
        let url = url.replace("://", "://store:s3cret@");
        let store = RedisStore::connect(url).expect("valid addresses");
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None), "{error:?}");
        assert!(!error.is_transient());
        let shown = format!("{store:?} {error:?} {error}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough() {
    let server = RedisServer::start(DURABLE);
    let rights = "on >word ~idempotency:* +evalsha +eval +time +strlen +getrange +get +set +setrange \
                  +append +pexpire +pttl +client|tracking +info";
    let user = [&["ACL", "SETUSER", "store"][..], &rights.split_whitespace().collect::<Vec<_>>()];
    let user: Vec<_> = user.concat().into_iter().map(str::as_bytes).collect();
    server.command(&user).expect("the user is made");
    let url = |database| format!("redis://store:word@127.0.0.1:{}/{database}", server.port());
    let store = RedisStore::connect(url(0)).expect("a valid address");

    let report = store.verify().await.expect("the server is asked");
    assert_eq!(report.concerns().count(), 0, "{report}");
    // The check has asked for what it may not know.
    server.query::<()>("ACL LOG RESET").expect("it is reset");
    let claim = start(&store).await;
    assert_eq!(store.renew(&claim, WITHIN).await.expect("renew"), Reply::Applied);
    complete(&store, &claim, &"x".repeat(5000)).await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response(&"x".repeat(5000)));
    assert!(store.look(claim.attempt().slot, WITHIN).await.expect("look").record.is_some());
    let reply = store.release(start(&store).await.attempt(), Ran::No, HOUR, WITHIN).await;
    assert_eq!(reply.expect("release"), Reply::Applied);
    let abandoned = lapsing(&store).await;
    let (slot, fence) = (abandoned.attempt().slot, abandoned.grant().fence);
    let reply = store.resolve(slot, fence, &response("operator"), HOUR, WITHIN).await;
    assert_eq!(reply.expect("resolve"), Reply::Applied);
    let store = Arc::new(store);
    let claim = start(&store).await;
    let watch = watch(&store, &claim);
    wait_until("it is watched", || runs(&server, LOOK) > 0).await;
    complete(&store, &claim, "done").await;
    assert_eq!(end(watch).await.running(claim.grant().fence), None);
    server.query::<()>("ACL SETUSER store +select").expect("it has another right");
    begin_one(&RedisStore::connect(url(3)).expect("a valid address")).await;
    let log: Vec<Value> = server.query("ACL LOG").expect("it answers");
    assert!(log.is_empty(), "{log:?}");
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough_to_wait_for_replicas() {
    let (master, _replica) = replicated(Kind::Valkey);
    let rights = "on >word ~idempotency:* +evalsha +eval +time +strlen +getrange +get +set +setrange \
                  +append +pexpire +pttl";
    let url = format!("redis://store:word@127.0.0.1:{}/0", master.port());
    let one = Durability::replicas(1);
    for (right, durability) in [("+wait", one), ("+waitaof", one.on_disk())] {
        master.query::<()>(&format!("ACL SETUSER store reset {rights} {right}")).expect("a user");
        let store = RedisStore::connect(&url).expect("a valid address").durability(durability);
        complete(&store, &start(&store).await, "done").await;
    }
}

#[tokio::test]
async fn a_unix_socket_leads_to_a_server_too() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("redis.sock");
    let path = path.to_str().expect("a path in UTF-8");
    let _server = RedisServer::start(&["--unixsocket", path]);
    for url in
        [format!("unix://{path}"), format!("redis+unix://{path}?db=1"), format!("unix:{path}")]
    {
        let store = RedisStore::connect(url).expect("a valid address");
        complete(&store, &start(&store).await, "done").await;
    }
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough_on_a_cluster() {
    let cluster = RedisCluster::start(Kind::Redis, &[]);
    let rights = "on >word ~idempotency:* +evalsha +eval +time +strlen +getrange +get +set +setrange \
                  +append +pexpire +pttl +client|tracking +multi +exec +asking +ping \
                  +cluster|slots";
    for node in &cluster.nodes {
        node.query::<()>(&format!("ACL SETUSER store {rights}")).expect("the user is made");
    }
    let url = cluster.url().replace("://", "://store:word@");
    let store = Arc::new(RedisStore::connect(url).expect("valid addresses"));
    for _ in 0..6 {
        let claim = start(&store).await;
        let watch = watch(&store, &claim);
        let looks = || cluster.nodes.iter().map(|node| runs(node, LOOK)).sum::<usize>();
        wait_until("it is watched", || looks() > 0).await;
        assert_eq!(store.renew(&claim, WITHIN).await.expect("renew"), Reply::Applied);
        complete(&store, &claim, &"x".repeat(5000)).await;
        assert_eq!(end(watch).await.running(claim.grant().fence), None);
        let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
        assert_eq!(replayed(reply), response(&"x".repeat(5000)));
    }
    for node in &cluster.nodes {
        let log: Vec<Value> = node.query("ACL LOG").expect("it answers");
        assert!(log.is_empty(), "{log:?}");
    }
}

#[tokio::test]
async fn a_server_with_tls_and_a_user_is_a_server() {
    let server = TlsServer::start(&["--user", "shop", "on", ">word", "~*", "+@all"]);
    let store = Arc::new(RedisStore::new(server.client("shop:word")));
    let claim = start(&store).await;
    let watch = watch(&store, &claim);
    wait_until("it is watched", || runs(&server.server, LOOK) > 0).await;
    complete(&store, &claim, "done").await;
    assert_eq!(end(watch).await.running(claim.grant().fence), None);

    // Its authority is not one that the system trusts.
    let store = RedisStore::connect(server.url("shop:word")).expect("a valid address");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::None));
}

#[tokio::test]
async fn prefixes_keep_services_apart() {
    let (slot, one, two) = (slot(), shared().store().prefix("one"), shared().store().prefix("two"));
    for (store, prefix) in [(&one, "one"), (&two, "two")] {
        let reply = store.begin(&attempt(slot), WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
        let exists = shared().command(&[b"EXISTS", &key(prefix, slot)]);
        assert_eq!(exists, Ok(Value::Int(1)));
    }
}

#[tokio::test]
async fn a_durable_master_that_evicts_nothing_is_no_concern() {
    let server = RedisServer::start(DURABLE);
    let report = server.store().verify().await.expect("the server is asked");
    let software = report.servers[0].software.version();
    assert_eq!(
        report.to_string(),
        format!(
            "127.0.0.1:{}: Redis {software}, master, 0 of 0 replicas online, append-only file on \
             (appendfsync everysec, last write ok), maxmemory-policy noeviction",
            server.port()
        )
    );
    server.store().require_safe().await.expect("it is safe");
}

#[tokio::test]
async fn a_redis_that_would_lose_records_is_a_concern_and_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let report = server.store().verify().await.expect("the server is asked");
    let policy = "allkeys-lru".to_owned();
    assert_eq!(report.servers[0].concerns, [Concern::Evicts { policy }, Concern::NoAppendOnlyFile]);
    let error = server.store().require_safe().await.unwrap_err();
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    let (lines, mut concerns) = (report.to_string(), report.concerns().map(Concern::to_string));
    assert!(
        concerns.all(|concern| source.contains(&concern) && lines.contains(&concern)),
        "{source}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_replica_is_a_concern_and_its_master_counts_it() {
    let (master, replica) = replicated(Kind::Redis);
    let report = replica.store().verify().await.expect("the server is asked");
    assert_eq!(report.servers[0].concerns, [Concern::Replica]);

    let ask = async |count| {
        let store = master.store().durability(Durability::replicas(count));
        store.verify().await.expect("the server is asked").servers.remove(0)
    };
    let server = ask(1).await;
    assert_eq!((server.role, server.replicas, server.online), (Role::Master, 1, 1));
    assert_eq!(server.concerns, []);
    assert_eq!(ask(2).await.concerns, [Concern::TooFewReplicas { asked: 2, online: 1 }]);
}

#[tokio::test]
async fn a_node_of_a_cluster_is_a_concern_for_a_store_of_one_server() {
    let server = RedisServer::start(&[DURABLE, &["--cluster-enabled", "yes"]].concat());
    let report = server.store().verify().await.expect("the server is asked");
    assert_eq!(report.servers[0].concerns, [Concern::Cluster, Concern::ClusterDown]);
    assert_eq!(report.servers[0].cluster.expect("a view").slots, Some(0));
}
