use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use super::call::{Chain, GRACE};
use super::{Engine, Held};
use crate::protocol::Reply;
use crate::store::Store;
use crate::within::within;

/// Keeps the leases of everything that runs: one task a runtime for all of them, and none while
/// nothing runs for longer than its first poll.
///
/// Renewal must not hang on the future that runs the handler: an outer service may hold that future
/// without polling it. So a task of its own renews every claim at a third of its lease, and stops
/// the runs that reach their limit. It belongs to the runtime that runs the handler, since another
/// one may stand still.
#[derive(Default)]
pub(super) struct Renewals {
    queues: Mutex<HashMap<Id, Queue>>,
    /// The number of the next claim, which keeps claims of one time apart.
    next: AtomicU64,
}

/// The claims of one runtime. There is a task for it as long as it is in the map.
#[derive(Default)]
struct Queue {
    /// By the time, in microseconds of the local clock, and a number that keeps entries apart.
    held: BTreeMap<(u64, u64), Arc<Held>>,
    sooner: Arc<Notify>,
}

/// Keeps one claim renewed until it is dropped.
pub(super) struct Registration {
    engine: Arc<Engine>,
    held: Arc<Held>,
    runtime: Id,
    number: u64,
}

impl Renewals {
    pub(super) fn register(&self, engine: &Arc<Engine>, held: &Arc<Held>) -> Registration {
        let runtime = Handle::current().id();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = next_due(held, held.claimed());
        held.due.store(due, Ordering::Relaxed);
        let mut new = None;
        let mut queues = self.lock();
        let queue = queues.entry(runtime).or_insert_with(|| {
            let queue = Queue::default();
            new = Some(Arc::clone(&queue.sooner));
            queue
        });
        queue.held.insert((due, number), Arc::clone(held));
        if queue.held.first_key_value().is_some_and(|(first, _)| *first == (due, number)) {
            queue.sooner.notify_one();
        }
        drop(queues);
        // Not under the lock: a runtime that is shutting down drops the task at once, and with it
        // the queue, which takes the lock.
        if let Some(sooner) = new {
            tokio::spawn(keep(Kept { engine: Arc::clone(engine), runtime, ended: false }, sooner));
        }
        Registration { engine: Arc::clone(engine), held: Arc::clone(held), runtime, number }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(queue) = self.engine.renewals.lock().get_mut(&self.runtime) {
            let due = self.held.due.load(Ordering::Relaxed);
            queue.held.remove(&(due, self.number));
        }
    }
}

/// The queue that a task keeps. If the task is dropped with its runtime, the queue goes with it.
struct Kept {
    engine: Arc<Engine>,
    runtime: Id,
    ended: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.ended {
            let queue = self.engine.renewals.lock().remove(&self.runtime);
            drop(queue);
        }
    }
}

async fn keep(mut kept: Kept, sooner: Arc<Notify>) {
    let engine = Arc::clone(&kept.engine);
    loop {
        let now = micros(engine.clock.monotonic());
        let Some(next) = renew_due(&engine, kept.runtime, now) else {
            kept.ended = true;
            return;
        };
        let pause = Duration::from_micros(next.saturating_sub(now));
        let _ = tokio::time::timeout(pause, sooner.notified()).await;
    }
}

/// Renews what is due, and tells when to look again; `None` once there is nothing left.
fn renew_due(engine: &Arc<Engine>, runtime: Id, now: u64) -> Option<u64> {
    let mut queues = engine.renewals.lock();
    let queue = queues.get_mut(&runtime)?;
    let mut due_now = Vec::new();
    while let Some(entry) = queue.held.first_entry().filter(|entry| entry.key().0 <= now) {
        due_now.push(entry.remove_entry());
    }
    for ((_, number), held) in due_now {
        if held.age() >= held.terms.max_run {
            held.stop();
            continue;
        }
        let due = next_due(&held, Duration::from_micros(now)).max(now + 1);
        held.due.store(due, Ordering::Relaxed);
        queue.held.insert((due, number), Arc::clone(&held));
        if held.is_protected() && !held.is_lost() {
            tokio::spawn(renew(Arc::clone(engine), held));
        }
    }
    let next = queue.held.first_key_value().map(|((due, _), _)| *due);
    if next.is_none() {
        // Under the same lock as the look at the queue: no claim can slip in between.
        queues.remove(&runtime);
    }
    next
}

