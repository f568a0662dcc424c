//! What a near cache really takes is what it counts.

use std::alloc::System;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_idempotency::NearCache;
use tower_idempotency::clock::ManualClock;
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fields, Fingerprint, Found, Nonce, Outcome, Ran, Reply, Scheme,
    Slot, TakeOver,
};
use tower_idempotency::store::{Error, Seen, Store};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SECOND: Duration = Duration::from_secs(1);

/// Everything is completed, with a body of this many bytes in the middle of something larger.
#[derive(Debug)]
struct Completed(usize);

impl Store for Completed {
    async fn begin(&self, _: &Attempt, _: Duration) -> Result<Reply, Error> {
        let body = Bytes::from(vec![7; 100 << 10]).slice(1000..1000 + self.0);
        let (headers, trailers) = (Fields::none(), Fields::none());
        let outcome = Outcome::Response { status: 200, headers, body, trailers };
        Ok(Reply::Found(Found::Completed { outcome, age: SECOND }))
    }
    async fn renew(&self, _: &Claim, _: Duration) -> Result<Reply, Error> {
        unimplemented!()
    }
    async fn complete(&self, _: &Claim, _: &Outcome, _: Duration) -> Result<Reply, Error> {
        unimplemented!()
    }
    async fn release(&self, _: &Attempt, _: Ran, _: Duration, _: Duration) -> Result<Reply, Error> {
        unimplemented!()
    }
    async fn look(&self, _: Slot, _: Duration) -> Result<Seen, Error> {
        unimplemented!()
    }
    async fn watch(&self, _: Slot, _: FenceToken, _: Duration) -> Result<Seen, Error> {
        unimplemented!()
    }
    async fn resolve(
        &self,
        _: Slot,
        _: FenceToken,
        _: &Outcome,
        _: Duration,
        _: Duration,
    ) -> Result<Reply, Error> {
        unimplemented!()
    }
}

fn attempt() -> Attempt {
    Attempt {
        slot: Slot::from_bytes(rand::random()),
        fingerprint: Fingerprint::new(Scheme::raw(), [7; 32]),
        nonce: Nonce::from_bytes(rand::random()),
        lease: SECOND,
        retention: 3600 * SECOND,
        take_over: TakeOver::Never,
        transactional: false,
    }
}

// One test in this binary: a second one would allocate on another thread meanwhile.
#[test]
fn a_cache_takes_no_more_memory_than_it_counts() {
    let max = 4 << 20;
    for size in [0, 100, 1000, 10_000, 90_000] {
        let store = Completed(size);
        drop(attempt());
        let region = Region::new(ALLOCATOR);
        let near = NearCache::with_clock(store, ManualClock::default()).max_bytes(max);
        for _ in 0..20_000 {
            let attempt = attempt();
            // The second time from memory: it counts as used, and stays longer.
            for _ in 0..2 {
                let reply = near.begin(&attempt, SECOND).now_or_never().expect("no waiting");
                assert!(matches!(reply, Ok(Reply::Found(Found::Completed { .. }))), "{reply:?}");
            }
        }
        let change = region.change();
        let taken = change.bytes_allocated - change.bytes_deallocated;
        println!("{size}: {taken} taken, {} counted", near.bytes());
        assert!(near.bytes() <= max as u64 && near.bytes() > max as u64 / 2, "{size}");
        assert!(taken as u64 <= near.bytes(), "{size}: {taken}, {} counted", near.bytes());
    }
}
