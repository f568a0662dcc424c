//! The stores of campaigns: how they are reached through proxies, and how they break.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::chaos::{Harm, span};
use super::workload::Scene;
use crate::support::cluster::RedisCluster;
use crate::support::dialect::Dialect;
use crate::support::fault_proxy::FaultProxy;
use crate::support::launch::{Kind, Launch};
use crate::support::postgres::{PostgresServer, Version};
use crate::support::redis::RedisServer;
use crate::support::sentinel::{NAME, SentinelTrio};

/// Nothing that was acknowledged is lost by a kill.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// The servers of one store.
pub enum Servers {
    Redis(RedisServer),
    Sentinel(Box<SentinelTrio>),
    Cluster(RedisCluster),
    Postgres(PostgresServer),
}

/// A server that holds records.
trait Node: Send {
    fn kill(&mut self);
    fn restart(&mut self);
    fn pause(&self);
    fn resume(&self);
}

impl Servers {
    pub fn redis() -> Self {
        Self::Redis(RedisServer::start(DURABLE))
    }

    pub fn valkey() -> Self {
        Self::Redis(RedisServer::launch(&Launch { kind: Kind::Valkey, ..Launch::new(DURABLE) }))
    }

    /// One that knows nothing any more after a kill.
    pub fn forgetful_redis() -> Self {
        Self::Redis(RedisServer::start(&[]))
    }

    pub fn sentinel() -> Self {
        Self::Sentinel(Box::new(SentinelTrio::start(Kind::Redis, DURABLE)))
    }

    pub fn cluster() -> Self {
        Self::Cluster(RedisCluster::with_replicas(Kind::Redis, DURABLE))
    }

    pub fn postgres() -> Self {
        Self::Postgres(PostgresServer::start(Version::Packaged, &[]))
    }

    /// Proxies in front of all of them, for one server of the application.
    pub async fn behind_proxy(&self) -> (FaultProxy, String) {
        let (dialect, ports): (_, Vec<_>) = match self {
            Self::Redis(server) => (Dialect::Redis, vec![server.port()]),
            Self::Sentinel(trio) => {
                let all = trio.nodes.iter().chain(&trio.sentinels);
                (Dialect::Redis, all.map(RedisServer::port).collect())
            }
            Self::Cluster(cluster) => {
                (Dialect::Redis, cluster.nodes.iter().map(RedisServer::port).collect())
            }
            Self::Postgres(server) => (Dialect::Postgres, vec![server.port()]),
        };
        let proxy = FaultProxy::to(dialect, &ports).await;
        let through = |servers: &[RedisServer]| {
            let through = |server: &RedisServer| format!("127.0.0.1:{}", proxy.port(server.port()));
            servers.iter().map(through).collect::<Vec<_>>().join(",")
        };
        let url = match self {
            Self::Redis(server) => format!("redis://{}", through(std::slice::from_ref(server))),
            Self::Sentinel(trio) => format!("redis+sentinel://{}/{NAME}", through(&trio.sentinels)),
            Self::Cluster(cluster) => format!("redis+cluster://{}", through(&cluster.nodes)),
            Self::Postgres(server) => server.url_at(proxy.port(server.port())),
        };
        (proxy, url)
    }

    fn nodes(&mut self) -> Vec<&mut dyn Node> {
        fn all(nodes: &mut [RedisServer]) -> Vec<&mut dyn Node> {
            nodes.iter_mut().map(|node| -> &mut dyn Node { node }).collect()
        }
        match self {
            Self::Redis(server) => vec![server],
            Self::Sentinel(trio) => all(&mut trio.nodes),
            Self::Cluster(cluster) => all(&mut cluster.nodes),
            Self::Postgres(server) => vec![server],
        }
    }

    /// Breaks one of them for a while, and waits until all is whole again: what two faults at once
    /// may cost, nobody promises.
    pub async fn harm(&mut self, harm: Harm, scene: &Scene, random: &mut StdRng) {
        let node = random.random_range(0..self.nodes().len());
        match harm {
            Harm::Kill => {
                block_in_place(|| self.nodes()[node].kill());
                sleep(Duration::from_millis(random.random_range(0..700))).await;
                block_in_place(|| self.nodes()[node].restart());
            }
            Harm::FailOver => self.fail_over(random).await,
            _ => {
                self.nodes()[node].pause();
                sleep(span(harm, scene, random)).await;
                self.nodes()[node].resume();
            }
        }
        match self {
            Self::Redis(_) | Self::Postgres(_) => {}
            Self::Sentinel(trio) => trio.await_whole().await,
            Self::Cluster(cluster) => cluster.await_whole().await,
        }
    }

    /// Kills a master, and starts it again once another one has taken its place.
    async fn fail_over(&mut self, random: &mut StdRng) {
        let old = match self {
            Self::Redis(_) | Self::Postgres(_) => panic!("there is no replica"),
            Self::Sentinel(trio) => trio.master().expect("the sentinels agree"),
            Self::Cluster(cluster) => {
                let key = format!("key-{}", random.random_range(0..1000));
                cluster.owner(&key)
            }
        };
        block_in_place(|| self.nodes()[old].kill());
        match self {
            Self::Redis(_) | Self::Postgres(_) => {}
            Self::Sentinel(trio) => _ = trio.await_failover(old).await,
            Self::Cluster(cluster) => _ = cluster.await_failover(old).await,
        }
        block_in_place(|| self.nodes()[old].restart());
    }
}

macro_rules! node {
    ($server:ty) => {
        impl Node for $server {
            fn kill(&mut self) {
                self.kill();
            }
            fn restart(&mut self) {
                self.restart();
            }
            fn pause(&self) {
                self.pause();
            }
            fn resume(&self) {
                self.resume();
            }
        }
    };
}
node!(RedisServer);
node!(PostgresServer);
