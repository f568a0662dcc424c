#[cfg(feature = "redis-cluster")]
use std::collections::HashMap;
#[cfg(feature = "redis-cluster")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(feature = "redis-cluster")]
use redis::cluster_routing::Slot;

use crate::protocol::Timestamp;
#[cfg(feature = "redis-cluster")]
use crate::store::server_clock::Sample;
use crate::store::server_clock::{ServerClock, here};

/// For how long the clocks of the nodes of a Cluster are remembered at least.
#[cfg(feature = "redis-cluster")]
const SPAN: Duration = Duration::from_secs(60);

/// What is known here of Redis's clock: it judges every deadline.
#[derive(Debug)]
pub(in crate::store::redis) enum ServerTime {
    Server(ServerClock),
    #[cfg(feature = "redis-cluster")]
    Nodes(Mutex<Clocks>),
}

/// What is known of the clocks of a Cluster, where nothing tells which node a reply is from.
///
/// The estimate for all is the lowest: it is ahead of no node, and where clocks are as close as they
/// should be, a deadline is early by no more than they differ. A node that is so far ahead that calls
/// are late there says so in its answer, and its hash slots get an estimate of their own. Until the
/// first reply from a node whose clock is behind all others, deadlines there are later than meant by
/// the difference.
#[cfg(feature = "redis-cluster")]
#[derive(Debug, Default)]
pub(in crate::store::redis) struct Clocks {
    lowest: Option<Sample>,
    /// The lowest of the span of time before, since a node may have been silent in this one.
    lowest_before: Option<Sample>,
    since: Duration,
    ahead: HashMap<Slot, Sample>,
}

impl ServerTime {
    pub(in crate::store::redis) const fn of_server() -> Self {
        Self::Server(ServerClock::new())
    }

    #[cfg(feature = "redis-cluster")]
    pub(in crate::store::redis) fn of_nodes() -> Self {
        Self::Nodes(Mutex::default())
    }

    /// This machine's clock.
    pub(in crate::store::redis) fn here() -> Duration {
        here()
    }

    /// The same in whole microseconds, for atomics.
    pub(in crate::store::redis) fn here_in_micros() -> u64 {
        u64::try_from(Self::here().as_micros()).unwrap_or(u64::MAX)
    }

    /// What Redis's clock shows now, or a moment before; the epoch while nothing is known, so that
    /// a call is answered with the time instead of being carried out at any time.
    pub(in crate::store::redis) fn now(&self) -> Timestamp {
        self.at(Self::here())
    }

    fn at(&self, here: Duration) -> Timestamp {
        match self {
            Self::Server(clock) => clock.at(here),
            #[cfg(feature = "redis-cluster")]
            Self::Nodes(clocks) => {
                let clocks = clocks.lock().unwrap_or_else(PoisonError::into_inner);
                let sample = clocks.lowest_at(here);
                sample.map_or(Timestamp::from_micros(0), |sample| sample.at(here))
            }
        }
    }

    /// The same where this key is, when this machine's clock shows `here`.
    pub(in crate::store::redis) fn at_key(&self, key: &[u8], here: Duration) -> Timestamp {
        #[cfg(feature = "redis-cluster")]
        if let Self::Nodes(clocks) = self {
            let clocks = clocks.lock().unwrap_or_else(PoisonError::into_inner);
            if !clocks.ahead.is_empty()
                && let Some(sample) = clocks.ahead.get(&Slot::for_key(key))
            {
                return sample.at(here);
            }
        }
        let _ = key;
        self.at(here)
    }

    /// Learns from a reply to what was sent at `sent`, concerning this key.
    pub(in crate::store::redis) fn learn(
        &self,
        redis: Timestamp,
        sent: Duration,
        key: Option<&[u8]>,
    ) {
        self.keep(redis, sent, key, false);
    }

    /// Learns from a reply which shows that the estimate was wrong or is of another server.
    pub(in crate::store::redis) fn relearn(
        &self,
        redis: Timestamp,
        sent: Duration,
        key: Option<&[u8]>,
    ) {
        self.keep(redis, sent, key, true);
    }

    fn keep(&self, redis: Timestamp, sent: Duration, key: Option<&[u8]>, wrong: bool) {
        match self {
            Self::Server(clock) if wrong => clock.relearn(redis, sent),
            Self::Server(clock) => clock.learn(redis, sent),
            #[cfg(feature = "redis-cluster")]
            Self::Nodes(clocks) => {
                let new = Sample::new(redis, sent);
                clocks.lock().unwrap_or_else(PoisonError::into_inner).keep(new, sent, key, wrong);
            }
        }
        let _ = key;
    }
}

#[cfg(feature = "redis-cluster")]
impl Clocks {
    fn lowest_at(&self, here: Duration) -> Option<Sample> {
        [self.lowest, self.lowest_before].into_iter().flatten().min_by_key(|sample| sample.at(here))
    }

    fn keep(&mut self, new: Sample, sent: Duration, key: Option<&[u8]>, wrong: bool) {
        let known = self.lowest_at(sent);
        if new.arrived.saturating_sub(self.since) > SPAN {
            (self.lowest_before, self.lowest, self.since) = (self.lowest, None, new.arrived);
        }
        // A reply from the same clock is never below what the estimate was when it was asked for.
        if self.lowest.is_none_or(|lowest| new.there < lowest.at(sent)) {
            self.lowest = Some(new);
        }
        let Some(key) = key else { return };
        if wrong && known.is_some_and(|known| known.at(sent) <= new.there) {
            self.ahead.insert(Slot::for_key(key), new);
        } else if !self.ahead.is_empty() {
            let slot = Slot::for_key(key);
            let kept = self.ahead.get(&slot).copied();
            if kept.is_some_and(|kept| new.there < kept.at(sent)) {
                self.ahead.remove(&slot);
            } else if kept.is_some_and(|kept| kept.yields_to(&new, sent)) {
                self.ahead.insert(slot, new);
            }
        }
    }
}

#[cfg(all(test, feature = "redis-cluster"))]
mod tests {
    use super::*;

    const TODAY: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_estimate_for_a_cluster_is_ahead_of_no_node() {
        let time = ServerTime::of_nodes();
        let (one, two): (&[u8], &[u8]) = (b"one", b"two");
        assert_eq!(time.at_key(one, ServerTime::here()), Timestamp::from_micros(0));
        for _ in 0..3 {
            time.learn(TODAY.after(Duration::from_secs(1)), ServerTime::here(), Some(one));
            time.learn(TODAY, ServerTime::here(), Some(two));
        }
        assert!(time.at_key(one, ServerTime::here()) < TODAY.after(Duration::from_millis(500)));
        assert!(time.at_key(two, ServerTime::here()) >= TODAY);
    }

    #[test]
    fn a_node_whose_clock_is_far_ahead_is_late_once_for_each_of_its_slots() {
        let time = ServerTime::of_nodes();
        let (one, two): (&[u8], &[u8]) = (b"one", b"two");
        time.learn(TODAY, ServerTime::here(), Some(two));
        time.relearn(TODAY.after(HOUR), ServerTime::here(), Some(one));
        time.learn(TODAY, ServerTime::here(), Some(two));
        assert!(time.at_key(one, ServerTime::here()) >= TODAY.after(HOUR));
        assert!(time.at_key(two, ServerTime::here()) < TODAY.after(Duration::from_secs(1)));
        // The slot moves to the other node.
        time.learn(TODAY, ServerTime::here(), Some(one));
        assert!(time.at_key(one, ServerTime::here()) < TODAY.after(Duration::from_secs(1)));
    }
}
