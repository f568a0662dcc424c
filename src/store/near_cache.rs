use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::{Error, Seen, Store, Transactions};
use crate::clock::{Clock, SystemClock};
use crate::protocol::{Attempt, Claim, FenceToken, Fingerprint, Found, Outcome, Ran, Reply, Slot};

/// What an answer costs besides the content of its outcome: itself, its key and its place.
const ANSWER_BYTES: usize = 512;

/// The largest answer that is kept is this part of the cache.
const LARGEST_PART: usize = 16;

/// Each part of the cache has its own lock and its share of the bytes: two of the largest answers.
const SHARDS: usize = LARGEST_PART / 2;

/// How large an answer is expected to be. It only decides how many shards a small cache has.
const EXPECTED_BYTES: usize = 2048;

/// A store with a cache in front of it: while many retries of one request arrive at one process,
/// only one in a second asks the store.
///
/// A completed record does not change until it expires. So the first replay asks the store, and
/// those that follow within [`max_age`](Self::max_age) come from memory, without a call to the
/// store. Nothing else is kept: a request that was never completed, or that differs from the one
/// that was, always asks the store, so no request runs because of what is in the cache.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::{IdempotencyLayer, NearCache, Tenant};
/// # #[cfg(feature = "redis")] {
/// use tower_idempotency::RedisStore;
///
/// let redis = RedisStore::connect("redis://localhost")?;
/// let store = NearCache::new(redis).max_bytes(64 << 20).max_age(Duration::from_millis(500));
/// let layer = IdempotencyLayer::new(store, Tenant::header("x-tenant"));
/// # let _ = layer;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is seen late
/// An answer is never older than `max_age`, counted from the moment at which the store was asked.
/// Up to that age,
/// - a record that was purged from the store is still replayed, by every process that has it;
/// - a record that expires sooner than the retention of the request's own policy says is still
///   replayed: one that a server with a shorter retention stored, or an operator by
///   [`resolve`](Store::resolve). Where the retentions agree, nothing is replayed after its end, as
///   exactly as the store knows the age of its records.
///
/// What this process does to a slot through this cache, it sees at once. [`look`](Store::look) and
/// [`watch`](Store::watch) tell what the store holds.
///
/// # Memory
/// What the cache holds is bounded by [`max_bytes`](Self::max_bytes). An answer leaves when
/// another needs the room, and not before. One that is larger than a sixteenth of the cache is not
/// kept.
pub struct NearCache<S> {
    store: S,
    answers: Arc<Answers>,
    max_bytes: usize,
    max_age: Duration,
    clock: Arc<dyn Clock>,
}

type Answers = Cache<Slot, Arc<Answer>, Weigher>;

/// What the store answered to a request with this fingerprint.
struct Answer {
    fingerprint: Fingerprint,
    outcome: Outcome,
    /// When the store was asked, by the clock of this process. It answered a little later.
    asked: Duration,
    /// How old the outcome was when the store answered.
    age: Duration,
    /// For how long from then on the answer is good.
    good: Duration,
}

