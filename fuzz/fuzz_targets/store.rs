//! The memory store against [`apply`] on a map: arbitrary calls at arbitrary times, also while the
//! store is full.
#![no_main]

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tower_idempotency::MemoryStore;
use tower_idempotency::clock::{Clock as _, ManualClock};
use tower_idempotency::protocol::{
    Attempt, Operation, Ran, Record, Reply, Slot, Timestamp, Verb, apply,
};
use tower_idempotency::store::{Error, ErrorKind, Store as _};
use tower_idempotency_fuzz::calls::{self, Call, span};
use tower_idempotency_fuzz::planted;

const MAX_RECORDS: usize = 2;
const WITHIN: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fuzz_target!(|data: &[u8]| {
    let mut both = Both::new();
    let _ = both.run(&mut Unstructured::new(data));
    both.remove_expired();
});

/// The store and what it has to be equal to.
struct Both {
    clock: Arc<ManualClock>,
    store: MemoryStore,
    records: HashMap<Slot, Record>,
}

impl Both {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::with_clock(Arc::clone(&clock)).max_records(MAX_RECORDS);
        Self { clock, store, records: HashMap::new() }
    }

    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut granted = Vec::new();
        while !u.is_empty() {
            self.clock.advance(span(u)?.min(DAY));
            let call = Call::any(u, &granted)?;
            let reply = self.call(&call);
            if let (Call::Begin(attempt), Some(Reply::Started(grant) | Reply::Reclaimed(grant))) =
                (call, reply)
            {
                granted.push((attempt, grant));
            }
            self.compare();
        }
        Ok(())
    }

    /// Asks both, and compares what they answer. A full store answers nothing.
    fn call(&mut self, call: &Call) -> Option<Reply> {
        let (slot, now) = (call.slot(), self.now());
        let operation = Operation { verb: call.verb(), deadline: Timestamp::NEVER };
        let found = self.records.get(&slot).cloned();
        let (next, expected) = apply(found, &operation, now);
        match ask(&self.store, call) {
            Ok(reply) => {
                assert_eq!(reply, expected);
                self.records.remove(&slot);
                self.records.extend(next.map(|record| (slot, record)));
                Some(reply)
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full);
                assert!(matches!(expected, Reply::Started(_)), "no room is needed: {expected:?}");
                assert!(self.live() >= MAX_RECORDS, "there is room for {expected:?}");
                None
            }
        }
    }

    fn compare(&self) {
        let now = self.now();
        for slot in [0, 1, 64].map(|byte| Slot::from_bytes([byte; 32])) {
            let seen = now_or_never(self.store.look(slot, WITHIN)).expect("a look");
            let record = self.records.get(&slot).filter(|record| now < record.expires);
            assert_eq!((seen.record.as_ref(), seen.now), (record, now));
        }
        assert!(self.store.len() >= self.live(), "a record is not counted");
    }

    /// Whatever was done, records that have expired leave and are no longer counted.
    fn remove_expired(&mut self) {
        self.clock.advance(DAY);
        let attempt = calls::attempt(&mut Unstructured::new(&[])).expect("zeros are an attempt");
        // A call removes a few at a time, and what a released record left in the queue counts.
        for byte in [0, 1].repeat(4) {
            let slot = Slot::from_bytes([byte; 32]);
            let attempt = Attempt { slot, ..attempt.clone() };
            self.call(&Call::Release(attempt, Ran::Maybe, DAY));
        }
        assert_eq!(self.store.len(), self.live(), "an expired record is still counted");
    }

    fn live(&self) -> usize {
        let now = self.now();
        self.records.values().filter(|record| now < record.expires).count()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).after(self.clock.unix())
    }
}

/// What is judged, or what is wrong with it.
fn ask(store: &MemoryStore, call: &Call) -> std::result::Result<Reply, Error> {
    match call.verb() {
        Verb::Begin(attempt) => now_or_never(store.begin(attempt, WITHIN)),
        Verb::Renew(claim) if planted::is("renewal-for-twice-as-long") => {
            let attempt = claim.attempt().clone();
            let attempt = Attempt { lease: attempt.lease.saturating_mul(2), ..attempt };
            now_or_never(store.renew(&attempt.claim(claim.grant()), WITHIN))
        }
        Verb::Release { .. } if planted::is("release-is-lost") => Ok(Reply::Applied),
        Verb::Renew(claim) => now_or_never(store.renew(claim, WITHIN)),
        Verb::Complete(claim, outcome) => now_or_never(store.complete(claim, outcome, WITHIN)),
        Verb::Release { attempt, ran, tombstone } => {
            now_or_never(store.release(attempt, ran, tombstone, WITHIN))
        }
        Verb::Resolve { fence, outcome, retention } => {
            now_or_never(store.resolve(call.slot(), fence, outcome, retention, WITHIN))
        }
    }
}

/// The memory store never waits in a verb.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a verb of the memory store waits"),
    }
}
