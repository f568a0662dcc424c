use redis::aio::MultiplexedConnection;
#[cfg(feature = "redis-cluster")]
use redis::cluster_async::ClusterConnection;
#[cfg(feature = "redis-cluster")]
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
#[cfg(feature = "redis-cluster")]
use redis::from_redis_value;
use redis::{Cmd, Pipeline, RedisResult, Value};

/// A connection to one server, or to all of a Cluster. Clones share it.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) async fn command(&mut self, command: &Cmd) -> RedisResult<Value> {
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
    pub(super) async fn commands(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        self.each(commands).await?.into_iter().collect()
    }

    /// Sends all commands together, to one server, and tells what each of them was answered.
    pub(super) async fn each(
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
    pub(super) fn canaries(&self) -> Vec<String> {
        match self {
            Self::Single(_) => vec!["canary".into()],
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => (0..CANARIES).map(|tag| format!("canary{{{tag}}}")).collect(),
        }
    }

    /// Asks the server, or each master of a Cluster, which is named then.
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Vec<Told>> {
        match self {
            Self::Single(connection) => {
                let reply = connection.send_packed_command(command).await?;
                Ok(vec![(None, refused(reply))])
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let replies = connection.route_command(command.clone(), masters).await?;
                let Value::Map(replies) = replies else { return Ok(Vec::new()) };
                let told = |(server, reply)| Ok((Some(from_redis_value(server)?), refused(reply)));
                replies.into_iter().map(told).collect()
            }
        }
    }
}

/// How many canaries a Cluster has: with so many hash tags a master of ten has none once in a
/// thousand times.
#[cfg(feature = "redis-cluster")]
const CANARIES: usize = 64;

/// A server of several, and its reply.
pub(super) type Told = (Option<String>, RedisResult<Value>);

/// An error reply as an error.
fn refused(reply: Value) -> RedisResult<Value> {
    match reply {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}