async fn renew(engine: Arc<Engine>, held: Arc<Held>) {
    let sent = engine.clock.monotonic();
    let call = within(
        engine.store_timeout.saturating_add(GRACE),
        engine.store.renew(&held.claim, engine.store_timeout),
    );
    match call.await {
        Ok(Ok(Reply::Applied)) => held.extended(sent),
        Ok(Ok(Reply::Fenced(_))) => {
            // Or its outcome has been stored meanwhile; settling tells which.
            tracing::debug!(slot = %held.slot(), "the claim is no longer running");
            held.lose();
        }
        Ok(Ok(_)) | Err(_) => tracing::warn!(slot = %held.slot(), "the lease was not renewed"),
        Ok(Err(error)) => {
            let error = Chain(&error);
            tracing::warn!(slot = %held.slot(), %error, "the lease was not renewed");
        }
    }
}

/// A third of a lease from `from` on, or the end of the run if that is sooner.
fn next_due(held: &Held, from: Duration) -> u64 {
    let end = held.since().saturating_add(held.terms.max_run);
    micros(from.saturating_add(held.claim.attempt().lease / 3).min(end))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;
    use crate::clock::ManualClock;
    use crate::engine::running::Proof;
    use crate::engine::{Limits, Terms, WaiterLimits};
    use crate::protocol::{
        Attempt, FenceToken, Fingerprint, Grant, Guarantee, IdempotencyKey, KeySyntax, Nonce,
        Scheme, Slot, TakeOver,
    };
    use crate::store::{BoxStore, MemoryStore, Writes};

    const SECOND: Duration = Duration::from_secs(1);

    fn engine() -> Arc<Engine> {
        let waiters = WaiterLimits { per_key: 9, total: 9 };
        let limits = Limits { waiters, in_flight: None, in_flight_per_tenant: None };
        let store = BoxStore::new(MemoryStore::new());
        Arc::new(Engine::new(store, Arc::new(ManualClock::default()), SECOND, &limits))
    }

    fn held(engine: &Engine) -> Arc<Held> {
        let attempt = Attempt {
            slot: Slot::from_bytes([1; 32]),
            fingerprint: Fingerprint::new(Scheme::raw(), [2; 32]),
            nonce: Nonce::from_bytes([3; 16]),
            lease: SECOND,
            retention: SECOND,
            take_over: TakeOver::Never,
            transactional: false,
        };
        let terms = Terms {
            guarantee: Guarantee::AtMostOnce,
            max_run: SECOND,
            completion_tries: 1,
            run_unprotected: false,
            wait: None,
            recovers: false,
            refused_writes: Writes::Undo,
        };
        let claim = attempt.claim(Grant { number: 1, fence: FenceToken::from_number(1) });
        let key = IdempotencyKey::parse(b"k", &KeySyntax::either()).expect("a key");
        let proof = Proof::Claimed { sent: engine.clock.monotonic() };
        Held::new(claim, terms, (key, Arc::from("")), proof, None, None, &engine.clock)
    }

    #[test]
    fn what_a_runtime_kept_goes_with_it_and_with_the_last_that_it_ran() {
        let engine = engine();
        let held = held(&engine);
        let queues = || engine.renewals.lock().len();
        let [one, other] = [1, 2].map(|_| {
            let mut runtime = Builder::new_current_thread();
            runtime.enable_all().start_paused(true).build().expect("a runtime")
        });
        let register = || engine.renewals.register(&engine, &held);
        let kept = one.block_on(async { register() });
        let more = other.block_on(async { register() });
        assert_eq!(queues(), 2);
        drop(one);
        assert_eq!(queues(), 1, "the queue of the other is left");
        drop((kept, more));
        assert_eq!(queues(), 1);
        other.block_on(async { tokio::time::sleep(SECOND).await });
        assert_eq!(queues(), 0, "nothing is left to renew");
    }
}
