use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, ConnectionAddr, RedisResult, Value};

use super::group::{Groups, Proof};
use super::link::Link;
use super::server_time::ServerTime;
#[cfg(feature = "redis-cluster")]
use super::shards::Shards;
use super::source::Connected;
use crate::store::redis::durability::Durability;

/// A connection. Clones of it share one socket.
#[derive(Clone)]
pub(in crate::store::redis) struct Live {
    pub(in crate::store::redis) link: Link,
    shared: Arc<Shared>,
}

/// What all calls on a connection have in common, held by each of them.
pub(in crate::store::redis) struct Shared {
    /// The server at the other end, if it is one.
    address: Option<ConnectionAddr>,
    since: Duration,
    /// When the last reply came, in microseconds of this machine's clock.
    heard: AtomicU64,
    /// When the first call was sent that no reply has come after; 0 if there is none.
    asked: AtomicU64,
    /// Whether another connection is being made that will take the place of this one.
    renewing: AtomicBool,
    /// Whether the server has refused `SET … IFEQ`.
    lacks_ifeq: AtomicBool,
    /// Whether the server was told to notify on it.
    tracks: AtomicBool,
    /// Whether the canary was looked for on it.
    visited: AtomicBool,
    groups: Arc<Groups>,
    #[cfg(feature = "redis-cluster")]
    shards: Arc<Shards>,
}

impl Shared {
    /// Of a connection to the server at this address, if it is one.
    pub(super) fn new(address: Option<ConnectionAddr>) -> Arc<Self> {
        Arc::new(Self {
            address,
            since: ServerTime::here(),
            heard: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            renewing: AtomicBool::new(false),
            lacks_ifeq: AtomicBool::new(false),
            tracks: AtomicBool::new(false),
            visited: AtomicBool::new(false),
            groups: Arc::default(),
            #[cfg(feature = "redis-cluster")]
            shards: Arc::default(),
        })
    }
}

impl Live {
    pub(in crate::store::redis) fn new(Connected { link, shared }: Connected) -> Self {
        let live = Self { link, shared };
        live.hear();
        live
    }

    /// Notes that a call is sent.
    pub(in crate::store::redis) fn ask(&self, now: u64) {
        let _ = self.shared.asked.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that a reply came.
    pub(in crate::store::redis) fn hear(&self) {
        self.shared.heard.store(ServerTime::here_in_micros(), Ordering::Relaxed);
        self.shared.asked.store(0, Ordering::Relaxed);
    }

    /// For how long calls have been sent and nothing has come back.
    pub(in crate::store::redis) fn silence(&self) -> Duration {
        match self.shared.asked.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            asked => ServerTime::here().saturating_sub(Duration::from_micros(asked)),
        }
    }

    pub(in crate::store::redis) fn heard(&self) -> Duration {
        Duration::from_micros(self.shared.heard.load(Ordering::Relaxed))
    }

    pub(in crate::store::redis) fn age(&self) -> Duration {
        ServerTime::here().saturating_sub(self.shared.since)
    }

    pub(in crate::store::redis) fn address(&self) -> Option<&ConnectionAddr> {
        self.shared.address.as_ref()
    }

    pub(in crate::store::redis) fn renewing(&self) -> &AtomicBool {
        &self.shared.renewing
    }

    pub(in crate::store::redis) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(in crate::store::redis) fn lacks_ifeq(&self) -> bool {
        self.shared.lacks_ifeq.load(Ordering::Relaxed)
    }

    /// Notes that the server does not know `SET … IFEQ`. The next connection tries it again, since
    /// the server behind it may be a newer one.
    pub(in crate::store::redis) fn note_lack_of_ifeq(&self) {
        self.shared.lacks_ifeq.store(true, Ordering::Relaxed);
    }

    /// Whether the server notifies of what is read on it.
    pub(in crate::store::redis) fn tracks(&self) -> bool {
        self.shared.tracks.load(Ordering::Relaxed)
    }

    /// Notes that it was told to. The connections to the nodes of a Cluster come and go unseen, so there
    /// it is told each time, which is harmless.
    pub(in crate::store::redis) fn note_tracking(&self) {
        self.shared.tracks.store(!self.link.is_cluster(), Ordering::Relaxed);
    }

    pub(in crate::store::redis) fn was_visited(&self) -> bool {
        self.shared.visited.load(Ordering::Relaxed)
    }

    /// Whether nobody has looked for the canary on it; the next one has.
    pub(in crate::store::redis) fn visit(&self) -> bool {
        !self.shared.visited.swap(true, Ordering::Relaxed)
    }

    /// The calls that are followed by a wait for replicas.
    fn groups(&self) -> &Arc<Groups> {
        &self.shared.groups
    }

    /// The same for each node of a Cluster.
    #[cfg(feature = "redis-cluster")]
    fn shards(&self) -> &Arc<Shards> {
        &self.shared.shards
    }
}

impl Live {
    /// Runs a command and asks for the durability of what it writes. The reply comes first, where
    /// that can be: what has written nothing needs no proof.
    #[cfg_attr(not(feature = "redis-cluster"), expect(unused_variables))]
    pub(in crate::store::redis) async fn durably(
        &self,
        durability: Durability,
        key: &[u8],
        command: Cmd,
        until: Duration,
    ) -> RedisResult<(Value, Proof)> {
        match &self.link {
            Link::Single(_) => {
                self.groups().take(self.link.clone(), durability, command, until).await
            }
            #[cfg(feature = "redis-cluster")]
            Link::Cluster(connection) => {
                self.shards().take(connection, durability, key, command, until).await
            }
        }
    }
}
