use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ProtocolVersion, RedisResult};

use super::link::Link;
use super::live::Shared;
#[cfg(feature = "redis-cluster")]
use super::nodes::Nodes;
#[cfg(feature = "redis-sentinel")]
use super::sentinels::Sentinels;
use super::server_time::ServerTime;
use super::socket;
use super::tune::tuned_info;
use crate::protocol::Timestamp;
use crate::store::watch::board::Board;

/// How many calls may wait for their turn to be written.
const QUEUE: usize = 512;

/// Where the connections of a store lead.
#[derive(Clone)]
pub(in crate::store::redis) enum Source {
    /// To one server.
    Server(Box<Client>),
    /// To the server that Sentinels name as the master.
    #[cfg(feature = "redis-sentinel")]
    Sentinels(Arc<Sentinels>),
    /// To all nodes of a Cluster.
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<Nodes>),
}

/// What a connection attempt has led to.
pub(in crate::store::redis) struct Connected {
    pub(in crate::store::redis) link: Link,
    pub(in crate::store::redis) shared: Arc<Shared>,
}

impl Source {
    pub(in crate::store::redis) fn server(client: Client) -> Self {
        let info = tuned_info(client.get_connection_info().clone());
        // Opening a client only stores the address; one that was valid stays so.
        Self::Server(Client::open(info).unwrap_or(client).into())
    }

    pub(in crate::store::redis) fn is_cluster(&self) -> bool {
        match self {
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => true,
            _ => false,
        }
    }

    /// What is known of the time there.
    pub(in crate::store::redis) fn time(&self) -> ServerTime {
        match self {
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => ServerTime::of_nodes(),
            _ => ServerTime::of_server(),
        }
    }

    /// Connects and asks for the time; the scripts are loaded when they are missed. With a `board`,
    /// notifications can be asked for, and go there.
    pub(in crate::store::redis) async fn connect(
        &self,
        within: Duration,
        time: &ServerTime,
        board: Option<&Arc<Board>>,
    ) -> RedisResult<Connected> {
        let connect = async {
            match self {
                Self::Server(client) => to_server(client, time, board).await,
                #[cfg(feature = "redis-sentinel")]
                Self::Sentinels(sentinels) => {
                    to_server(&sentinels.find_master(within).await?, time, board).await
                }
                #[cfg(feature = "redis-cluster")]
                Self::Cluster(nodes) => {
                    let link = Link::Cluster(nodes.connect(within, time, board).await?);
                    Ok(Connected { link, shared: Shared::new(None) })
                }
            }
        };
        let timed_out = |elapsed| std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed);
        tokio::time::timeout(within, connect).await.map_err(timed_out)?
    }

    /// Whether what is known of the master is too old to act on.
    #[cfg_attr(not(feature = "redis-sentinel"), expect(clippy::unused_self))]
    pub(in crate::store::redis) fn is_stale(&self) -> bool {
        #[cfg(feature = "redis-sentinel")]
        if let Self::Sentinels(sentinels) = self {
            return sentinels.is_stale();
        }
        false
    }

    /// Sees that what is known of the master is not too old to act on.
    #[cfg_attr(not(feature = "redis-sentinel"), expect(clippy::unused_async))]
    pub(in crate::store::redis) async fn refresh(&self) {
        #[cfg(feature = "redis-sentinel")]
        if let Self::Sentinels(sentinels) = self {
            sentinels.refresh().await;
        }
    }

    /// Whether another server than the one at this address is the master now, as far as is known.
    /// To know, Sentinels are asked now and then, in the background.
    pub(in crate::store::redis) fn has_moved_from(&self, address: Option<&ConnectionAddr>) -> bool {
        match (self, address) {
            #[cfg(feature = "redis-sentinel")]
            (Self::Sentinels(sentinels), Some(address)) => sentinels.have_moved_from(address),
            _ => false,
        }
    }
}

async fn to_server(
    client: &Client,
    time: &ServerTime,
    board: Option<&Arc<Board>>,
) -> RedisResult<Connected> {
    // Every verb is bounded by the time it was given, and a second timer per call would add nothing
    // but its cost.
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let mut info = client.get_connection_info().clone();
    if let Some(board) = board {
        config = config.set_push_sender(Arc::clone(board));
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        info = info.set_redis_settings(settings);
    }
    let shared = Shared::new(Some(info.addr().clone()));
    let mut connection = socket::connect(info, config, Arc::downgrade(&shared)).await?;
    let sent = ServerTime::here();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
    time.relearn(Timestamp::from_micros(seconds * 1_000_000 + micros), sent, None);
    Ok(Connected { link: Link::Single(connection), shared })
}

impl fmt::Display for Source {
    /// The addresses, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(client) => write!(f, "{}", client.get_connection_info().addr()),
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinels(sentinels) => write!(f, "{sentinels}"),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(nodes) => write!(f, "{nodes}"),
        }
    }
}
