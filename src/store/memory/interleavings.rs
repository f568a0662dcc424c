//! What no order of threads may bring about, on the store as it is. See `interleavings/`.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread;

use super::*;
use crate::clock::ManualClock;
use crate::protocol::{Fields, Fingerprint, Found, Grant, Nonce, Scheme, TakeOver};
use crate::sync::explored::explore;

const HOUR: Duration = Duration::from_secs(3600);
const RECORD: usize = 384;

/// Slots of one shard.
const SLOTS: [[u8; 32]; 2] = [[0; 32], {
    let mut slot = [0; 32];
    slot[0] = 1;
    slot
}];

fn attempt(who: u8, slot: [u8; 32]) -> Attempt {
    Attempt {
        slot: Slot::from_bytes(slot),
        fingerprint: Fingerprint::new(Scheme::raw(), [0; 32]),
        nonce: Nonce::from_bytes([who; 16]),
        lease: Duration::from_millis(10),
        retention: Duration::from_millis(30),
        take_over: TakeOver::Below(9),
        transactional: false,
    }
}

fn outcome(len: usize) -> Outcome {
    let (headers, trailers) = (Fields::none(), Fields::none());
    Outcome::Response { status: 200, headers, body: vec![0; len].into(), trailers }
}

fn store() -> (Arc<MemoryStore>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Arc::new(MemoryStore::with_clock(Arc::clone(&clock))), clock)
}

fn begin(store: &MemoryStore, attempt: &Attempt) -> Result<Reply, Error> {
    block_on(store.begin(attempt, HOUR))
}

fn started(store: &MemoryStore, attempt: Attempt) -> Claim {
    let Ok(Reply::Started(grant)) = begin(store, &attempt) else { panic!("it is free") };
    attempt.claim(grant)
}

/// What each of these threads gives.
fn all<T: Send + 'static>(threads: Vec<Box<dyn FnOnce() -> T + Send>>) -> Vec<T> {
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
}

/// Whether nothing is left behind by those who watched.
fn is_quiet(store: &MemoryStore) -> bool {
    store.watchers.is_empty()
}

#[test]
fn of_threads_that_begin_at_once_one_starts_and_the_counts_are_exact() {
    explore(|| {
        let (store, _clock) = store();
        let threads = (0..3).map(|who| -> Box<dyn FnOnce() -> Reply + Send> {
            let store = Arc::clone(&store);
            Box::new(move || {
                let attempt = attempt(who, SLOTS[0]);
                let reply = begin(&store, &attempt).expect("there is room");
                if let Reply::Started(grant) = reply {
                    let claim = attempt.claim(grant);
                    let done = block_on(store.complete(&claim, &outcome(100), HOUR));
                    assert_eq!(done.expect("it is stored"), Reply::Applied);
                }
                reply
            })
        });
        let replies = all(threads.collect());
        let started = replies.iter().filter(|reply| matches!(reply, Reply::Started(_))).count();
        let others = replies.iter().all(|reply| {
            matches!(
                reply,
                Reply::Started(_) | Reply::Found(Found::Busy { .. } | Found::Completed { .. })
            )
        });
        assert!(started == 1 && others, "{replies:?}");
        assert_eq!((store.len(), store.bytes()), (1, RECORD + 100));
    });
}

#[test]
fn the_counts_are_exact_whatever_threads_do() {
    explore(|| {
        let (store, clock) = store();
        let threads = (0..3).map(|who| -> Box<dyn FnOnce() + Send> {
            let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
            Box::new(move || {
                for _ in 0..5 {
                    anything(&store, &clock, who);
                }
            })
        });
        all(threads.collect());
        clock.advance(HOUR);
        store.sweep();
        assert_eq!((store.len(), store.bytes()), (0, 0));
    });
}

fn anything(store: &MemoryStore, clock: &ManualClock, who: u8) {
    let mut random = thread_rng();
    let attempt = attempt(who, SLOTS[random.gen_range(0..2)]);
    let grant = Grant { number: 1, fence: FenceToken::from_number(1) };
    let _ = match random.gen_range(0..6) {
        0 | 1 => begin(store, &attempt),
        2 => block_on(store.renew(&attempt.claim(grant), HOUR)),
        3 => {
            let outcome = outcome(random.gen_range(0..50));
            block_on(store.complete(&attempt.claim(grant), &outcome, HOUR))
        }
        4 => block_on(store.release(&attempt, Ran::No, Duration::from_millis(20), HOUR)),
        _ => {
            clock.advance(Duration::from_millis(random.gen_range(1..20)));
            return store.sweep();
        }
    };
}

#[test]
fn a_full_store_takes_as_many_as_it_may_hold_and_none_is_lost_to_a_refusal() {
    explore(|| {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)).max_records(2));
        let threads = (0..3).map(|who| -> Box<dyn FnOnce() -> bool + Send> {
            let store = Arc::clone(&store);
            Box::new(move || begin(&store, &attempt(who, [who; 32])).is_ok())
        });
        let taken = all(threads.collect()).into_iter().filter(|taken| *taken).count();
        assert_eq!((taken, store.len(), store.bytes()), (2, 2, 2 * RECORD));
        clock.advance(HOUR);
        let threads = (3..6).map(|who| -> Box<dyn FnOnce() -> bool + Send> {
            let store = Arc::clone(&store);
            Box::new(move || begin(&store, &attempt(who, [who; 32])).is_ok())
        });
        let taken = all(threads.collect()).into_iter().filter(|taken| *taken).count();
        assert_eq!((taken, store.len(), store.bytes()), (2, 2, 2 * RECORD));
    });
}

#[test]
fn who_watches_misses_no_change_and_leaves_nothing_behind() {
    explore(|| {
        let (store, _clock) = store();
        let claim = started(&store, attempt(0, SLOTS[0]));
        let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
        let watches = (0..2).map(|_| {
            let store = Arc::clone(&store);
            thread::spawn(move || block_on(store.watch(slot, fence, HOUR)))
        });
        let watches: Vec<_> = watches.collect();
        let renewed = block_on(store.renew(&claim, HOUR));
        assert_eq!(renewed.expect("it is renewed"), Reply::Applied);
        block_on(store.complete(&claim, &outcome(1), HOUR)).expect("it is stored");
        for watch in watches {
            let seen = watch.join().expect("it does not panic").expect("it looks");
            assert_eq!(seen.running(fence), None);
        }
        assert!(is_quiet(&store), "{:?}", store.watchers);
    });
}

#[test]
fn who_gives_up_watching_leaves_nothing_behind() {
    explore(|| {
        let (store, _clock) = store();
        let claim = started(&store, attempt(0, SLOTS[0]));
        let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
        let watches = (0..3).map(|_| -> Box<dyn FnOnce() + Send> {
            let store = Arc::clone(&store);
            Box::new(move || {
                let seen = block_on(store.watch(slot, fence, Duration::ZERO)).expect("it looks");
                assert!(seen.running(fence).is_some());
            })
        });
        all(watches.collect());
        assert!(is_quiet(&store), "{:?}", store.watchers);
    });
}
