//! Requests without sockets, in time that passes only while nothing has anything to do.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderName, Request, StatusCode};
use tower_idempotency::clock::Clock;
use tower_idempotency::layer::Builder;
use tower_idempotency::store::Operation;
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

use super::any_store::AnyStore;
use super::faulty_store::FaultyStore;

/// The clock of tokio, which a test has paused.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock(tokio::time::Instant);

impl VirtualClock {
    #[expect(clippy::disallowed_methods, reason = "it is the clock that the test injects")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).expect("a short test")
    }
}

impl Clock for VirtualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1_750_000_000) + self.0.elapsed()
    }

    fn unix(&self) -> Duration {
        self.monotonic()
    }
}

/// A memory store on that clock, whose calls fail when they are told to.
pub fn store(clock: VirtualClock) -> FaultyStore {
    FaultyStore::new(&memory(clock))
}

pub fn memory(clock: VirtualClock) -> AnyStore {
    AnyStore::Memory(std::sync::Arc::new(MemoryStore::with_clock(clock)))
}

/// A layer on that clock, to be built.
pub fn layer(store: &FaultyStore, clock: VirtualClock) -> Builder {
    IdempotencyLayer::builder(store.clone(), Tenant::single()).clock(clock)
}

pub fn request(key: &str) -> Request<Body> {
    Request::post("/").header("idempotency-key", key).body(Body::empty()).expect("a request")
}

/// The status and a header of a response.
pub fn told<B>(response: &http::Response<B>, name: &'static str) -> (StatusCode, Option<String>) {
    let value = response.headers().get(HeaderName::from_static(name));
    (response.status(), value.map(|value| value.to_str().expect("a text").to_owned()))
}

/// When a verb is called in this many milliseconds.
pub async fn calls(
    store: &FaultyStore,
    verb: Operation,
    clock: VirtualClock,
    millis: u64,
) -> Vec<u64> {
    let (begun, mut before, mut times) = (clock.now(), store.calls(verb), Vec::new());
    while clock.now() < begun + millis {
        // What is due now is done now.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let calls = store.calls(verb);
        times.extend(std::iter::repeat_n(clock.now() - begun, calls - before));
        before = calls;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times
}
