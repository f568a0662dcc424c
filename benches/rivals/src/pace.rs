//! Moments at a fixed rate.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tower_idempotency::clock::{Clock as _, SystemClock};

/// So many moments, evenly spread, which are handed out one by one once they have come. The kernel tells
/// when, since the timers of the runtime are no finer than a millisecond.
pub(crate) struct Pace {
    timer: AsyncFd<OwnedFd>,
    start: Duration,
    interval: Duration,
    /// How many come, and how many were handed out.
    moments: u64,
    taken: Cell<u64>,
    come: Semaphore,
}

impl Pace {
    pub(crate) fn new(per_second: f64, time: Duration) -> io::Result<Self> {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let every = Timespec::try_from(interval).map_err(io::Error::other)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let timing = Itimerspec { it_interval: every, it_value: every };
        let start = SystemClock.monotonic();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &timing)?;
        #[expect(deprecated, reason = "it trusts what it gets to stay one descriptor: this does")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self {
            timer,
            start,
            interval,
            moments: (time.as_secs_f64() * per_second) as u64,
            taken: Cell::new(0),
            come: Semaphore::new(0),
        })
    }

    /// Lets the moments come, and at last so many who wait know that there are no more.
    pub(crate) async fn run(&self, waiting: usize) -> io::Result<()> {
        let mut come = 0;
        while come < self.moments {
            let mut ready = self.timer.readable().await?;
            let read = ready.try_io(|timer| {
                let mut count = [0; 8];
                rustix::io::read(timer, &mut count)?;
                Ok(u64::from_ne_bytes(count))
            });
            if let Ok(count) = read {
                let count = count?;
                come += count;
                self.come.add_permits(usize::try_from(count).unwrap_or(waiting));
            }
        }
        self.come.add_permits(waiting);
        Ok(())
    }

    /// The next moment, once it has come; `None` after the last one.
    pub(crate) async fn next(&self) -> Option<Duration> {
        self.come.acquire().await.ok()?.forget();
        let number = self.taken.replace(self.taken.get() + 1);
        (number < self.moments).then(|| self.start + self.interval.mul_f64((number + 1) as f64))
    }
}
