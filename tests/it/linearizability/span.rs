//! Bounds of a moment.

use std::time::Duration;

use tower_idempotency::protocol::Timestamp;

/// A moment of the store's clock that is known within bounds: both are possible, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

impl Span {
    pub const fn at(moment: u64) -> Self {
        Self { from: moment, to: moment }
    }

    /// What both allow.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self { from: self.from.max(other.from), to: self.to.min(other.to) };
        (both.from <= both.to).then_some(both)
    }

    pub fn since(self, moment: u64) -> Option<Self> {
        self.and(Self { from: moment, to: u64::MAX })
    }

    pub fn until(self, moment: u64) -> Option<Self> {
        self.and(Self { from: 0, to: moment })
    }

    pub fn before(self, moment: u64) -> Option<Self> {
        self.until(moment.checked_sub(1)?)
    }

    pub fn later(self, by: Duration) -> Self {
        self.map(|moment| moment.saturating_add(micros(by)))
    }

    pub fn earlier(self, by: Duration) -> Self {
        self.map(|moment| moment.saturating_sub(micros(by)))
    }

    pub fn wider(self, before: u64, after: u64) -> Self {
        Self { from: self.from.saturating_sub(before), to: self.to.saturating_add(after) }
    }

    pub const fn first(self) -> Timestamp {
        Timestamp::from_micros(self.from)
    }

    fn map(self, then: impl Fn(u64) -> u64) -> Self {
        Self { from: then(self.from), to: then(self.to) }
    }
}

pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
