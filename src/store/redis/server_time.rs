use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::protocol::Timestamp;

/// After this long a sample gives way to a worse one: clocks drift.
const STALE: Duration = Duration::from_secs(10);

/// What is known here of Redis's clock: it judges every deadline.
///
/// The estimate is never ahead of Redis, if its clock is steady: the moment in a reply is taken for
/// the moment at which the reply arrived. So a deadline made from it is never later than the caller
/// meant. The sample with the shortest round trip is the best one.
#[derive(Debug, Default)]
pub(super) struct ServerTime(Mutex<Option<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    redis: Timestamp,
    /// When the reply arrived, on this machine's clock.
    arrived: Duration,
    round_trip: Duration,
}

impl Sample {
    fn at(&self, here: Duration) -> Timestamp {
        self.redis.after(here.saturating_sub(self.arrived))
    }
}

impl ServerTime {
    /// This machine's clock.
    pub(super) fn here() -> Duration {
        SystemClock.monotonic()
    }

    /// The same in whole microseconds, for atomics.
    pub(super) fn here_in_micros() -> u64 {
        u64::try_from(Self::here().as_micros()).unwrap_or(u64::MAX)
    }

    /// What Redis's clock shows now, or a moment before; the epoch while nothing is known, so that
    /// a call is answered with the time instead of being carried out at any time.
    pub(super) fn now(&self) -> Timestamp {
        let sample = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sample.map_or(Timestamp::from_micros(0), |sample| sample.at(Self::here()))
    }

    /// Learns from a reply to what was sent at `sent`.
    pub(super) fn learn(&self, redis: Timestamp, sent: Duration) {
        self.keep(redis, sent, false);
    }

    /// Learns from a reply which shows that the estimate was wrong or is of another server.
    pub(super) fn relearn(&self, redis: Timestamp, sent: Duration) {
        self.keep(redis, sent, true);
    }

    fn keep(&self, redis: Timestamp, sent: Duration, wrong: bool) {
        let arrived = Self::here();
        let new = Sample { redis, arrived, round_trip: arrived.saturating_sub(sent) };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let better = kept.is_none_or(|kept| {
            let set_back = redis < kept.at(sent);
            let stale = arrived.saturating_sub(kept.arrived) > STALE;
            set_back || stale || new.round_trip <= kept.round_trip
        });
        if wrong || better {
            *kept = Some(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    #[test]
    fn nothing_known_is_the_epoch() {
        assert_eq!(ServerTime::default().now(), Timestamp::from_micros(0));
    }

    #[test]
    fn a_slower_reply_does_not_replace_a_faster_one() {
        let time = ServerTime::default();
        time.learn(TODAY, ServerTime::here());
        let slow = ServerTime::here().saturating_sub(Duration::from_secs(1));
        time.learn(TODAY.after(Duration::from_secs(9)), slow);
        assert!(time.now() < TODAY.after(Duration::from_secs(9)));
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed_at_once() {
        let time = ServerTime::default();
        time.learn(TODAY, ServerTime::here());
        let slow = ServerTime::here().saturating_sub(Duration::from_secs(1));
        time.learn(Timestamp::from_micros(7), slow);
        assert!(time.now() < TODAY);
    }

    #[test]
    fn a_reply_that_proves_the_estimate_wrong_replaces_it() {
        let time = ServerTime::default();
        time.learn(TODAY, ServerTime::here());
        let slow = ServerTime::here().saturating_sub(Duration::from_secs(1));
        time.relearn(TODAY.after(Duration::from_secs(9)), slow);
        assert!(time.now() >= TODAY.after(Duration::from_secs(9)));
    }
}