impl<S: Store> NearCache<S> {
    /// A cache of 32 MiB in front of this store, for answers of the last second.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with_clock(store, SystemClock)
    }

    /// A cache whose answers age by this clock, for tests.
    #[must_use]
    pub fn with_clock(store: S, clock: impl Clock) -> Self {
        let max_bytes = 32 << 20;
        let max_age = Duration::from_secs(1);
        let answers = Arc::new(answers(max_bytes));
        Self { store, answers, max_bytes, max_age, clock: Arc::new(clock) }
    }

    /// How many bytes the answers may take, with an estimate of their overhead; the default is
    /// 32 MiB. With 0, nothing is kept.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.answers = Arc::new(answers(bytes));
        self.max_bytes = bytes;
        self
    }

    /// For how long an answer is given again before the store is asked anew; the default is one
    /// second. So much later than in the store itself, a purge shows. With 0, nothing is kept.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How many bytes the answers take, with an estimate of their overhead.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.answers.weight()
    }

    /// The answer to this attempt, if it is known. By the contract, a completed record is answered
    /// with its outcome to everybody who has its fingerprint, whatever else the attempt is. All
    /// others ask the store.
    fn known(&self, attempt: &Attempt, now: Duration) -> Option<Reply> {
        let answer = self.answers.get(&attempt.slot)?;
        let since = now.saturating_sub(answer.asked);
        (since < answer.good && answer.fingerprint == attempt.fingerprint).then(|| {
            let (outcome, age) = (answer.outcome.clone(), answer.age.saturating_add(since));
            Reply::Found(Found::Completed { outcome, age })
        })
    }

    /// Keeps what the store answered to this attempt.
    ///
    /// The record then has the attempt's fingerprint, or it is the attempt's own under another
    /// fingerprint of the same request; so the outcome answers all that have this one.
    fn keep(&self, attempt: &Attempt, outcome: &Outcome, age: Duration, asked: Duration) {
        let good = self.max_age.min(attempt.retention.saturating_sub(age));
        if good.is_zero() || cost(outcome) > self.max_bytes / LARGEST_PART {
            return;
        }
        let (fingerprint, outcome) = (attempt.fingerprint.clone(), outcome.compact());
        let answer = Answer { fingerprint, outcome, asked, age, good };
        self.answers.insert(attempt.slot, Arc::new(answer));
    }

    fn forget(&self, slot: &Slot) {
        self.answers.remove(slot);
    }
}

impl<S: Store> Store for NearCache<S> {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        let now = self.clock.monotonic();
        if let Some(reply) = self.known(attempt, now) {
            return Ok(reply);
        }
        let reply = self.store.begin(attempt, within).await?;
        match &reply {
            Reply::Found(Found::Completed { outcome, age }) => {
                self.keep(attempt, outcome, *age, now);
            }
            // Another request: the record may still be the one whose answer is kept.
            Reply::Found(Found::Mismatch | Found::OtherScheme(_)) | Reply::Late => {}
            _ => self.forget(&attempt.slot),
        }
        Ok(reply)
    }

    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        let reply = self.store.renew(claim, within).await;
        self.forget(&claim.attempt().slot);
        reply
    }

    /// What was applied may be the outcome of an earlier call, so nothing is learned from it.
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        let reply = self.store.complete(claim, outcome, within).await;
        self.forget(&claim.attempt().slot);
        reply
    }

    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let reply = self.store.release(attempt, ran, tombstone, within).await;
        self.forget(&attempt.slot);
        reply
    }

    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        self.store.look(slot, within).await
    }

    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        self.store.watch(slot, fence, within).await
    }

    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let reply = self.store.resolve(slot, fence, outcome, retention, within).await;
        self.forget(&slot);
        reply
    }

    fn transactions(&self) -> Option<Transactions> {
        let answers = Arc::clone(&self.answers);
        let forget = move |slot: &Slot| _ = answers.remove(slot);
        self.store.transactions().map(|transactions| transactions.telling(forget))
    }
}

impl<S: fmt::Debug> fmt::Debug for NearCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache")
            .field("store", &self.store)
            .field("max_bytes", &self.max_bytes)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// Tells the cache what an answer costs.
#[derive(Clone)]
struct Weigher;

impl Weighter<Slot, Arc<Answer>> for Weigher {
    fn weight(&self, _: &Slot, answer: &Arc<Answer>) -> u64 {
        cost(&answer.outcome) as u64
    }
}

fn cost(outcome: &Outcome) -> usize {
    ANSWER_BYTES + outcome.size()
}

fn answers(max_bytes: usize) -> Answers {
    let options = OptionsBuilder::new()
        .shards(SHARDS)
        .weight_capacity(max_bytes as u64)
        .estimated_items_capacity(max_bytes / EXPECTED_BYTES)
        // It would remember what it evicted, in memory that nobody counts.
        .ghost_allocation(0.0)
        .build()
        .expect("both capacities are set");
    Cache::with_options(
        options,
        Weigher,
        DefaultHashBuilder::default(),
        DefaultLifecycle::default(),
    )
}
