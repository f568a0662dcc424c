use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::protocol::{Claim, Outcome, Slot};

/// What a store has for handlers that write in one transaction with their outcome. What is in it is
/// between the store and its extractors.
#[derive(Clone)]
pub struct Transactions {
    of_store: Arc<dyn Any + Send + Sync>,
    /// Those who are told what was committed.
    told: Vec<Arc<Tell>>,
}

type Tell = dyn Fn(&Slot) + Send + Sync;

impl Transactions {
    #[cfg(feature = "postgres")]
    pub(crate) fn new(of_store: impl Any + Send + Sync) -> Self {
        Self { of_store: Arc::new(of_store), told: Vec::new() }
    }

    /// What the store put in, if it is a store of that kind.
    #[cfg(feature = "postgres")]
    pub(crate) fn of<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.of_store).downcast().ok()
    }

    /// The same, and whenever an outcome has been committed in one, this is told its slot: for a store
    /// around another one that remembers what is in a slot, since such an outcome does not pass through
    /// [`Store::complete`](super::Store::complete).
    ///
    /// ```
    /// use tower_idempotency::store::{Store, Transactions};
    ///
    /// fn transactions(inner: &impl Store) -> Option<Transactions> {
    ///     let log = |slot: &_| println!("{slot}: an outcome was committed");
    ///     inner.transactions().map(|transactions| transactions.telling(log))
    /// }
    /// ```
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(&Slot) + Send + Sync + 'static) -> Self {
        self.told.push(Arc::new(tell));
        self
    }

    /// An outcome has been committed.
    pub(crate) fn tell(&self, slot: &Slot) {
        self.told.iter().for_each(|tell| tell(slot));
    }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transactions")
    }
}

/// What becomes of what a handler wrote in the transaction that it was lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Writes {
    /// It is committed, with the outcome.
    Keep,
    /// It is undone; the outcome alone is committed.
    #[default]
    Undo,
}

/// A transaction in which a handler has worked. Dropped, it is rolled back.
pub(crate) trait Transaction: Any + Send {
    /// Stores the outcome of the claim, if that is not lost, and commits.
    fn commit<'a>(
        self: Box<Self>,
        claim: &'a Claim,
        outcome: &'a Outcome,
        writes: Writes,
        within: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<(), Uncommitted>> + Send + 'a>>;

    /// Undoes everything.
    fn roll_back(self: Box<Self>, within: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A commit that did not come to its end, as far as is known.
#[derive(Debug)]
pub(crate) struct Uncommitted {
    pub(crate) error: Error,
    /// Whether it lost against other transactions, and may succeed if the handler runs again.
    pub(crate) lost_a_race: bool,
}
