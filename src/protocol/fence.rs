use std::fmt;

use super::time::Timestamp;

/// An ordered number for the handler's own database, which can use it to reject a stale worker: a
/// later claim of the same key has a larger one.
///
/// It is `max(previous + 1, the store's clock in microseconds)`, so the order holds even across a
/// record that was lost, as long as the store's clock goes on. It stays below 2^53 until the year
/// 2255 and so survives a JSON number or a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceToken(u64);

impl FenceToken {
    /// The first token of a slot at this moment.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self(now.as_micros())
    }

    /// The token that follows this one at this moment.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        Self(now.as_micros().max(self.0.saturating_add(1)))
    }

    /// A token from its number, as a store keeps it.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, for a column of the handler's own database.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// When the claim was made, on the store's clock: the token is that moment, except after the
    /// clock was set back.
    #[must_use]
    pub(crate) const fn moment(self) -> Timestamp {
        Timestamp::from_micros(self.0)
    }
}

impl fmt::Display for FenceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
