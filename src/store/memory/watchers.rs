use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::protocol::Slot;

/// Who waits for which slot to change. While nobody does, a change costs one atomic load.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    slots: Mutex<HashMap<Slot, Arc<Notify>>>,
    count: AtomicUsize,
}

/// One who waits; it is forgotten when it is dropped.
pub(super) struct Watcher<'a> {
    watchers: &'a Watchers,
    slot: Slot,
    changed: Arc<Notify>,
}

impl Watchers {
    pub(super) fn watch(&self, slot: Slot) -> Watcher<'_> {
        // Counted before the first look, so that a change after that look is told.
        self.count.fetch_add(1, Ordering::SeqCst);
        let changed = Arc::clone(self.lock().entry(slot).or_default());
        Watcher { watchers: self, slot, changed }
    }

    pub(super) fn wake(&self, slot: &Slot) {
        if self.count.load(Ordering::SeqCst) > 0
            && let Some(changed) = self.lock().get(slot)
        {
            changed.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Arc<Notify>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher<'_> {
    /// Ends with the next change, also with one before it is polled.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut slots = self.watchers.lock();
        // The map has one reference and this watcher the other.
        if Arc::strong_count(&self.changed) == 2 {
            slots.remove(&self.slot);
        }
        drop(slots);
        self.watchers.count.fetch_sub(1, Ordering::SeqCst);
    }
}
