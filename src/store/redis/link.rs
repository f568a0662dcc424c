use redis::aio::MultiplexedConnection;
#[cfg(feature = "redis-cluster")]
use redis::cluster_async::ClusterConnection;
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
}

/// An error reply as an error.
fn refused(reply: Value) -> RedisResult<Value> {
    match reply {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}
