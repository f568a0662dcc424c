//! What stands in for std and tokio while interleavings are explored.
//!
//! Everything runs in one thread, and the scheduler of shuttle may go over to another of its threads
//! or tasks at each of their operations. What tokio's own types do is whole; before it, the scheduler
//! is asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
use shuttle::{Config, MaxSteps, Runner};
use tokio::sync;
pub(crate) use tokio::sync::futures::Notified;
use tokio::sync::{AcquireError, TryAcquireError};

/// How many schedules of each kind a test tries, where nothing else is asked for.
const SCHEDULES: usize = 3000;

/// Runs a test in many orders: random ones, and some with few changes at moments that matter (PCT).
/// A failure prints its schedule; the seed brings the same schedules back.
pub(crate) fn explore(test: fn()) {
    let set = |name| std::env::var(name).ok();
    let schedules = set("SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("a number"));
    let seed =
        set("SCHEDULES_SEED").map_or_else(rand::random, |text| text.parse().expect("a seed"));
    eprintln!("SCHEDULES_SEED={seed}");
    run(RandomScheduler::new_from_seed(seed, schedules), test);
    run(PctScheduler::new_from_seed(seed, 3, schedules), test);
}

fn run(scheduler: impl Scheduler + 'static, test: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(100_000);
    let tried = Tried::default();
    let count = Arc::clone(&tried.0);
    Runner::new(scheduler, config).run(move || {
        count.fetch_add(1, Ordering::Relaxed);
        test();
    });
}

/// How many schedules were tried; it says so if the last one failed.
#[derive(Default)]
struct Tried(Arc<std::sync::atomic::AtomicUsize>);

impl Drop for Tried {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("schedule no. {} failed", self.0.load(Ordering::Relaxed));
        }
    }
}

/// A moment at which another may go on.
pub(crate) fn point() {
    AtomicUsize::new(0).load(Ordering::SeqCst);
}

#[derive(Debug, Default)]
pub(crate) struct Notify(sync::Notify);

impl Notify {
    pub(crate) fn notified(&self) -> Notified<'_> {
        point();
        self.0.notified()
    }

    pub(crate) fn notify_waiters(&self) {
        point();
        self.0.notify_waiters();
    }
}

#[derive(Debug)]
pub(crate) struct Semaphore(Arc<sync::Semaphore>);

#[derive(Debug)]
pub(crate) struct OwnedSemaphorePermit(Option<sync::OwnedSemaphorePermit>);

impl Semaphore {
    pub(crate) const MAX_PERMITS: usize = sync::Semaphore::MAX_PERMITS;

    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(sync::Semaphore::new(permits)))
    }

    pub(crate) fn try_acquire_owned(
        self: Arc<Self>,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        point();
        Arc::clone(&self.0).try_acquire_owned().map(|permit| OwnedSemaphorePermit(Some(permit)))
    }

    pub(crate) async fn acquire_owned(
        self: Arc<Self>,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        point();
        let permit = Arc::clone(&self.0).acquire_owned().await?;
        Ok(OwnedSemaphorePermit(Some(permit)))
    }

    pub(crate) fn close(&self) {
        point();
        self.0.close();
        point();
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            point();
        }
        self.0 = None;
    }
}

/// No time passes: what waits for ever shows as a deadlock. Only who has no time at all gives up.
pub(crate) async fn timeout<F: Future>(within: Duration, future: F) -> Result<F::Output, Elapsed> {
    if within.is_zero() {
        point();
        return Err(Elapsed);
    }
    Ok(future.await)
}

#[derive(Debug)]
pub(crate) struct Elapsed;

/// The runtime is shuttle's.
pub(crate) struct Handle;

impl Handle {
    pub(crate) const fn current() -> Self {
        Self
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(shuttle::future::spawn(task));
    }
}
