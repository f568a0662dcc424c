use std::fmt;
use std::time::Duration;

use redis::Value;

use super::RedisStore;
use super::call::Call;
use crate::store::{Effect, Error, ErrorKind, Operation};

/// How long the check may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The first release whose scripts can say that they may write into a full server.
const OLDEST_MAJOR: u32 = 7;

/// Something about a Redis server that loses records or keeps the store from working.
///
/// `Display` says what it means and what to do.
///
/// ```
/// use tower_idempotency::store::redis::Concern;
///
/// let concern = Concern::Evicts { policy: "allkeys-lru".into() };
/// assert!(concern.to_string().contains("set maxmemory-policy to noeviction"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// When memory is full, Redis throws away records to make room, running claims among them.
    Evicts {
        /// The `maxmemory-policy`.
        policy: String,
    },
    /// Redis keeps no append-only file, so a restart forgets what has happened since the last
    /// snapshot.
    NoAppendOnlyFile,
    /// The server is a replica and refuses writes.
    Replica,
    /// The server is a node of a Redis Cluster, which answers only for a part of the keys.
    Cluster,
    /// The server is too old to run the scripts.
    TooOld {
        /// The version that it reports.
        version: String,
    },
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evicts { policy } => write!(
                f,
                "maxmemory-policy is {policy}: a full Redis throws away running claims and stored \
                 answers, and their requests run again; set maxmemory-policy to noeviction"
            ),
            Self::NoAppendOnlyFile => f.write_str(
                "there is no append-only file: a restart of Redis forgets keys, and their requests \
                 run again; set appendonly to yes",
            ),
            Self::Replica => f.write_str(
                "the server is a replica and refuses writes: connect to the address of the master",
            ),
            Self::Cluster => f.write_str(
                "the server is a node of a Redis Cluster and answers only for a part of the keys: \
                 connect to a single Redis or to a proxy in front of the cluster",
            ),
            Self::TooOld { version } => {
                write!(f, "the server is version {version}: use Redis 7.0 or later, or Valkey")
            }
        }
    }
}

/// The cause of the error of [`RedisStore::require_safe`].
#[derive(Debug)]
struct Unsafe(Vec<Concern>);

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, concern) in self.0.iter().enumerate() {
            write!(f, "{}{concern}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsafe {}

impl RedisStore {
    /// Asks the server for settings under which it would lose records.
    ///
    /// An eviction policy is reported even where no `maxmemory` is set yet: the day it is set, the
    /// policy begins to throw records away. It needs the right to call `INFO` and no other.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = tower_idempotency::store::RedisStore::connect("redis://localhost")?;
    /// for concern in store.verify().await? {
    ///     eprintln!("redis: {concern}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn verify(&self) -> Result<Vec<Concern>, Error> {
        let call = Call::new(self.claims.first(), &self.time, Operation::Verify, WITHIN);
        let mut info = redis::pipe();
        info.cmd("INFO");
        let reply = call.bounded(call.commands(&info)).await?.pop();
        let text = match &reply {
            Some(Value::BulkString(text)) => String::from_utf8_lossy(text),
            Some(Value::VerbatimString { text, .. }) => text.as_str().into(),
            _ => return Err(call.unexpected()),
        };
        Ok(concerns(&text))
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
    /// If there is a concern, with all of them as the [`source`](std::error::Error::source); or if
    /// the server cannot be asked.
    pub async fn require_safe(self) -> Result<Self, Error> {
        let concerns = self.verify().await?;
        if concerns.is_empty() {
            return Ok(self);
        }
        let error = Error::new(ErrorKind::Refused, Operation::Verify, Effect::None);
        Err(error.with_source(Unsafe(concerns)))
    }
}

fn concerns(info: &str) -> Vec<Concern> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction");
    let version = field("redis_version").unwrap_or("unknown");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    [
        policy.map(|policy| Concern::Evicts { policy: policy.to_owned() }),
        (field("aof_enabled") != Some("1")).then_some(Concern::NoAppendOnlyFile),
        (field("role") == Some("slave")).then_some(Concern::Replica),
        (field("redis_mode") == Some("cluster")).then_some(Concern::Cluster),
        major
            .is_none_or(|major| major < OLDEST_MAJOR)
            .then(|| Concern::TooOld { version: version.to_owned() }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\
        maxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\n";

    #[test]
    fn a_durable_master_that_evicts_nothing_is_no_concern() {
        assert_eq!(concerns(GOOD), []);
    }

    #[test]
    fn every_setting_that_loses_records_is_a_concern() {
        let with = |from: &str, to: &str| concerns(&GOOD.replace(from, to));
        let policy = "volatile-ttl".to_owned();
        assert_eq!(with("noeviction", "volatile-ttl"), [Concern::Evicts { policy }]);
        assert_eq!(with("aof_enabled:1", "aof_enabled:0"), [Concern::NoAppendOnlyFile]);
        assert_eq!(with("role:master", "role:slave"), [Concern::Replica]);
        assert_eq!(with("standalone", "cluster"), [Concern::Cluster]);
        let version = "6.2.14".to_owned();
        assert_eq!(with("7.0.15", "6.2.14"), [Concern::TooOld { version }]);
    }
}
