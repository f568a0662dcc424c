use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::{Transaction, Transactions};

/// The transaction that a handler shares with the record of its claim, while the handler does not
/// use it.
pub(crate) struct Joint {
    pub(crate) transactions: Transactions,
    /// How long the store may take for one thing.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "no store has any"))]
    pub(crate) within: Duration,
    /// How often the handler may yet run again because its transaction lost against others.
    tries_left: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the record says that what the handler has not committed did not happen.
    joined: bool,
    at: Place,
}

#[derive(Default)]
enum Place {
    #[default]
    Nowhere,
    /// With the handler.
    Lent,
    Here(Box<dyn Transaction>),
    /// The handler has ended.
    Over,
}

/// What is lent to a handler.
pub(crate) enum Lent {
    /// The transaction that it has used before.
    Again(Box<dyn Transaction>),
    /// None yet: it is to be begun.
    New,
}

/// The transaction is in use, or the handler that it was for has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotHere;

/// Where the transaction was when its handler had ended.
pub(super) enum Ended {
    /// There was none.
    Never,
    /// Somebody has kept it.
    Kept,
    Here(Box<dyn Transaction>),
}

impl Joint {
    pub(super) fn new(transactions: Transactions, within: Duration) -> Self {
        Self { transactions, within, tries_left: AtomicU32::new(0), state: Mutex::default() }
    }

    /// Lends the transaction to the handler.
    pub(crate) fn lend(&self) -> Result<Lent, NotHere> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.at, Place::Lent) {
            Place::Nowhere => Ok(Lent::New),
            Place::Here(transaction) => Ok(Lent::Again(transaction)),
            other @ (Place::Lent | Place::Over) => {
                state.at = other;
                Err(NotHere)
            }
        }
    }

    /// The record says from now on that what is not committed did not happen.
    pub(crate) fn join(&self) {
        self.lock().joined = true;
    }

    pub(super) fn is_joined(&self) -> bool {
        self.lock().joined
    }

    /// Whether the handler has had a transaction and nobody keeps it.
    pub(super) fn is_given_back(&self) -> bool {
        let state = self.lock();
        state.joined && !matches!(state.at, Place::Lent)
    }

    /// Takes the transaction back, or nothing if none came about. After the end it is rolled back.
    pub(crate) fn give_back(&self, transaction: Option<Box<dyn Transaction>>) {
        let mut state = self.lock();
        if matches!(state.at, Place::Lent) {
            state.at = transaction.map_or(Place::Nowhere, Place::Here);
        }
    }

    /// Ends the use of the transaction.
    pub(super) fn end(&self) -> Ended {
        match std::mem::replace(&mut self.lock().at, Place::Over) {
            Place::Nowhere | Place::Over => Ended::Never,
            Place::Lent => Ended::Kept,
            Place::Here(transaction) => Ended::Here(transaction),
        }
    }

    /// How often the handler may run again.
    pub(super) fn allow_tries(&self, tries: u32) {
        self.tries_left.store(tries, Ordering::Relaxed);
    }

    /// Takes one of the runs that are left, if one is.
    pub(super) fn may_try_again(&self) -> bool {
        let one_less = |tries: u32| tries.checked_sub(1);
        self.tries_left.try_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// The handler runs again, and may have another transaction.
    pub(super) fn reopen(&self) {
        self.lock().at = Place::Nowhere;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
