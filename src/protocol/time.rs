use std::fmt;
use std::time::Duration;

/// A moment on a store's own clock, in microseconds since the Unix epoch.
///
/// Only the store that made a timestamp can be asked whether it has passed: the clocks of the
/// servers that share a store decide nothing.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::protocol::Timestamp;
///
/// let begun = Timestamp::from_micros(1_000_000);
/// let later = begun.after(Duration::from_secs(30));
/// assert_eq!(later.since(begun), Duration::from_secs(30));
/// assert_eq!(begun.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment that never comes: a deadline that is no deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `span` later; [`NEVER`](Self::NEVER) where that cannot be represented.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let micros =
            span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros().into());
        Self(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; zero if it has not come yet.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}
