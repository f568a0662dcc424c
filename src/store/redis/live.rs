use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::ConnectionAddr;

use super::link::Link;
use super::server_time::ServerTime;
use super::source::Connected;

/// A connection. Clones of it share one socket.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) link: Link,
    shared: Arc<Shared>,
}

struct Shared {
    /// The server at the other end, if it is one.
    address: Option<ConnectionAddr>,
    since: Duration,
    /// When the last reply came, in microseconds of this machine's clock.
    heard: AtomicU64,
    /// When the first call was sent that no reply has come after; 0 if there is none.
    asked: AtomicU64,
    /// Whether another connection is being made that will take the place of this one.
    renewing: AtomicBool,
}

impl Live {
    pub(super) fn new(Connected { link, address }: Connected) -> Self {
        let live = Self {
            link,
            shared: Arc::new(Shared {
                address,
                since: ServerTime::here(),
                heard: AtomicU64::new(0),
                asked: AtomicU64::new(0),
                renewing: AtomicBool::new(false),
            }),
        };
        live.hear();
        live
    }

    /// Notes that a call is sent.
    pub(super) fn ask(&self, now: u64) {
        let _ = self.shared.asked.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that a reply came.
    pub(super) fn hear(&self) {
        self.shared.heard.store(ServerTime::here_in_micros(), Ordering::Relaxed);
        self.shared.asked.store(0, Ordering::Relaxed);
    }

    /// For how long calls have been sent and nothing has come back.
    pub(super) fn silence(&self) -> Duration {
        match self.shared.asked.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            asked => ServerTime::here().saturating_sub(Duration::from_micros(asked)),
        }
    }

    pub(super) fn heard(&self) -> Duration {
        Duration::from_micros(self.shared.heard.load(Ordering::Relaxed))
    }

    pub(super) fn age(&self) -> Duration {
        ServerTime::here().saturating_sub(self.shared.since)
    }

    pub(super) fn address(&self) -> Option<&ConnectionAddr> {
        self.shared.address.as_ref()
    }

    pub(super) fn renewing(&self) -> &AtomicBool {
        &self.shared.renewing
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}
