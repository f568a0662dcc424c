use redis::aio::MultiplexedConnection;
#[cfg(feature = "redis-cluster")]
use redis::cluster_async::ClusterConnection;
#[cfg(feature = "redis-cluster")]
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
#[cfg(feature = "redis-cluster")]
use redis::from_redis_value;
use redis::{Cmd, Pipeline, RedisResult, Value};

/// A connection to one server, or to all of a Cluster. Clones share it.
#[derive(Clone)]
pub(in crate::store::redis) enum Link {
    Single(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    Cluster(ClusterConnection),
}

impl Link {
    /// Whether calls go to many servers, each of them on a connection of its own. The client library
    /// then looks after these connections, and sends calls again without saying so.
    #[cfg_attr(not(feature = "redis-cluster"), expect(clippy::unused_self))]
    pub(in crate::store::redis) fn is_cluster(&self) -> bool {
        #[cfg(feature = "redis-cluster")]
        return matches!(self, Self::Cluster(_));
        #[cfg(not(feature = "redis-cluster"))]
        return false;
    }

    pub(in crate::store::redis) async fn command(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.send_packed_command(command).await,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => {
                redis::aio::ConnectionLike::req_packed_command(connection, command).await
            }
        }
        .and_then(refused)
    }

    /// Sends all commands together, to one server. Fails if one of them is refused.
    pub(in crate::store::redis) async fn commands(
        &mut self,
        commands: &Pipeline,
    ) -> RedisResult<Vec<Value>> {
        self.each(commands).await?.into_iter().collect()
    }

    /// Sends all commands together, to one server, and tells what each of them was answered.
    pub(in crate::store::redis) async fn each(
        &mut self,
        commands: &Pipeline,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let replies = match self {
            Self::Single(connection) => {
                connection.send_packed_commands(commands, 0, commands.len()).await
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => {
                let count = commands.len();
                redis::aio::ConnectionLike::req_packed_commands(connection, commands, 0, count)
                    .await
            }
        }?;
        Ok(replies.into_iter().map(refused).collect())
    }

    /// What the keys are called that show whether a server was emptied.
    pub(in crate::store::redis) fn canaries(&self) -> Vec<String> {
        match self {
            Self::Single(_) => vec!["canary".into()],
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => (0..CANARIES).map(|tag| format!("canary{{{tag}}}")).collect(),
        }
    }

    /// Asks the server, which is at this address, or each master of a Cluster.
    pub(in crate::store::redis) async fn ask(
        &mut self,
        address: &str,
        command: &Cmd,
    ) -> RedisResult<Vec<Told>> {
        match self {
            Self::Single(connection) => {
                let reply = connection.send_packed_command(command).await?;
                Ok(vec![(address.to_owned(), refused(reply))])
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let replies = connection.route_command(command.clone(), masters).await?;
                let Value::Map(replies) = replies else { return Ok(Vec::new()) };
                let told = |(server, reply)| Ok((from_redis_value(server)?, refused(reply)));
                replies.into_iter().map(told).collect()
            }
        }
    }

    /// Sends all commands together, to the master that this key is on.
    #[cfg_attr(not(feature = "redis-cluster"), expect(unused_variables))]
    pub(in crate::store::redis) async fn read(
        &mut self,
        key: &[u8],
        commands: &Pipeline,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(_) => self.commands(commands).await,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => read_from_node(connection, key, commands).await,
        }
    }
}

/// While a slot moves, a node takes one command at a time for the keys that it has got so far; a
/// transaction counts as one.
#[cfg(feature = "redis-cluster")]
async fn read_from_node(
    connection: &mut ClusterConnection,
    key: &[u8],
    commands: &Pipeline,
) -> RedisResult<Vec<Value>> {
    let mut whole = Pipeline::with_capacity(commands.len() + 2);
    whole.cmd("MULTI");
    for command in commands.cmd_iter() {
        whole.add_command(command.clone());
    }
    whole.cmd("EXEC");
    let (count, route) = (whole.len(), Route::with_key(key, SlotAddr::Master));
    let node = SingleNodeRoutingInfo::SpecificNode(route);
    let replies = connection.route_pipeline(whole, 0, count, node).await?;
    let mut replies = replies.into_iter().map(refused).collect::<RedisResult<Vec<_>>>()?;
    match replies.pop() {
        Some(Value::Array(replies)) => replies.into_iter().map(refused).collect(),
        _ => Ok(Vec::new()),
    }
}

/// How many canaries a Cluster has: with so many hash tags a master of ten has none once in a
/// thousand times.
#[cfg(feature = "redis-cluster")]
const CANARIES: usize = 64;

/// The address of a server, and its reply.
pub(in crate::store::redis) type Told = (String, RedisResult<Value>);

/// An error reply as an error.
pub(in crate::store::redis) fn refused(reply: Value) -> RedisResult<Value> {
    match reply {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}
