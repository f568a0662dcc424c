use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Engine, Held};
use crate::protocol::Reply;

/// Keeps the leases of everything that runs: one task for all of them, and none while nothing runs
/// for longer than its first poll.
///
/// Renewal must not hang on the future that runs the handler: an outer service may hold that future
/// without polling it. So a task of its own renews every claim at a third of its lease, and stops
/// the runs that reach their limit.
#[derive(Default)]
pub(super) struct Renewals {
    queue: Mutex<Queue>,
    sooner: Notify,
}

#[derive(Default)]
struct Queue {
    /// By the time, in microseconds of the local clock, and a number that keeps entries apart.
    held: BTreeMap<(u64, u64), Arc<Held>>,
    next: u64,
    kept: bool,
}

/// Keeps one claim renewed until it is dropped.
pub(super) struct Registration {
    engine: Arc<Engine>,
    held: Arc<Held>,
    number: u64,
}

impl Renewals {
    pub(super) fn register(&self, engine: &Arc<Engine>, held: &Arc<Held>) -> Registration {
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        let due = next_due(held, held.since());
        held.due.store(due, Ordering::Relaxed);
        queue.held.insert((due, number), Arc::clone(held));
        if queue.held.first_key_value().is_some_and(|(first, _)| *first == (due, number)) {
            self.sooner.notify_one();
        }
        let start = !std::mem::replace(&mut queue.kept, true);
        drop(queue);
        if start {
            tokio::spawn(keep(Kept { engine: Arc::clone(engine), ended: false }));
        }
        Registration { engine: Arc::clone(engine), held: Arc::clone(held), number }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut queue = self.engine.renewals.lock();
        let due = self.held.due.load(Ordering::Relaxed);
        queue.held.remove(&(due, self.number));
    }
}

/// The engine whose leases a task keeps. If the task is dropped with its runtime, the next claim
/// starts another.
struct Kept {
    engine: Arc<Engine>,
    ended: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.ended {
            self.engine.renewals.lock().kept = false;
        }
    }
}

async fn keep(mut kept: Kept) {
    let engine = Arc::clone(&kept.engine);
    loop {
        let now = micros(engine.clock.monotonic());
        let Some(next) = renew_due(&engine, now) else {
            kept.ended = true;
            return;
        };
        let pause = Duration::from_micros(next.saturating_sub(now));
        let _ = tokio::time::timeout(pause, engine.renewals.sooner.notified()).await;
    }
}

/// Renews what is due, and tells when to look again; `None` once there is nothing left.
fn renew_due(engine: &Arc<Engine>, now: u64) -> Option<u64> {
    let mut queue = engine.renewals.lock();
    while let Some(entry) = queue.held.first_entry().filter(|entry| entry.key().0 <= now) {
        let ((_, number), held) = entry.remove_entry();
        if held.age() >= held.terms.max_run {
            held.stop();
            continue;
        }
        let due = next_due(&held, Duration::from_micros(now));
        held.due.store(due, Ordering::Relaxed);
        queue.held.insert((due, number), Arc::clone(&held));
        if held.is_protected() && !held.is_lost() {
            tokio::spawn(renew(Arc::clone(engine), held));
        }
    }
    let next = queue.held.first_key_value().map(|((due, _), _)| *due);
    // Under the same lock as the look at the queue: no claim can slip in between.
    queue.kept = next.is_some();
    next
}

async fn renew(engine: Arc<Engine>, held: Arc<Held>) {
    let sent = engine.clock.monotonic();
    let call = tokio::time::timeout(
        engine.store_timeout,
        engine.store.renew(&held.claim, engine.store_timeout),
    );
    match call.await {
        Ok(Ok(Reply::Applied)) => held.extended(sent),
        Ok(Ok(Reply::Fenced(_))) => {
            tracing::warn!(slot = %held.slot(), "the claim was lost while the handler ran");
            held.lose();
        }
        Ok(Ok(_)) | Err(_) => tracing::warn!(slot = %held.slot(), "the lease was not renewed"),
        Ok(Err(error)) => {
            tracing::warn!(slot = %held.slot(), %error, "the lease was not renewed");
        }
    }
}

/// A third of a lease from `from` on, or the end of the run if that is sooner.
fn next_due(held: &Held, from: Duration) -> u64 {
    let end = held.since().saturating_add(held.terms.max_run);
    micros((from + held.claim.attempt().lease / 3).min(end))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
