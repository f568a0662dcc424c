use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use redis::{Value, from_redis_value};

use super::concern::Concern;
use super::inspect::Expected;
use super::report::{Report, Server};
use crate::store::redis::RedisStore;
use crate::store::redis::connection::link::Told;
use crate::store::redis::error::Stage;
use crate::store::{Effect, Error, ErrorKind, Operation};

/// How long the check may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The cause of the error of [`RedisStore::require_safe`].
#[derive(Debug)]
struct Unsafe(Report);

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, concern) in self.0.concerns().enumerate() {
            write!(f, "{}{concern}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsafe {}

impl RedisStore {
    /// Asks the server, or every master of a Cluster, for what an operator should know: its role,
    /// replicas, persistence, eviction policy, version and Cluster, and which settings lose records
    /// or keep the store from working.
    ///
    /// An eviction policy is reported even where no `maxmemory` is set yet: the day it is set, the
    /// policy begins to throw records away. It needs the right to call `INFO`; with `CONFIG GET`
    /// and `CLUSTER INFO` it can tell more.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = tower_idempotency::store::RedisStore::connect("redis://localhost")?;
    /// eprintln!("{}", store.verify().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn verify(&self) -> Result<Report, Error> {
        let call = self.call(self.claims.first(), Operation::Verify, WITHIN);
        let asked = async {
            let infos = call.ask(&["INFO"]).await?;
            let mut fsyncs = call.ask(&["CONFIG", "GET", "appendfsync"]).await?;
            let mut clusters = call.ask(&["CLUSTER", "INFO"]).await?;
            let expected =
                Expected { durability: self.durability, cluster: self.source.is_cluster() };
            let servers = infos.into_iter().map(|(address, info)| {
                let info = info.map_err(|error| call.failed((Stage::Sent, error)))?;
                let info: String = from_redis_value(info).map_err(|_| call.unexpected())?;
                let fsync = take(&mut fsyncs, &address).and_then(|reply| {
                    from_redis_value::<HashMap<String, String>>(reply).ok()?.remove("appendfsync")
                });
                let cluster: Option<String> =
                    take(&mut clusters, &address).and_then(|reply| from_redis_value(reply).ok());
                Ok(Server::read(address, &info, fsync, cluster.as_deref(), expected))
            });
            let servers = servers.collect::<Result<_, Error>>()?;
            Ok(Report { servers, emptied: self.canary.is_emptied().then_some(Concern::Emptied) })
        };
        call.bounded(asked).await
    }

    /// The store, if [`verify`](Self::verify) finds nothing to be concerned about.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = tower_idempotency::store::RedisStore::connect("redis://localhost")?;
    /// let store = store.require_safe().await?;
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If there is a concern, with all of them as the [`source`](std::error::Error::source), whose
    /// `Display` says what to do; or if the server cannot be asked.
    pub async fn require_safe(self) -> Result<Self, Error> {
        let report = self.verify().await?;
        if report.concerns().next().is_none() {
            return Ok(self);
        }
        let error = Error::new(ErrorKind::Unsafe, Operation::Verify, Effect::None);
        Err(error.with_source(Unsafe(report)))
    }
}

/// The reply of this server, if it did not refuse.
fn take(replies: &mut Vec<Told>, address: &str) -> Option<Value> {
    let position = replies.iter().position(|(server, _)| server == address)?;
    replies.swap_remove(position).1.ok()
}
