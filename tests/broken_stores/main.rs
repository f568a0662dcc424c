//! Shows that the suite of the store contract can fail: for each thing that can be wrong with a store
//! there is a store that is right but for that, and a case that says so.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]

/// One row for each fault: what it is called, what is wrong, and the cases that must fail.
macro_rules! faults {
    ($(#[doc = $sentence:literal] $fault:ident: $($case:literal)+;)*) => {
        /// One thing that is wrong with a store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { None, $(#[doc = $sentence] $fault),* }

        /// Every fault, what it is, and the cases that must fail.
        pub const FAULTS: &[(Fault, &str, &[&str])] =
            &[$((Fault::$fault, $sentence, &[$($case),+])),*];
    };
}

mod after;
mod before;
mod faults;
mod late;
mod outcomes;
mod store;
#[allow(dead_code, reason = "this store is called by its verbs only")]
#[path = "../conformance/verbs.rs"]
mod verbs;
mod watching;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tower_idempotency::clock::ManualClock;
use tower_idempotency::conformance::{Case, Harness, cases};

use self::faults::{FAULTS, Fault};
use self::store::BrokenStore;

/// A case that has not ended by then has failed. Time passes by itself where all wait.
const LIMIT: Duration = Duration::from_secs(60);

/// Two threads seldom meet where sixty more want their cores: then the fault is tried again, alone.
const TRIES: usize = 10;

/// The cases that do not hold of a store with this fault. They run beside each other on one thread.
fn failing(fault: Fault) -> Vec<String> {
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let running: Vec<_> = cases().map(|case| (case, tokio::spawn(run(case, fault)))).collect();
        let mut failing = Vec::new();
        for (case, running) in running {
            if running.await.is_err() {
                failing.push(case.to_string());
            }
        }
        failing
    })
}

async fn run(case: &'static Case, fault: Fault) {
    let clock = Arc::new(ManualClock::default());
    let harness = Harness::with_clock(BrokenStore::new(fault, Arc::clone(&clock)), clock);
    tokio::time::timeout(LIMIT, case.run(&harness)).await.expect("the case ends");
}

#[test]
fn the_store_without_a_fault_passes() {
    assert_eq!(failing(Fault::None), [""; 0]);
}

#[test]
fn each_fault_fails_the_cases_that_are_named_for_it() {
    let threads: Vec<_> =
        FAULTS.iter().map(|fault| (fault, std::thread::spawn(|| failing(fault.0)))).collect();
    let mut missed = Vec::new();
    for ((fault, sentence, named), thread) in threads {
        let failing = thread.join().expect("its cases have run");
        println!("{fault:?}:{sentence} {} cases fail: {}", failing.len(), failing.join(", "));
        let passes = |failing: &[String]| -> BTreeSet<&str> {
            named.iter().copied().filter(|name| !failing.iter().any(|case| case == name)).collect()
        };
        let mut passing = passes(&failing);
        for _ in 0..TRIES {
            if !passing.is_empty() {
                passing = &passing & &passes(&self::failing(*fault));
            }
        }
        missed.extend(passing.iter().map(|name| format!("{fault:?} passes {name}")));
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_fault_names_cases_that_exist_and_every_case_is_named() {
    let known: BTreeSet<String> = cases().map(ToString::to_string).collect();
    for (fault, _, named) in FAULTS {
        assert!(named.iter().all(|name| known.contains(*name)), "{fault:?}: {named:?}");
    }
    let named: BTreeSet<&str> = FAULTS.iter().flat_map(|(_, _, named)| *named).copied().collect();
    let unnamed: Vec<_> = known.iter().filter(|case| !named.contains(case.as_str())).collect();
    assert!(unnamed.is_empty(), "these are there for no fault: {unnamed:#?}");
}
