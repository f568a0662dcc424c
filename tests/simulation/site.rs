//! Where code runs: a process, and what time it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tower_idempotency::clock::Clock;

/// One incarnation of a server.
#[derive(Clone, Debug)]
pub struct Site {
    pub server: usize,
    pub incarnation: u32,
    /// The virtual time at which it was started, and the same on its runtime's clock.
    pub born: u64,
    pub epoch: Instant,
    /// Told when something was sent from here.
    pub sent: Arc<Notify>,
}

impl Site {
    /// The virtual time, within its runtime.
    #[expect(clippy::disallowed_methods, reason = "the paused clock of a simulated process")]
    pub fn now(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.epoch);
        self.born + u64::try_from(elapsed.as_millis()).expect("a short run")
    }

    pub fn at(&self, time: u64) -> Instant {
        self.epoch + Duration::from_millis(time - self.born)
    }
}

/// The clock of a server: fast or slow by up to two in a hundred; its wall clock can jump.
#[derive(Clone, Debug)]
pub struct SimClock {
    pub site: Site,
    pub per_thousand: u64,
    pub wall: Arc<AtomicI64>,
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.site.now() * self.per_thousand)
    }

    fn unix(&self) -> Duration {
        let millis = self.wall.load(Ordering::Relaxed);
        let wall = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        wall + self.monotonic()
    }
}
