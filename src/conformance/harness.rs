use std::sync::Arc;
use std::time::Duration;

use super::steps::{Content, WITHIN, Who};
use crate::clock::ManualClock;
use crate::protocol::{Claim, Found, Reply, Slot};
use crate::store::{BoxStore, Seen, Store};

/// A store under test, and how its time passes.
///
/// A store whose time is real is a harness as it is, by `From`. One that follows a clock of its
/// own is given that clock, and no case waits:
///
/// ```
/// use std::sync::Arc;
/// use tower_idempotency::MemoryStore;
/// use tower_idempotency::clock::ManualClock;
/// use tower_idempotency::conformance::Harness;
///
/// let clock = Arc::new(ManualClock::default());
/// let store = MemoryStore::with_clock(Arc::clone(&clock));
/// let harness = Harness::with_clock(store, clock);
/// # let _ = harness;
/// ```
#[derive(Clone, Debug)]
pub struct Harness {
    store: Arc<BoxStore>,
    clock: Option<Arc<ManualClock>>,
}

impl Harness {
    /// A store whose leases and retentions follow this clock.
    pub fn with_clock(store: impl Store, clock: Arc<ManualClock>) -> Self {
        Self { store: Arc::new(BoxStore::new(store)), clock: Some(clock) }
    }

    /// The store, which several tasks may use.
    pub(super) const fn store(&self) -> &Arc<BoxStore> {
        &self.store
    }

    /// Lets time pass.
    pub(super) async fn advance(&self, span: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(span),
            None => tokio::time::sleep(span).await,
        }
    }

    /// Lets what is this long end, and no time more where the clock is the store's own: two clocks
    /// do not agree on a moment.
    pub(super) async fn advance_to_the_end_of(&self, span: Duration) {
        let more = if self.clock.is_some() { Duration::ZERO } else { span / 2 };
        self.advance(span + more).await;
    }

    pub(super) async fn look(&self, slot: Slot) -> Seen {
        self.store.look(slot, WITHIN).await.expect("the store answers")
    }

    /// The claim that this one gets.
    pub(super) async fn claimed(&self, slot: Slot, who: Who) -> Claim {
        match self.store.begin(&who.attempt(slot), WITHIN).await {
            Ok(Reply::Started(grant) | Reply::Reclaimed(grant)) => who.attempt(slot).claim(grant),
            reply => panic!("{reply:?}"),
        }
    }

    /// What this one finds, who gets no claim.
    pub(super) async fn found(&self, slot: Slot, who: Who) -> Found {
        match self.store.begin(&who.attempt(slot), WITHIN).await {
            Ok(Reply::Found(found)) => found,
            reply => panic!("{reply:?}"),
        }
    }

    pub(super) async fn completed(&self, claim: &Claim, content: Content) {
        let reply = self.store.complete(claim, &content.outcome(), WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
    }
}

impl<S: Store> From<S> for Harness {
    fn from(store: S) -> Self {
        Self { store: Arc::new(BoxStore::new(store)), clock: None }
    }
}
