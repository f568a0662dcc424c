use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

#[cfg(feature = "redis-cluster")]
use redis::cluster::ClusterClient;
#[cfg(feature = "redis-sentinel")]
use redis::sentinel::SentinelClient;
use redis::{Client, RedisError};

use super::RedisStore;
use super::check::canary::{Canary, Emptied};
use super::connection::address;
use super::connection::lane::{Lane, Lanes};
#[cfg(feature = "redis-cluster")]
use super::connection::nodes::Nodes;
#[cfg(feature = "redis-sentinel")]
use super::connection::sentinels::Sentinels;
use super::connection::source::Source;
use super::durability::Durability;
use super::watch::Watches;

/// How long connecting may take, if nothing else is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

impl RedisStore {
    /// A store at an address. It connects when it is first used.
    ///
    /// | address | leads to | feature |
    /// |---|---|---|
    /// | `redis://user:password@host:6379/0` | one server, or whatever else the `redis` crate takes for an address | |
    /// | `redis+sentinel://user:password@host:26379,host:26379/name/0` | the master that these Sentinels know by this name; the user and the database are the master's | `redis-sentinel` |
    /// | `redis+cluster://user:password@host:6379,host:6379` | a Cluster with these nodes and all others that they know | `redis-cluster` |
    /// | `rediss://…`, `rediss+sentinel://…`, `rediss+cluster://…` | the same by TLS | `redis-tls` |
    ///
    /// `valkey` can stand for `redis`, and `valkeys` for `rediss`.
    ///
    /// With TLS the program chooses the cryptography: it installs a `CryptoProvider` of rustls before
    /// the first request, as `rustls::crypto::ring::default_provider().install_default()` does. The
    /// certificates of the system are trusted; for others, and for Sentinels that ask for a password,
    /// there are constructors which take a client.
    ///
    /// ```
    /// use tower_idempotency::RedisStore;
    ///
    /// let store = RedisStore::connect("redis://localhost")?;
    /// # #[cfg(feature = "redis-sentinel")]
    /// let store = RedisStore::connect("redis+sentinel://one,two,three/payments")?;
    /// # #[cfg(feature = "redis-cluster")]
    /// let store = RedisStore::connect("redis+cluster://one:6379,two:6379,three:6379")?;
    /// # Ok::<(), tower_idempotency::store::redis::redis::RedisError>(())
    /// ```
    ///
    /// # Errors
    /// If the address cannot be understood, or needs a feature that is not compiled in.
    pub fn connect(address: impl AsRef<str>) -> Result<Self, RedisError> {
        address::parse(address.as_ref()).map(Self::at)
    }

    /// A store that connects as this client does: for TLS with certificates of your own, for
    /// example. `TCP_NODELAY` and a way to notice dead connections are set in addition. Without TLS,
    /// the time that its sockets linger is left to the system.
    ///
    /// ```
    /// use tower_idempotency::store::redis::{RedisStore, redis};
    ///
    /// let client = redis::Client::open("redis://localhost")?;
    /// let store = RedisStore::new(client);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::at(Source::server(client))
    }

    /// A store on the master that this client finds through Sentinels.
    ///
    /// The client believes the first Sentinel that answers. An address asks more than half of them
    /// and takes the newest answer, so it also leaves a master that is cut off together with the
    /// first Sentinel: prefer [`connect`](Self::connect) where it can say what you need.
    ///
    /// ```
    /// use tower_idempotency::store::redis::{RedisStore, redis};
    /// use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
    ///
    /// let sentinels = [redis::ConnectionAddr::Tcp("localhost".into(), 26379)];
    /// let client = SentinelClientBuilder::new(sentinels, "payments", SentinelServerType::Master)?
    ///     .set_client_to_sentinel_password("secret")
    ///     .build()?;
    /// let store = RedisStore::sentinel(client);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    #[cfg(feature = "redis-sentinel")]
    #[must_use]
    pub fn sentinel(client: SentinelClient) -> Self {
        Self::at(Source::Sentinels(Sentinels::of(client).into()))
    }

    /// A store on a Cluster.
    ///
    /// The client's own time-outs do not count: each call is bounded by the time that it is given,
    /// and connecting by [`connect_timeout`](Self::connect_timeout). Give it few retries with short
    /// waits in between (the defaults of the `redis` crate are longer than a request can wait),
    /// RESP3, without which nothing is notified of changes, and no reads from replicas.
    ///
    /// ```
    /// use tower_idempotency::store::redis::{RedisStore, redis};
    ///
    /// let client = redis::cluster::ClusterClient::builder(["redis://one:6379", "redis://two:6379"])
    ///     .use_protocol(redis::ProtocolVersion::RESP3)
    ///     .retries(4)
    ///     .min_retry_wait(10)
    ///     .max_retry_wait(100)
    ///     .tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true))
    ///     .build()?;
    /// let store = RedisStore::cluster(client);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    #[cfg(feature = "redis-cluster")]
    #[must_use]
    pub fn cluster(client: ClusterClient) -> Self {
        Self::at(Source::Cluster(Nodes::of(client).into()))
    }

    fn at(source: Source) -> Self {
        let time = Arc::new(source.time());
        let lane = |board| Lane::new(source.clone(), CONNECT_TIMEOUT, Arc::clone(&time), board);
        Self {
            claims: Lanes::new(1, || lane(None)),
            durable: Lanes::new(1, || lane(None)),
            finishes: Lanes::new(1, || lane(None)),
            watches: Watches::new(|board| lane(Some(board))),
            connect_timeout: CONNECT_TIMEOUT,
            connections: 1,
            prefix: b"idempotency:".into(),
            canary: Arc::new(Canary::new(b"idempotency:".into())),
            when_emptied: Emptied::Report,
            durability: Durability::local(),
            fell_short: AtomicBool::new(false),
            source,
            time,
        }
    }

    /// The same store without connections, to be made as it says.
    fn reopened(self) -> Self {
        let lane = |board| {
            Lane::new(self.source.clone(), self.connect_timeout, Arc::clone(&self.time), board)
        };
        Self {
            claims: Lanes::new(self.connections, || lane(None)),
            durable: Lanes::new(self.connections, || lane(None)),
            finishes: Lanes::new(self.connections, || lane(None)),
            watches: Watches::new(|board| lane(Some(board))),
            ..self
        }
    }

    /// What every key begins with, before a colon; the default is `idempotency`. Services that
    /// share a Redis and not their keys need one each.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Self {
        self.prefix = [prefix.as_ref(), b":"].concat();
        self.canary = Arc::new(Canary::new(self.prefix.clone()));
        self
    }

    /// How long connecting may take, with finding the master and the handshake; the default is one
    /// second. A node of a Cluster may take a quarter of it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self.reopened()
    }

    /// How many connections there are for new requests, and as many again for finishing work; the
    /// default is 1, and 0 counts as 1. On a Cluster, each is one to every node.
    ///
    /// One connection carries any number of calls at once. More of them help where large answers
    /// delay small ones, or where one core cannot encrypt what goes over a connection.
    ///
    /// ```
    /// use tower_idempotency::RedisStore;
    ///
    /// let store = RedisStore::connect("redis://localhost")?.connections(4);
    /// # Ok::<(), tower_idempotency::store::redis::redis::RedisError>(())
    /// ```
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count.max(1);
        self.reopened()
    }
}
