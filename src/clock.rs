//! The only place where time is read.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the engine and the memory store get the time from.
///
/// The clock of a server decides only what concerns that server: how long ago it sent something,
/// and, for the memory store, when leases lapse. Records in a shared store are judged by the
/// store's own clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Time since some fixed moment. It never goes back, and goes on while the machine sleeps.
    fn monotonic(&self) -> Duration;

    /// Time since the Unix epoch, as the machine believes it to be.
    fn unix(&self) -> Duration;
}

/// The clocks of the operating system.
///
/// On Linux the monotonic time is `CLOCK_BOOTTIME`, which counts the time that a virtual machine
/// was suspended; a lease that lapsed meanwhile is then known to have lapsed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanos)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that goes on only when it is told to: for tests, yours as well as ours.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::default();
/// let start = clock.monotonic();
/// clock.advance(Duration::from_secs(31));
/// assert_eq!(clock.monotonic() - start, Duration::from_secs(31));
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Lets time pass. Less than a microsecond is no time.
    ///
    /// # Panics
    /// If the clock would pass 2^64 microseconds.
    pub fn advance(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).expect("a span of less than 2^64 us");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// A clock that stands at a fixed moment in the year 2025.
    fn default() -> Self {
        Self(AtomicU64::new(1_750_000_000_000_000))
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn unix(&self) -> Duration {
        self.monotonic()
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }

    fn unix(&self) -> Duration {
        (**self).unix()
    }
}
