//! Where records live: the [`Store`] contract, and the stores of this crate.
//!
//! [`apply`](crate::protocol::apply) is the contract, with its table; a store makes it atomic. To
//! write one, keep what [`Record::encode`] returns (or the [`Record`] itself) under the 32 bytes of
//! the [`Slot`], and see to it that nothing happens to a slot between reading and writing it:
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Mutex;
//! use std::time::{Duration, SystemTime, UNIX_EPOCH};
//! use tower_idempotency::protocol::{
//!     Attempt, Claim, FenceToken, Operation, Outcome, Ran, Record, Reply, Slot, Timestamp, Verb,
//!     apply,
//! };
//! use tower_idempotency::store::{self, Error, Seen, Store};
//!
//! #[derive(Debug, Default)]
//! struct MapStore(Mutex<HashMap<Slot, Record>>);
//!
//! impl MapStore {
//!     fn run(&self, slot: Slot, verb: Verb<'_>) -> Result<Reply, Error> {
//!         let mut records = self.0.lock().unwrap();
//!         // Nothing of a call is still under way when its caller has gone, so no deadline is needed.
//!         let operation = Operation { verb, deadline: Timestamp::NEVER };
//!         let (record, reply) = apply(records.remove(&slot), &operation, now());
//!         records.extend(record.map(|record| (slot, record)));
//!         Ok(reply)
//!     }
//! }
//!
//! impl Store for MapStore {
//!     async fn begin(&self, attempt: &Attempt, _: Duration) -> Result<Reply, Error> {
//!         self.run(attempt.slot, Verb::Begin(attempt))
//!     }
//!     async fn renew(&self, claim: &Claim, _: Duration) -> Result<Reply, Error> {
//!         self.run(claim.attempt().slot, Verb::Renew(claim))
//!     }
//!     async fn complete(
//!         &self,
//!         claim: &Claim,
//!         outcome: &Outcome,
//!         _: Duration,
//!     ) -> Result<Reply, Error> {
//!         self.run(claim.attempt().slot, Verb::Complete(claim, outcome))
//!     }
//!     async fn release(
//!         &self,
//!         attempt: &Attempt,
//!         ran: Ran,
//!         tombstone: Duration,
//!         _: Duration,
//!     ) -> Result<Reply, Error> {
//!         self.run(attempt.slot, Verb::Release { attempt, ran, tombstone })
//!     }
//!     async fn look(&self, slot: Slot, _: Duration) -> Result<Seen, Error> {
//!         let now = now();
//!         let record = self.0.lock().unwrap().get(&slot).cloned();
//!         Ok(Seen { record: record.filter(|record| now < record.expires), now })
//!     }
//!     async fn watch(
//!         &self,
//!         slot: Slot,
//!         fence: FenceToken,
//!         within: Duration,
//!     ) -> Result<Seen, Error> {
//!         store::poll(self, slot, fence, within).await // nothing tells it of changes
//!     }
//!     async fn resolve(
//!         &self,
//!         slot: Slot,
//!         fence: FenceToken,
//!         outcome: &Outcome,
//!         retention: Duration,
//!         _: Duration,
//!     ) -> Result<Reply, Error> {
//!         self.run(slot, Verb::Resolve { fence, outcome, retention })
//!     }
//! }
//!
//! fn now() -> Timestamp {
//!     let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
//!     Timestamp::from_micros(micros as u64)
//! }
//! # let _ = MapStore::default();
//! ```

mod erased;
mod error;
mod memory;
#[cfg(feature = "near-cache")]
mod near_cache;
mod poll;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod records;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod server_clock;
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "no store has transactions"))]
mod transaction;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod watch;

use std::fmt;
use std::time::Duration;

pub use self::erased::BoxStore;
pub use self::error::{Effect, Error, ErrorKind, Operation};
pub use self::memory::MemoryStore;
#[cfg(feature = "near-cache")]
pub use self::near_cache::NearCache;
pub use self::poll::poll;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub(crate) use self::transaction::{Transaction, Uncommitted};
pub use self::transaction::{Transactions, Writes};
use crate::protocol::{
    Attempt, Claim, FenceToken, InvalidRecord, Outcome, Phase, Ran, Record, Reply, Slot, Timestamp,
};

