//! As many seeds as fit in a time; each runs twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::counters::Counters;
use crate::defects::Defect;
use crate::plan::END;
use crate::seed::{Verdict, run_seed};

/// Of a thousand requests, so many may be refused for now or left in doubt.
const TOO_MANY_REFUSED: u64 = 300;

/// What came of many seeds.
#[derive(Default)]
struct Tally {
    seeds: u64,
    counters: Counters,
    failures: Vec<String>,
}

#[test]
fn every_invariant_holds_for_as_many_seeds_as_fit_in_the_time() {
    crate::quiet_panics();
    let seconds = setting("SIMULATION_SECONDS").unwrap_or(120);
    let base = setting("SIMULATION_BASE");
    match base {
        Some(base) => println!("seeds from 0 on, and from SIMULATION_BASE={base} on"),
        None => println!("seeds from 0 on"),
    }
    let begun = SystemClock.monotonic();
    let tally = run_for(Duration::from_secs(seconds), base);
    report(&tally, (SystemClock.monotonic() - begun).as_secs());
    if let Some(failure) = tally.failures.first() {
        panic!("{failure}");
    }
    let missing = tally.counters.missing();
    assert!(missing.is_empty(), "never happened, so nothing is known about it: {missing:?}");
    let (refused, answers) = refused(&tally.counters);
    assert!(
        refused * 1000 <= answers * TOO_MANY_REFUSED,
        "{refused} of {answers} requests were refused or left in doubt: that is no protection"
    );
}

fn run_for(time: Duration, base: Option<u64>) -> Tally {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let begun = SystemClock.monotonic();
    let threads = setting("SIMULATION_THREADS").unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(2, |count| count.get() as u64)
    });
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && SystemClock.monotonic() - begun < time {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // A test that is run for every change has the same seeds every time; what looks
                    // for new ones has others for a half.
                    let seed = match base {
                        None => number,
                        Some(_) if number.is_multiple_of(2) => number / 2,
                        Some(base) => base.wrapping_add(number / 2),
                    };
                    let verdict = run_seed(seed, Defect::None, true);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.seeds += 1;
                    if tally.seeds.is_multiple_of(20_000) {
                        println!("{} seeds so far", tally.seeds);
                    }
                    match verdict {
                        Verdict::Holds(counters) => tally.counters.merge(&counters),
                        Verdict::Fails(report) => {
                            tally.failures.push(report);
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn report(tally: &Tally, seconds: u64) {
    let Tally { seeds, counters, .. } = tally;
    let hours = seeds * END / 3_600_000;
    let (refused, answers) = refused(counters);
    println!("{seeds} seeds in {seconds} s, each twice: {} a minute", seeds * 60 / seconds.max(1));
    println!("{hours} hours of virtual time, without the second runs");
    println!("{} requests; refused or in doubt {refused} of {answers}", counters.get("requests"));
    println!("{counters}");
}

/// Requests that were refused for now or left in doubt, and all of them.
fn refused(counters: &Counters) -> (u64, u64) {
    let refused = [
        "store-unavailable answers",
        "in-progress answers",
        "outcome-unknown answers",
        "too-many-in-flight answers",
        "too-many-waiters answers",
    ];
    (refused.iter().map(|name| counters.get(name)).sum(), counters.get("requests"))
}

pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}
