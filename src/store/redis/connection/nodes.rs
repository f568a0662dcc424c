use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{ConnectionInfo, ErrorKind, ProtocolVersion, RedisError, RedisResult, Value};

use super::server_time::ServerTime;
use super::tune::tuned;
use crate::store::redis::scripts::moment;
use crate::store::watch::board::Board;

/// How often the client library sends a call again when a node redirects it, is not ready or cannot
/// be reached, and for how long it waits in between, in milliseconds. Calls have a second or so. With
/// none there would be no copies that nobody knows of; but the library counts redirections among
/// them, and a slot that is moving was refused (`redis_store::cluster::a_slot_that_moves_is_followed`).
const REPEATS: u32 = 4;
const FIRST_WAIT: u64 = 10;
const LONGEST_WAIT: u64 = 100;

/// How long a node may take to answer at most. Every call is bounded by the time it was given; this
/// is for what the library asks for itself.
const SILENT: Duration = Duration::from_secs(10);

/// The nodes of a Cluster. The client library keeps a connection to each of them, finds the one
/// that a key is on and follows it when it moves.
#[derive(Clone)]
pub(in crate::store::redis) struct Nodes {
    client: ClusterClient,
    name: Arc<str>,
}

impl Nodes {
    pub(in crate::store::redis) fn of(client: ClusterClient) -> Self {
        Self { client, name: "a Cluster".into() }
    }

    /// Nodes at these addresses, and whatever others they know.
    pub(in crate::store::redis) fn at(
        nodes: Vec<ConnectionInfo>,
        protocol: Option<ProtocolVersion>,
    ) -> RedisResult<Self> {
        let addresses: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
        let settings = nodes.first().map(|node| node.tcp_settings().clone()).unwrap_or_default();
        let client = ClusterClient::builder(nodes)
            .use_protocol(protocol.unwrap_or(ProtocolVersion::RESP3))
            .retries(REPEATS)
            .min_retry_wait(FIRST_WAIT)
            .max_retry_wait(LONGEST_WAIT)
            .tcp_settings(tuned(settings))
            .build()?;
        Ok(Self { client, name: format!("a Cluster at {}", addresses.join(", ")).into() })
    }

    /// Connects to all nodes that can be reached. `within` is for all of it: a node that is silent
    /// must leave time for the others.
    pub(in crate::store::redis) async fn connect(
        &self,
        within: Duration,
        time: &ServerTime,
        board: Option<&Arc<Board>>,
    ) -> RedisResult<ClusterConnection> {
        let mut config =
            ClusterConfig::new().set_connection_timeout(within / 4).set_response_timeout(SILENT);
        if let Some(board) = board {
            config = config.set_push_sender(Arc::clone(board));
        }
        let mut connection =
            self.client.get_async_connection_with_config(config).await.map_err(refusal)?;
        if board.is_some() {
            require_pushes(&mut connection).await?;
        }
        // A node that is silent now is asked by the first call to it.
        let _ = tokio::time::timeout(within / 4, ask_for_time(&mut connection, time)).await;
        Ok(connection)
    }
}

/// The library calls every failure to connect one of the network. That a node refuses the user it
/// says in words only.
fn refusal(error: RedisError) -> RedisError {
    let says = |code: &&'static str| error.detail().is_some_and(|detail| detail.contains(code));
    match ["WRONGPASS", "NOAUTH", "NOPERM"].into_iter().find(says) {
        Some(code) => redis::make_extension_error(code.into(), error.detail().map(Into::into)),
        None => error,
    }
}

/// Without RESP3 nothing is notified, and nothing says so.
async fn require_pushes(connection: &mut ClusterConnection) -> RedisResult<()> {
    let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
    match connection.route_command(redis::cmd("HELLO"), anywhere).await? {
        Value::Map(_) => Ok(()),
        _ => Err((ErrorKind::RESP3NotSupported, "the client of the Cluster uses RESP2").into()),
    }
}

/// Asks all masters, since each has its own clock.
async fn ask_for_time(connection: &mut ClusterConnection, time: &ServerTime) -> RedisResult<()> {
    let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let sent = ServerTime::here();
    if let Value::Map(answers) = connection.route_command(redis::cmd("TIME"), masters).await? {
        for (_, answer) in answers {
            moment(answer).into_iter().for_each(|now| time.learn(now, sent, None));
        }
    }
    Ok(())
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
