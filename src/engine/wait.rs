use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::TryAcquireError;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Answer, Rejection};
use crate::clock::Clock;
use crate::protocol::{Fingerprint, Slot};
use crate::sync::{
    AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, timeout,
};

/// How many requests may wait for the answer of another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaiterLimits {
    pub(crate) per_key: usize,
    pub(crate) total: usize,
}

/// The requests of this process that wait for the answer of another one: a queue for each request
/// that was sent more than once.
///
/// Only one of a queue talks to the store: it holds the [`Ticket`]. When it has an answer for all,
/// all take it; when it gives the ticket back without one, the next in the queue asks. So a crowd
/// costs the store what one request does, and of a crowd whose first request freed its key, exactly
/// one begins next (rule 16).
///
/// Requests in one queue have the same slot and the same fingerprint, so what the store says to one
/// of them it would say to all; but not what it says to one that had to be compared under another
/// scheme, by which they may differ.
pub(super) struct Queues {
    queues: Mutex<HashMap<(Slot, Fingerprint), Weak<Queue>>>,
    waiting: AtomicUsize,
    limits: WaiterLimits,
    clock: Arc<dyn Clock>,
}

pub(super) struct Queue {
    name: (Slot, Fingerprint),
    /// One permit, the ticket. Closed once there is an answer for all.
    turn: Arc<Semaphore>,
    answer: OnceLock<Answer>,
    waiting: AtomicUsize,
    /// How often a claim was watched for it.
    watches: AtomicU32,
    /// When the claim that is waited for was made, in microseconds of the local clock.
    claimed: AtomicU64,
    /// Cancelled with the queue, when the last of those who stand in it has left.
    left: DropGuard,
    all: Arc<Queues>,
}

/// A request's place in a queue.
pub(crate) struct Place {
    queue: Arc<Queue>,
    /// How long it waits at most, and until when.
    lease: Duration,
    until: Duration,
    counted: bool,
}

/// What a place in a queue leads to.
pub(crate) enum Turn {
    /// Ask the store.
    Ask(Ticket),
    /// The answer that somebody else got.
    Answer(Answer),
}

/// The right to ask the store for a queue. Dropped, it passes to the next.
pub(crate) struct Ticket(Option<(OwnedSemaphorePermit, Arc<Queue>)>);

impl Queues {
    pub(super) fn new(limits: WaiterLimits, clock: Arc<dyn Clock>) -> Arc<Self> {
        let queues = Mutex::default();
        Arc::new(Self { queues, waiting: AtomicUsize::new(0), limits, clock })
    }

    /// Takes a place, for `max` at most.
    pub(super) fn join(
        self: &Arc<Self>,
        slot: Slot,
        fingerprint: &Fingerprint,
        lease: Duration,
        max: Duration,
    ) -> Place {
        let name = (slot, fingerprint.clone());
        let until = self.clock.monotonic().saturating_add(max);
        let mut queues = self.lock();
        let queue = queues.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let queue = Arc::new(Queue::new(name.clone(), Arc::clone(self)));
            queues.insert(name, Arc::downgrade(&queue));
            queue
        });
        drop(queues);
        Place { queue, lease, until, counted: false }
    }

    /// Whether nobody waits and no queue is left.
    #[cfg(all(test, shuttle))]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty() && self.waiting.load(Ordering::Relaxed) == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Slot, Fingerprint), Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new(name: (Slot, Fingerprint), all: Arc<Queues>) -> Self {
        Self {
            name,
            turn: Arc::new(Semaphore::new(1)),
            answer: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            watches: AtomicU32::new(0),
            claimed: AtomicU64::new(micros(all.clock.monotonic())),
            left: CancellationToken::new().drop_guard(),
            all,
        }
    }

    /// Takes the queue out of the map, so that who comes from now on forms another.
    fn close(self: &Arc<Self>) {
        let mut queues = self.all.lock();
        if queues.get(&self.name).is_some_and(|queue| queue.as_ptr() == Arc::as_ptr(self)) {
            queues.remove(&self.name);
        }
    }

    fn refuse_more(&self) -> bool {
        let within = |count: &AtomicUsize, limit: usize| {
            let more = |count| (count < limit).then_some(count + 1);
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        if !within(&self.waiting, self.all.limits.per_key) {
            return true;
        }
        if !within(&self.all.waiting, self.all.limits.total) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        false
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut queues = self.all.lock();
        // Another queue may have taken its place already.
        if queues.get(&self.name).is_some_and(|queue| queue.strong_count() == 0) {
            queues.remove(&self.name);
        }
    }
}

