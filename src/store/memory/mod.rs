#[cfg(all(test, shuttle))]
mod interleavings;
mod shard;
mod spread;
mod watchers;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use self::shard::{Cost, Shard};
use self::watchers::Watchers;
use super::{Effect, Error, ErrorKind, Operation as Called, Seen, Store};
use crate::clock::{Clock, SystemClock};
use crate::protocol::{
    Attempt, Claim, FenceToken, Operation, Outcome, Ran, Reply, Slot, Timestamp, Verb,
    apply_in_place,
};
use crate::sync::{AtomicUsize, Mutex, MutexGuard, timeout};

const SHARDS: usize = 64;

/// How many expired records one call removes at most, so that no call pays for all of them.
const EXPIRED_PER_CALL: usize = 32;

/// Records in the memory of this process: the default store, and the reference for all others.
///
/// It protects one process. Records are gone when the process ends, so a retry that arrives after
/// a restart runs again: use it for one server and effects that do not outlive it, for development
/// and for tests.
///
/// The records lie in 64 shards, each under its own lock, which is held for one
/// [`apply`](crate::protocol::apply) and never across an await. Expired records are removed a few
/// at a time by later calls; there is no task and no full scan. A full store refuses new keys
/// ([`ErrorKind::Full`]) and never evicts: running and completed records stay until they expire.
/// The outcome of running work is stored even beyond the limit of bytes, so that limit can be
/// exceeded by what runs when it is reached. A key that was freed after an attempt that may have had
/// effects counts as a record until its retention ends.
///
/// ```
/// use tower_idempotency::MemoryStore;
///
/// let store = MemoryStore::new().max_records(100_000).max_bytes(256 << 20);
/// assert!(store.is_empty());
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    records: AtomicUsize,
    bytes: AtomicUsize,
    watchers: Watchers,
    max_records: usize,
    max_bytes: usize,
    clock: Arc<dyn Clock>,
    /// The wall clock when the monotonic one stood at `started`: fence tokens must not restart low.
    epoch: Duration,
    started: Duration,
}

impl MemoryStore {
    /// A store for at most 1,000,000 records and 1 GiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// A store whose leases and expiry follow this clock, for tests.
    #[must_use]
    pub fn with_clock(clock: impl Clock) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            watchers: Watchers::default(),
            max_records: 1_000_000,
            max_bytes: 1 << 30,
            epoch: clock.unix(),
            started: clock.monotonic(),
            clock: Arc::new(clock),
        }
    }

    /// How many records there may be; the default is 1,000,000.
    #[must_use]
    pub const fn max_records(mut self, records: usize) -> Self {
        self.max_records = records;
        self
    }

    /// How many bytes the records may take, with their keys and overhead; the default is 1 GiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many records there are, expired ones that nobody has removed yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the records take, with an estimate of their overhead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
            .after(self.epoch + self.clock.monotonic().saturating_sub(self.started))
    }

    fn shard(&self, slot: &Slot) -> MutexGuard<'_, Shard> {
        let index = usize::from(slot.as_bytes()[31]) % SHARDS;
        lock(&self.shards[index])
    }

    /// Runs a verb on a slot. It fails where it would add a record to a full store, which only a claim
    /// does.
    fn run(&self, slot: Slot, verb: Verb<'_>) -> Result<Reply, Error> {
        let now = self.now();
        let begins = matches!(verb, Verb::Begin(_));
        let ends = !matches!(verb, Verb::Renew(_));
        let operation = Operation { verb, deadline: Timestamp::NEVER };
        let mut reply = None;
        let mut shard = self.shard(&slot);
        let mut changed = shard.change(&slot, |found| {
            let absent = found.is_none();
            let answer = apply_in_place(found, &operation, now);
            // Only a claim needs room. What runs already is stored even in a full store.
            if begins && absent && found.is_some() && !self.reserve() {
                *found = None;
                return;
            }
            reply = Some(answer);
        });
        if begins && changed.before.records < changed.after.records {
            // Its place was reserved.
            changed.before.records = 1;
        }
        let freed = shard.remove_expired(now, EXPIRED_PER_CALL);
        self.account(changed.after, changed.before + freed);
        drop(shard);
        if ends {
            self.watchers.wake(&slot);
        }
        reply.ok_or_else(|| Error::new(ErrorKind::Full, Called::Begin, Effect::None))
    }

    /// Takes the place of one more record, if there is one.
    fn reserve(&self) -> bool {
        let one_more = |records| (records < self.max_records).then_some(records + 1);
        self.bytes() < self.max_bytes
            && self.records.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Removes everything that has expired.
    fn sweep(&self) {
        let now = self.now();
        for shard in &self.shards {
            let mut shard = lock(shard);
            // Counted under the lock: who finds nothing to remove finds it counted, too.
            self.account(Cost::default(), shard.remove_expired(now, usize::MAX));
        }
    }

    fn account(&self, added: Cost, removed: Cost) {
        let totals = [
            (&self.records, added.records, removed.records),
            (&self.bytes, added.bytes, removed.bytes),
        ];
        for (total, added, removed) in totals {
            if added != removed {
                total.fetch_add(added.wrapping_sub(removed), Ordering::Relaxed);
            }
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    async fn begin(&self, attempt: &Attempt, _within: Duration) -> Result<Reply, Error> {
        match self.run(attempt.slot, Verb::Begin(attempt)) {
            Err(_full) => {
                self.sweep();
                self.run(attempt.slot, Verb::Begin(attempt))
            }
            reply => reply,
        }
    }

    async fn renew(&self, claim: &Claim, _within: Duration) -> Result<Reply, Error> {
        self.run(claim.attempt().slot, Verb::Renew(claim))
    }

    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        _within: Duration,
    ) -> Result<Reply, Error> {
        self.run(claim.attempt().slot, Verb::Complete(claim, &outcome.compact()))
    }

    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        _within: Duration,
    ) -> Result<Reply, Error> {
        self.run(attempt.slot, Verb::Release { attempt, ran, tombstone })
    }

    async fn look(&self, slot: Slot, _within: Duration) -> Result<Seen, Error> {
        let now = self.now();
        let record = self.shard(&slot).get(&slot).cloned();
        Ok(Seen { record: record.filter(|record| now < record.expires), now })
    }

    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        let watcher = self.watchers.watch(slot);
        let looks = async {
            loop {
                let changed = watcher.changed();
                let seen = self.look(slot, within).await?;
                let Some(lease) = seen.running(fence) else { return Ok(seen) };
                let _ = timeout(lease, changed).await;
            }
        };
        match timeout(within, looks).await {
            Ok(seen) => seen,
            Err(_) => self.look(slot, within).await,
        }
    }

    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        _within: Duration,
    ) -> Result<Reply, Error> {
        self.run(slot, Verb::Resolve { fence, outcome: &outcome.compact(), retention })
    }
}

/// Nothing that runs under the lock panics, so what a poisoned one guards is whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
