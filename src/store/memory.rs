use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Effect, Error, ErrorKind, Operation as Called, Seen, Store};
use crate::clock::{Clock, SystemClock};
use crate::protocol::{
    Attempt, Claim, FenceToken, Operation, Outcome, Phase, Ran, Record, Reply, Slot, Timestamp,
    Verb, apply,
};

const SHARDS: usize = 64;

/// How many expired records one call removes at most, so that no call pays for all of them.
const EXPIRED_PER_CALL: usize = 32;

/// What a record costs besides the content of its outcome: itself, its key, its place in the map
/// and in the expiry queue.
const RECORD_BYTES: usize = 384;

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
/// exceeded by what runs when it is reached.
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
    max_records: usize,
    max_bytes: usize,
    clock: Arc<dyn Clock>,
    /// The wall clock when the monotonic one stood at `started`: fence tokens must not restart low.
    epoch: Duration,
    started: Duration,
}

#[derive(Debug, Default)]
struct Shard {
    records: HashMap<Slot, Entry>,
    /// When to look at a slot again; entries whose time is not their record's are stale.
    expiries: BinaryHeap<Reverse<(Timestamp, SlotOrd)>>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// The time under which the slot is queued in `expiries`, never after the record's end.
    queued: Timestamp,
}

/// Slots have no order; a heap needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SlotOrd([u8; 32]);

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

    fn run(&self, slot: Slot, verb: Verb<'_>) -> Reply {
        let now = self.now();
        let mut shard = self.shard(&slot);
        let found = shard.records.remove(&slot);
        let before = cost(found.as_ref());
        let queued = found.as_ref().map(|entry| entry.queued);
        let operation = Operation { verb, deadline: Timestamp::NEVER };
        let (record, reply) = apply(found.map(|entry| entry.record), &operation, now);
        let kept = record.map(|record| {
            let queued = shard.queue(slot, queued, record.expires);
            Entry { record, queued }
        });
        self.account(before, cost(kept.as_ref()));
        shard.records.extend(kept.map(|entry| (slot, entry)));
        self.remove_expired(&mut shard, now, EXPIRED_PER_CALL);
        reply
    }

    /// Whether there is room for one more record, once everything that has expired is gone.
    fn has_room(&self) -> bool {
        let fits = || self.len() < self.max_records && self.bytes() < self.max_bytes;
        fits() || {
            let now = self.now();
            for shard in &self.shards {
                self.remove_expired(&mut lock(shard), now, usize::MAX);
            }
            fits()
        }
    }

    fn remove_expired(&self, shard: &mut Shard, now: Timestamp, at_most: usize) {
        for _ in 0..at_most {
            let Some(&Reverse((due, SlotOrd(bytes)))) = shard.expiries.peek() else { return };
            if now < due {
                return;
            }
            shard.expiries.pop();
            let slot = Slot::from_bytes(bytes);
            let Some(entry) = shard.records.get_mut(&slot) else { continue };
            if entry.queued != due {
                continue;
            }
            if now < entry.record.expires {
                entry.queued = entry.record.expires;
                shard.expiries.push(Reverse((entry.queued, SlotOrd(bytes))));
            } else {
                let removed = shard.records.remove(&slot);
                self.account(cost(removed.as_ref()), (0, 0));
            }
        }
    }

    fn account(&self, before: (usize, usize), after: (usize, usize)) {
        for (total, before, after) in
            [(&self.records, before.0, after.0), (&self.bytes, before.1, after.1)]
        {
            if before != after {
                total.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            }
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    /// Queues a slot for expiry unless it is already queued early enough; gives the queued time.
    fn queue(&mut self, slot: Slot, queued: Option<Timestamp>, expires: Timestamp) -> Timestamp {
        match queued {
            Some(queued) if queued <= expires => queued,
            _ => {
                self.expiries.push(Reverse((expires, SlotOrd(*slot.as_bytes()))));
                expires
            }
        }
    }
}

impl Store for MemoryStore {
    async fn begin(&self, attempt: &Attempt, _within: Duration) -> Result<Reply, Error> {
        let known = || self.shard(&attempt.slot).records.contains_key(&attempt.slot);
        if !self.has_room() && !known() {
            return Err(Error::new(ErrorKind::Full, Called::Begin, Effect::None));
        }
        Ok(self.run(attempt.slot, Verb::Begin(attempt)))
    }

    async fn renew(&self, claim: &Claim, _within: Duration) -> Result<Reply, Error> {
        Ok(self.run(claim.attempt().slot, Verb::Renew(claim)))
    }

    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        _within: Duration,
    ) -> Result<Reply, Error> {
        Ok(self.run(claim.attempt().slot, Verb::Complete(claim, outcome)))
    }

    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        _within: Duration,
    ) -> Result<Reply, Error> {
        Ok(self.run(attempt.slot, Verb::Release { attempt, ran, tombstone }))
    }

    async fn look(&self, slot: Slot, _within: Duration) -> Result<Seen, Error> {
        let now = self.now();
        let record = self.shard(&slot).records.get(&slot).map(|entry| entry.record.clone());
        Ok(Seen { record: record.filter(|record| now < record.expires), now })
    }

    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        _within: Duration,
    ) -> Result<Reply, Error> {
        Ok(self.run(slot, Verb::Resolve { fence, outcome, retention }))
    }
}

/// Records and bytes that an entry counts for.
fn cost(entry: Option<&Entry>) -> (usize, usize) {
    entry.map_or((0, 0), |entry| {
        let content = match &entry.record.phase {
            Phase::Completed { outcome, .. } => outcome.size(),
            Phase::InProgress { .. } | Phase::Released => 0,
        };
        (1, RECORD_BYTES + content)
    })
}

/// A panic under the lock could only come from `apply`, which leaves the map whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
