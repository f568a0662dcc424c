//! Stores with one fault each, on which the same histories must be refused.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Operation, Outcome, Phase, Ran, Record, Reply, Slot, Timestamp,
    Verb, apply,
};
use tower_idempotency::store::{self, Error, Seen, Store};

use super::checker::Violation;
use super::span::micros;
use super::workload::{MEMORY, Stores, history, style};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Another call can come between reading and writing.
    ChecksThenActs,
    /// A lease is taken for half as long.
    LapsesEarly,
    NeverLapses,
    NeverExpires,
    /// A release deletes, so its attempt can begin again.
    LeavesNoTombstone,
    KeepsTheSecondCompletion,
    /// Says that it renewed, and does nothing.
    DoesNotRenew,
    /// A look tells what the slot held before the last change.
    ReadsFromAReplica,
    /// A fence counts and is not the time.
    CountsFences,
}

#[derive(Debug)]
struct Broken {
    fault: Fault,
    records: Mutex<HashMap<Slot, Record>>,
    before: Mutex<HashMap<Slot, Option<Record>>>,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { fault, records: Mutex::default(), before: Mutex::default() }
    }

    async fn run(&self, slot: Slot, verb: Verb<'_>) -> Result<Reply, Error> {
        if self.fault == Fault::ChecksThenActs {
            let found = self.records.lock().unwrap().get(&slot).cloned();
            tokio::task::yield_now().await;
            let (next, reply) = self.decide(found, verb, now());
            let mut records = self.records.lock().unwrap();
            records.remove(&slot);
            records.extend(next.map(|record| (slot, record)));
            return Ok(reply);
        }
        let mut records = self.records.lock().unwrap();
        let found = records.remove(&slot);
        self.before.lock().unwrap().insert(slot, found.clone());
        let (next, reply) = self.decide(found, verb, now());
        records.extend(next.map(|record| (slot, record)));
        Ok(reply)
    }

    fn decide(
        &self,
        mut found: Option<Record>,
        verb: Verb<'_>,
        now: Timestamp,
    ) -> (Option<Record>, Reply) {
        let kept = found.clone();
        if let Some(record) = &mut found {
            match (self.fault, &verb, &mut record.phase) {
                (Fault::NeverLapses, _, Phase::InProgress { lease_until }) => {
                    *lease_until = Timestamp::NEVER;
                }
                (Fault::LapsesEarly, Verb::Begin(attempt), Phase::InProgress { lease_until }) => {
                    let half = lease_until.as_micros() - micros(attempt.lease) / 2;
                    *lease_until = Timestamp::from_micros(half);
                }
                (Fault::NeverExpires, ..) => record.expires = Timestamp::NEVER,
                (
                    Fault::KeepsTheSecondCompletion,
                    Verb::Complete(claim, _),
                    phase @ Phase::Completed { .. },
                ) if claim.attempt().nonce == record.nonce => {
                    *phase = Phase::InProgress { lease_until: Timestamp::NEVER };
                }
                _ => {}
            }
        }
        let renews = matches!(verb, Verb::Renew(_));
        let begins = matches!(verb, Verb::Begin(_));
        let (mut next, mut reply) =
            apply(found, &Operation { verb, deadline: Timestamp::NEVER }, now);
        match (self.fault, &mut reply) {
            (Fault::DoesNotRenew, Reply::Applied) if renews => next = kept,
            (Fault::LeavesNoTombstone, _) => {
                next = next.filter(|record| record.phase != Phase::Released);
            }
            (Fault::CountsFences, Reply::Started(grant) | Reply::Reclaimed(grant)) if begins => {
                grant.fence = FenceToken::from_number(u64::from(grant.number));
                next.as_mut().expect("a claim").fence = grant.fence;
            }
            _ => {}
        }
        (next, reply)
    }
}

fn now() -> Timestamp {
    Timestamp::from_micros(0).after(SystemClock.unix())
}

impl Store for Broken {
    async fn begin(&self, attempt: &Attempt, _: Duration) -> Result<Reply, Error> {
        self.run(attempt.slot, Verb::Begin(attempt)).await
    }
    async fn renew(&self, claim: &Claim, _: Duration) -> Result<Reply, Error> {
        self.run(claim.attempt().slot, Verb::Renew(claim)).await
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        _: Duration,
    ) -> Result<Reply, Error> {
        self.run(claim.attempt().slot, Verb::Complete(claim, outcome)).await
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        _: Duration,
    ) -> Result<Reply, Error> {
        self.run(attempt.slot, Verb::Release { attempt, ran, tombstone }).await
    }
    async fn look(&self, slot: Slot, _: Duration) -> Result<Seen, Error> {
        let records = self.records.lock().unwrap();
        let now = now();
        let record = match self.fault {
            Fault::ReadsFromAReplica => self.before.lock().unwrap().get(&slot).cloned().flatten(),
            _ => records.get(&slot).cloned(),
        };
        Ok(Seen { record: record.filter(|record| now < record.expires), now })
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        store::poll(self, slot, fence, within).await
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        _: Duration,
    ) -> Result<Reply, Error> {
        self.run(slot, Verb::Resolve { fence, outcome, retention }).await
    }
}

/// How many histories it takes to refuse this store; `None` if more than these.
async fn refused_after(fault: Fault, most: usize) -> Option<usize> {
    let first: u64 = rand::random();
    for number in 0..most {
        let stores = Stores::one(Broken::new(fault));
        let seed = first.wrapping_add(number as u64);
        let history = history(&stores, seed, style(seed)).await;
        if let Err(Violation::NoOrder(text)) = history.check(MEMORY) {
            eprintln!("{fault:?} is refused after {} histories from seed {first}", number + 1);
            assert!(fault != Fault::None, "{}", text);
            return Some(number + 1);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_store_without_a_fault_is_not_refused() {
    assert_eq!(refused_after(Fault::None, 12).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_store_that_checks_and_then_acts_is_refused_within_thirty_histories() {
    assert!(refused_after(Fault::ChecksThenActs, 30).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_other_fault_is_refused_within_thirty_histories() {
    for fault in [
        Fault::LapsesEarly,
        Fault::NeverLapses,
        Fault::NeverExpires,
        Fault::LeavesNoTombstone,
        Fault::KeepsTheSecondCompletion,
        Fault::DoesNotRenew,
        Fault::ReadsFromAReplica,
        Fault::CountsFences,
    ] {
        assert!(refused_after(fault, 30).await.is_some(), "{fault:?}");
    }
}
