//! How a store with a fault is watched.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tower_idempotency::protocol::{FenceToken, Phase, Record, Slot};
use tower_idempotency::store::{Error, Seen};

use crate::faults::Fault;
use crate::store::{BrokenStore, lock};

/// Who watches.
#[derive(Debug, Default)]
pub struct Watching {
    changed: Notify,
    began: AtomicUsize,
    dropped: AtomicBool,
}

impl Watching {
    pub fn tell(&self) {
        self.changed.notify_waiters();
    }
}

/// A watch that has not ended; if it is dropped before, that is remembered.
struct Unended<'a> {
    dropped: &'a AtomicBool,
    ended: bool,
}

impl Drop for Unended<'_> {
    fn drop(&mut self) {
        self.dropped.fetch_or(!self.ended, Ordering::Relaxed);
    }
}

impl BrokenStore {
    pub async fn watched(
        &self,
        slot: Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        let first = self.watching.began.fetch_add(1, Ordering::Relaxed) == 0;
        let mut unended = Unended { dropped: &self.watching.dropped, ended: false };
        if self.fault == Fault::NeverWakes || self.fault == Fault::WakesOneAlone && !first {
            tokio::time::sleep(within).await;
        }
        let beyond = Duration::from_secs(3600);
        let limit = if self.fault == Fault::WatchesBeyondItsTime { beyond } else { within };
        let ended = tokio::time::timeout(limit, self.change(slot, fence, within)).await;
        unended.ended = true;
        match ended {
            Ok(seen) => seen,
            Err(_) => self.seen(slot, within).await,
        }
    }

    /// Looks whenever something has changed, and now and then: nobody is told when a clock is set.
    async fn change(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        loop {
            let changed = self.watching.changed.notified();
            let seen = self.seen(slot, within).await?;
            if self.has_ended(slot, fence, &seen) {
                return Ok(seen);
            }
            let told = tokio::time::timeout(Duration::from_millis(5), changed).await.is_ok();
            if told && self.fault == Fault::WakesOnAnyChange {
                return self.seen(slot, within).await;
            }
        }
    }

    fn has_ended(&self, slot: Slot, fence: FenceToken, seen: &Seen) -> bool {
        let slot = self.address(slot);
        match self.fault {
            Fault::WakesAtOnce => true,
            Fault::MissesTheLapse => match lock(&self.records).get(&slot) {
                Some(Record { phase: Phase::InProgress { .. }, fence: found, .. }) => {
                    *found != fence
                }
                _ => true,
            },
            Fault::WatchesWhoeverRuns => {
                seen.record.as_ref().is_none_or(|record| seen.running(record.fence).is_none())
            }
            Fault::WakesNobodyAfterADrop if self.watching.dropped.load(Ordering::Relaxed) => false,
            Fault::MissesTheResolution if lock(&self.resolved).contains(&slot) => false,
            _ => seen.running(fence).is_none(),
        }
    }
}
