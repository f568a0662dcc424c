use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::protocol::Timestamp;

/// After this long a sample gives way to a worse one: clocks drift.
const STALE: Duration = Duration::from_secs(10);

/// What is known here of the clock of a server that judges deadlines.
///
/// The estimate is never ahead of the server, if its clock is steady: the moment in a reply is taken
/// for the moment at which the reply arrived. So a deadline made from it is never later than the caller
/// meant. The sample with the shortest round trip is the best one.
#[derive(Debug)]
pub(super) struct ServerClock(Mutex<Option<Sample>>);

/// What a server's clock has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) there: Timestamp,
    /// When the reply arrived, on this machine's clock.
    pub(super) arrived: Duration,
    round_trip: Duration,
}

impl Sample {
    /// Of a reply that has arrived now, to what was sent at `sent`.
    pub(super) fn new(there: Timestamp, sent: Duration) -> Self {
        let arrived = here();
        Self { there, arrived, round_trip: arrived.saturating_sub(sent) }
    }

    pub(super) fn at(&self, here: Duration) -> Timestamp {
        self.there.after(here.saturating_sub(self.arrived))
    }

    /// Whether a newer sample, of a call that was sent at `sent`, takes the place of this one.
    pub(super) fn yields_to(&self, new: &Self, sent: Duration) -> bool {
        let set_back = new.there < self.at(sent);
        let stale = new.arrived.saturating_sub(self.arrived) > STALE;
        set_back || stale || new.round_trip <= self.round_trip
    }
}

/// This machine's clock.
pub(super) fn here() -> Duration {
    SystemClock.monotonic()
}

impl ServerClock {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What the server's clock shows now, or a moment before; the epoch while nothing is known, so
    /// that a call is answered with the time instead of being carried out at any time. Now is when
    /// this machine's clock shows `here`.
    pub(super) fn at(&self, here: Duration) -> Timestamp {
        let sample = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sample.map_or(Timestamp::from_micros(0), |sample| sample.at(here))
    }

    /// Learns from a reply to what was sent at `sent`.
    pub(super) fn learn(&self, there: Timestamp, sent: Duration) {
        let new = Sample::new(there, sent);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none_or(|kept| kept.yields_to(&new, sent)) {
            *kept = Some(new);
        }
    }

    /// Learns from a reply which shows that the estimate was wrong or is of another server.
    pub(super) fn relearn(&self, there: Timestamp, sent: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Sample::new(there, sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    /// A second ago.
    fn slow() -> Duration {
        here().saturating_sub(Duration::from_secs(1))
    }

    #[test]
    fn nothing_known_is_the_epoch() {
        assert_eq!(ServerClock::new().at(here()), Timestamp::from_micros(0));
    }

    #[test]
    fn a_slower_reply_does_not_replace_a_faster_one() {
        let time = ServerClock::new();
        time.learn(TODAY, here());
        time.learn(TODAY.after(Duration::from_secs(9)), slow());
        assert!(time.at(here()) < TODAY.after(Duration::from_secs(9)));
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed_at_once() {
        let time = ServerClock::new();
        time.learn(TODAY, here());
        time.learn(Timestamp::from_micros(7), slow());
        assert!(time.at(here()) < TODAY);
    }

    #[test]
    fn a_reply_that_proves_the_estimate_wrong_replaces_it() {
        let time = ServerClock::new();
        time.learn(TODAY, here());
        time.relearn(TODAY.after(Duration::from_secs(9)), slow());
        assert!(time.at(here()) >= TODAY.after(Duration::from_secs(9)));
    }
}
