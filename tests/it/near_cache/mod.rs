//! The near cache: what it answers without the store, and for how long.

mod bounds;
mod freshness;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::clock::ManualClock;
use tower_idempotency::protocol::{
    Attempt, Claim, Fields, Fingerprint, Found, Nonce, Outcome, Reply, Scheme, Slot, TakeOver,
};
use tower_idempotency::store::{Error, MemoryStore, NearCache, Operation, Store};

use crate::support::any_store::AnyStore;
use crate::support::faulty_store::FaultyStore;

const WITHIN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
/// The age up to which answers are kept by default.
const MAX_AGE: Duration = Duration::from_secs(1);

/// A near cache over a memory store that others use too, each with a clock of its own.
struct Scene {
    near: NearCache<FaultyStore>,
    /// The calls that the near cache makes.
    store: FaultyStore,
    /// The store as others use it.
    shared: AnyStore,
    here: Arc<ManualClock>,
    there: Arc<ManualClock>,
}

impl Scene {
    fn new() -> Self {
        let (here, there) = (Arc::<ManualClock>::default(), Arc::<ManualClock>::default());
        let memory = MemoryStore::with_clock(Arc::clone(&there));
        let shared = AnyStore::Memory(Arc::new(memory));
        let store = FaultyStore::new(&shared);
        let near = NearCache::with_clock(store.clone(), Arc::clone(&here));
        Self { near, store, shared, here, there }
    }

    fn pass(&self, span: Duration) {
        self.here.advance(span);
        self.there.advance(span);
    }

    /// Lets all records expire in the store, which is to this process as if they were purged.
    fn purge(&self) {
        self.there.advance(2 * HOUR);
    }

    /// A request that another process has answered.
    async fn completed(&self, body: &str) -> Attempt {
        let attempt = attempt();
        let claim = self.shared.claimed(attempt.clone()).await;
        self.shared.completed(&claim, &response(body)).await;
        attempt
    }

    /// One that was also replayed here.
    async fn replayed(&self, body: &str) -> Attempt {
        let attempt = self.completed(body).await;
        assert_eq!(self.replay(&attempt).await, response(body));
        attempt
    }

    /// The same request again, under a nonce of its own.
    async fn retry(&self, attempt: &Attempt) -> Reply {
        let nonce = Nonce::from_bytes(rand::random());
        begin(&self.near, &Attempt { nonce, ..attempt.clone() }).await
    }

    async fn replay(&self, attempt: &Attempt) -> Outcome {
        outcome(self.retry(attempt).await)
    }

    /// How often the store was asked by `begin`.
    fn asked(&self) -> usize {
        self.store.calls(Operation::Begin)
    }
}

async fn begin(store: &impl Store, attempt: &Attempt) -> Reply {
    answered(store.begin(attempt, WITHIN).await)
}

fn answered(reply: Result<Reply, Error>) -> Reply {
    reply.expect("the store answers")
}

#[track_caller]
fn outcome(reply: Reply) -> Outcome {
    let Reply::Found(Found::Completed { outcome, .. }) = reply else { panic!("{reply:?}") };
    outcome
}

#[track_caller]
fn age(reply: &Reply) -> Duration {
    let Reply::Found(Found::Completed { age, .. }) = reply else { panic!("{reply:?}") };
    *age
}

fn attempt() -> Attempt {
    Attempt {
        slot: Slot::from_bytes(rand::random()),
        fingerprint: Fingerprint::new(Scheme::raw(), [7; 32]),
        nonce: Nonce::from_bytes(rand::random()),
        lease: HOUR,
        retention: HOUR,
        take_over: TakeOver::Never,
        transactional: false,
    }
}

/// Another request under the same key.
fn other(attempt: &Attempt) -> Attempt {
    let fingerprint = Fingerprint::new(Scheme::raw(), [8; 32]);
    let nonce = Nonce::from_bytes(rand::random());
    Attempt { fingerprint, nonce, ..attempt.clone() }
}

fn response(body: &str) -> Outcome {
    let (headers, trailers) = ([("x-name", body)].into_iter().collect(), Fields::none());
    Outcome::Response { status: 201, headers, body: body.to_owned().into(), trailers }
}

/// A claim that another process is granted now.
async fn claimed(store: &AnyStore, attempt: &Attempt, lease: Duration) -> Claim {
    let nonce = Nonce::from_bytes(rand::random());
    store.claimed(Attempt { nonce, lease, ..attempt.clone() }).await
}