/// An atomic implementation of [`apply`](crate::protocol::apply), judged by one clock of its own.
///
/// Rules for every verb:
/// - It is safe to repeat: the nonce of the attempt makes a second copy of a call harmless.
/// - It answers within the given time or fails, and a copy of it that is still under way has no
///   effect after that time, on the store's own clock. Only `complete` may land later, on its own
///   claim that nobody has touched since: its outcome is true however late it is stored.
/// - Everything that can be told is a [`Reply`]. An [`Error`] means that the store could not tell,
///   and says whether the call may have taken effect.
/// - A record that cannot be read is an error, never an absent record.
/// - A slot that is not free is never freed to make room: a full store fails `begin`.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Claims the slot for this attempt, or tells what is in it.
    fn begin(
        &self,
        attempt: &Attempt,
        within: Duration,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// Extends the lease of a claim; puts its record back if it was lost.
    fn renew(
        &self,
        claim: &Claim,
        within: Duration,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// Stores the outcome of a claim. Works in a full store, since the claim is already there.
    fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// Gives a claim back and leaves a tombstone: for the longer of `tombstone` and the retention, if
    /// there is an attempt number to remember, else for `tombstone`.
    fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// Tells what a slot holds, without claiming it.
    fn look(
        &self,
        slot: Slot,
        within: Duration,
    ) -> impl Future<Output = Result<Seen, Error>> + Send;

    /// Tells what a slot holds as soon as that is no longer the running claim with this fence, and
    /// in any case when the time is over.
    ///
    /// A store that is told of changes answers at once; one that is not looks now and then, as
    /// [`poll`] does. Any number of callers may watch one slot for the price of one. A caller that
    /// goes away leaves nothing behind.
    fn watch(
        &self,
        slot: Slot,
        fence: FenceToken,
        within: Duration,
    ) -> impl Future<Output = Result<Seen, Error>> + Send;

    /// Gives an abandoned claim an outcome. It is not its worker's any more, whose own outcome is
    /// refused from now on.
    fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;

    /// What this store has for handlers that write in one transaction with their outcome; nothing,
    /// unless it is a database. A store around another one passes on what that has.
    fn transactions(&self) -> Option<Transactions> {
        None
    }
}

/// What a slot held at one moment of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record; `None` if there was none or it had expired.
    pub record: Option<Record>,
    /// When that was.
    pub now: Timestamp,
}

impl Seen {
    /// For how long the claim with this fence goes on keeping others out, if it does.
    #[must_use]
    pub fn running(&self, fence: FenceToken) -> Option<Duration> {
        match &self.record {
            Some(Record { phase: Phase::InProgress { lease_until }, fence: found, .. })
                if *found == fence && self.now < *lease_until =>
            {
                Some(lease_until.since(self.now))
            }
            _ => None,
        }
    }
}

impl Error {
    /// The error of a verb that met bytes which it cannot read.
    #[must_use]
    pub fn unreadable(invalid: InvalidRecord, operation: Operation) -> Self {
        let kind = match invalid {
            InvalidRecord::Unsupported => ErrorKind::Unsupported,
            InvalidRecord::Corrupt => ErrorKind::Corrupt,
        };
        Self::new(kind, operation, Effect::None).with_source(invalid)
    }
}

/// One store for several layers.
impl<S: Store> Store for std::sync::Arc<S> {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        (**self).begin(attempt, within).await
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        (**self).renew(claim, within).await
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        (**self).complete(claim, outcome, within).await
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        (**self).release(attempt, ran, tombstone, within).await
    }
    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        (**self).look(slot, within).await
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        (**self).watch(slot, fence, within).await
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        (**self).resolve(slot, fence, outcome, retention, within).await
    }
    fn transactions(&self) -> Option<Transactions> {
        (**self).transactions()
    }
}
