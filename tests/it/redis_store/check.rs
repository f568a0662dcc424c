//! Credentials, rights and prefixes, and what the check of a server finds.

use std::sync::Arc;

use redis::Value;
use tower_idempotency::protocol::{Ran, Reply};
use tower_idempotency::store::redis::Concern;
use tower_idempotency::store::{Effect, ErrorKind, RedisStore, Store};

use super::{
    DURABLE, HOUR, WITHIN, attempt, begin_one, complete, end, key, lapsing, replayed, response,
    runs, slot, start, watch,
};
use crate::support::cluster::RedisCluster;
use crate::support::launch::Kind;
use crate::support::patience::wait_until;
use crate::support::redis::{RedisServer, shared};
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
async fn the_rights_that_the_documentation_names_are_enough() {
    let server = RedisServer::start(DURABLE);
    let rights = "on >word ~idempotency:* +evalsha +eval +time +getrange +get +set +setrange \
                  +append +pexpire +strlen +pttl +client|tracking +info";
    let user = [&["ACL", "SETUSER", "store"][..], &rights.split_whitespace().collect::<Vec<_>>()];
    let user: Vec<_> = user.concat().into_iter().map(str::as_bytes).collect();
    server.command(&user).expect("the user is made");
    let url = format!("redis://store:word@127.0.0.1:{}/0", server.port());
    let store = RedisStore::connect(url).expect("a valid address");

    assert_eq!(store.verify().await.expect("the server is asked"), []);
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
    let log: Vec<Value> = server.query("ACL LOG").expect("it answers");
    assert!(log.is_empty(), "{log:?}");
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough_on_a_cluster() {
    let cluster = RedisCluster::start(Kind::Redis, &[]);
    let rights = "on >word ~idempotency:* +evalsha +eval +time +getrange +get +set +setrange \
                  +append +pexpire +strlen +pttl +client|tracking +multi +exec +asking +ping \
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
    assert_eq!(server.store().verify().await.expect("the server is asked"), []);
    server.store().require_safe().await.expect("it is safe");
}

#[tokio::test]
async fn a_redis_that_would_lose_records_is_a_concern_and_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let concerns = server.store().verify().await.expect("the server is asked");
    let policy = "allkeys-lru".to_owned();
    assert_eq!(concerns, [Concern::Evicts { policy }, Concern::NoAppendOnlyFile]);
    let error = server.store().require_safe().await.unwrap_err();
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(concerns.iter().all(|concern| source.contains(&concern.to_string())), "{source}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_replica_is_a_concern() {
    let (master, server) = (RedisServer::start(DURABLE), RedisServer::start(DURABLE));
    let port = master.port().to_string();
    server.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).expect("it is a replica");
    assert_eq!(server.store().verify().await.expect("the server is asked"), [Concern::Replica]);
}
