use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::protocol::Slot;
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Notified, Notify};

/// Who waits for which slot to change. While nobody does, a change costs one atomic load.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    slots: Mutex<HashMap<Slot, Watched>>,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Watched {
    changed: Arc<Notify>,
    /// How many watch. The references to `changed` do not tell: they are dropped outside the lock.
    watchers: usize,
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
        let mut slots = self.lock();
        let watched = slots.entry(slot).or_default();
        watched.watchers += 1;
        Watcher { watchers: self, slot, changed: Arc::clone(&watched.changed) }
    }

    pub(super) fn wake(&self, slot: &Slot) {
        if self.count.load(Ordering::SeqCst) > 0
            && let Some(watched) = self.lock().get(slot)
        {
            watched.changed.notify_waiters();
        }
    }

    /// Whether nobody watches and nothing is kept of those who did.
    #[cfg(all(test, shuttle))]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty() && self.count.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Watched>> {
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
        if let Entry::Occupied(mut watched) = slots.entry(self.slot) {
            watched.get_mut().watchers -= 1;
            if watched.get().watchers == 0 {
                watched.remove();
            }
        }
        drop(slots);
        self.watchers.count.fetch_sub(1, Ordering::SeqCst);
    }
}