impl Place {
    /// Waits for a turn to ask or for an answer. Waiting can be given up at any time and leaves
    /// nothing behind.
    pub(crate) async fn turn(&mut self) -> Turn {
        match Arc::clone(&self.queue.turn).try_acquire_owned() {
            Ok(permit) => return Turn::Ask(self.ticket(permit)),
            Err(TryAcquireError::Closed) => return self.answer(),
            Err(TryAcquireError::NoPermits) => {}
        }
        if self.queue.refuse_more() {
            return Turn::Answer(Answer::Reject(Rejection::too_many_waiters()));
        }
        self.counted = true;
        let left = self.until.saturating_sub(self.queue.all.clock.monotonic());
        let turn = Arc::clone(&self.queue.turn).acquire_owned();
        let turn = timeout(left, turn).await;
        self.stop_waiting();
        match turn {
            Ok(Ok(permit)) => Turn::Ask(self.ticket(permit)),
            Ok(Err(_closed)) => self.answer(),
            Err(_) => Turn::Answer(Answer::Reject(self.in_progress())),
        }
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
            self.queue.all.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn ticket(&self, permit: OwnedSemaphorePermit) -> Ticket {
        Ticket(Some((permit, Arc::clone(&self.queue))))
    }

    fn answer(&self) -> Turn {
        let answer = self.queue.answer.get().cloned();
        Turn::Answer(answer.unwrap_or_else(|| Answer::Reject(self.in_progress())))
    }

    fn in_progress(&self) -> Rejection {
        let claimed = Duration::from_micros(self.queue.claimed.load(Ordering::Relaxed));
        let age = self.queue.all.clock.monotonic().saturating_sub(claimed);
        Rejection::in_progress(age.min(self.lease))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

impl Ticket {
    /// The ticket of a request that stands in no queue.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The ticket itself; what is left is none.
    pub(super) const fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Whether anybody would wait with it.
    pub(super) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Gives everybody in the queue this answer to a request with this fingerprint. If that is not
    /// theirs, the next asks.
    pub(super) fn announce(self, answer: &Answer, fingerprint: &Fingerprint) {
        if let Some((permit, queue)) = self.0.filter(|(_, queue)| queue.name.1 == *fingerprint) {
            // Closed before the permit is given back, so that nobody asks any more.
            let _ = queue.answer.set(answer.clone());
            queue.close();
            queue.turn.close();
            drop(permit);
        }
    }

    /// The claim that is waited for is this old.
    pub(super) fn note_age(&self, age: Duration) {
        if let Some((_, queue)) = &self.0 {
            let claimed = queue.all.clock.monotonic().saturating_sub(age);
            queue.claimed.store(micros(claimed), Ordering::Relaxed);
        }
    }

    /// Keeps the ticket without standing in the queue; with the queue's last request it is gone.
    pub(super) fn step_aside(mut self) -> Option<Aside> {
        let (permit, queue) = self.0.take()?;
        let left = queue.left.token().clone();
        let earlier = queue.watches.fetch_add(1, Ordering::Relaxed);
        Some(Aside { permit, queue: Arc::downgrade(&queue), left, earlier })
    }
}

/// A ticket in the hands of somebody who waits for nothing himself.
pub(super) struct Aside {
    permit: OwnedSemaphorePermit,
    queue: Weak<Queue>,
    /// Cancelled once nobody stands in the queue any more.
    pub(super) left: CancellationToken,
    /// How often the queue has been here before.
    pub(super) earlier: u32,
}

impl Aside {
    /// The ticket, if there is still a queue.
    pub(super) fn ticket(self) -> Option<Ticket> {
        Some(Ticket(Some((self.permit, self.queue.upgrade()?))))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(shuttle)))]
mod tests;
