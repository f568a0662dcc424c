use std::fmt;

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
    /// The last write to the append-only file failed.
    AppendOnlyFileFails,
    /// Nobody sees to it that the append-only file reaches the disk.
    NeverSynced,
    /// Claims wait for the append-only file, which is brought to the disk once a second only.
    SlowDisk,
    /// Claims are to wait for the append-only file, and the server has no command for that.
    CannotWaitForDisk {
        /// The version that it reports.
        version: String,
    },
    /// Claims wait for more replicas than there are, so there will be none.
    TooFewReplicas {
        /// How many the durability asks for.
        asked: u32,
        /// How many are online.
        online: u32,
    },
    /// The server is a replica and refuses writes.
    Replica,
    /// The server is a node of a Redis Cluster, which answers only for a part of the keys, and the
    /// store was made for a single server.
    Cluster,
    /// The Cluster does not serve all keys.
    ClusterDown,
    /// Since this store was made, what it had written was gone: see
    /// [`Emptied`](crate::store::redis::Emptied).
    Emptied,
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
            Self::AppendOnlyFileFails => f.write_str(
                "the last write to the append-only file failed, and Redis refuses writes until one \
                 succeeds: look for a full or broken disk",
            ),
            Self::NeverSynced => f.write_str(
                "appendfsync is no: a power cut forgets keys of half a minute, and their requests \
                 run again; set appendfsync to everysec or always",
            ),
            Self::SlowDisk => f.write_str(
                "claims wait for the append-only file, and appendfsync is everysec: each takes up \
                 to a second and more; set appendfsync to always",
            ),
            Self::CannotWaitForDisk { version } => write!(
                f,
                "claims are to wait for the append-only file, which version {version} cannot: use \
                 Redis 7.2 or later, or Valkey, or a durability without on_disk"
            ),
            Self::TooFewReplicas { asked, online } => write!(
                f,
                "claims wait for {asked} replicas and {online} are online: new requests get 503; \
                 start replicas, or ask for fewer"
            ),
            Self::Replica => f.write_str(
                "the server is a replica and refuses writes: connect to the address of the master",
            ),
            Self::Cluster => f.write_str(
                "the server is a node of a Redis Cluster and answers only for a part of the keys: \
                 connect to redis+cluster:// and its address",
            ),
            Self::ClusterDown => f.write_str(
                "the Cluster does not serve all keys: look at CLUSTER INFO and CLUSTER NODES",
            ),
            Self::Emptied => f.write_str(
                "Redis was emptied, or another server or database answers now: completed requests \
                 are forgotten, and their retries run again; look for FLUSHALL, a restart without \
                 its data, or an empty replica that became the master",
            ),
            Self::TooOld { version } => {
                write!(f, "the server is version {version}: use Redis 7.0 or later, or Valkey")
            }
        }
    }
}
