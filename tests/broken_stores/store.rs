//! A store in memory that is right but for one thing.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tower_idempotency::clock::{Clock as _, ManualClock};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Operation, Outcome, Phase, Ran, Record, Reply, Slot, Timestamp,
    Verb, apply,
};
use tower_idempotency::store::{Error, Seen, Store};

use crate::bend::{bend_call, bend_found, bend_reply};
use crate::faults::Fault;
use crate::verbs::store_by_verbs;

#[derive(Debug)]
pub struct BrokenStore {
    fault: Fault,
    clock: Arc<ManualClock>,
    records: Mutex<HashMap<Slot, Record>>,
    changed: Notify,
}

impl BrokenStore {
    pub fn new(fault: Fault, clock: Arc<ManualClock>) -> Self {
        Self { fault, clock, records: Mutex::default(), changed: Notify::new() }
    }

    async fn run(&self, slot: Slot, verb: Verb<'_>, within: Duration) -> Result<Reply, Error> {
        let slot = self.address(slot);
        if self.fault == Fault::ChecksThenActs {
            let found = self.records().get(&slot).cloned();
            tokio::task::yield_now().await;
            return Ok(self.apply(slot, found, &verb, within));
        }
        let found = self.records().get(&slot).cloned();
        let reply = self.apply(slot, found, &verb, within);
        self.changed.notify_waiters();
        Ok(reply)
    }

    /// There is no await between the look of `run` and this, and one thread: so it is atomic.
    fn apply(&self, slot: Slot, found: Option<Record>, verb: &Verb<'_>, within: Duration) -> Reply {
        let now = self.now();
        let found = found.filter(|record| now < record.expires);
        let late = within.is_zero();
        if late && self.fault != Fault::DeniesWhatWasLate {
            return Reply::Late;
        }
        let bent = bend_call(self.fault, verb, found.as_ref());
        let verb = bent.as_ref().map_or_else(|| verb.clone(), |bent| bent.verb(verb));
        let seen = bend_found(self.fault, found.clone(), &verb, now);
        let operation = Operation { verb: verb.clone(), deadline: Timestamp::NEVER };
        let (mut record, reply) = apply(seen.clone(), &operation, now);
        if record == seen {
            record.clone_from(&found);
        }
        let (record, reply) = bend_reply(self.fault, (found.as_ref(), record), reply, &verb, now);
        match record {
            Some(record) => drop(self.records().insert(slot, record)),
            None => drop(self.records().remove(&slot)),
        }
        if late { Reply::Late } else { reply }
    }

    fn seen(&self, slot: Slot, _: Duration) -> Ready<Result<Seen, Error>> {
        let now = self.now();
        let record = self.records().get(&self.address(slot)).cloned();
        let record = record.filter(|record| match self.fault {
            Fault::SeesTheExpired => true,
            Fault::OverlooksTombstones if record.phase == Phase::Released => false,
            _ => now < record.expires,
        });
        ready(Ok(Seen { record, now }))
    }

    async fn watched(
        &self,
        slot: Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        let looks = async {
            loop {
                let changed = self.changed.notified();
                let seen = self.seen(slot, within).await?;
                if seen.running(fence).is_none() || self.fault == Fault::WakesAtOnce {
                    return Ok(seen);
                }
                // Nobody is told when a clock is set that others have set.
                let _ = tokio::time::timeout(Duration::from_millis(5), changed).await;
            }
        };
        if self.fault == Fault::NeverWakes {
            tokio::time::sleep(within).await;
        }
        match tokio::time::timeout(within, looks).await {
            Ok(seen) => seen,
            Err(_) => self.seen(slot, within).await,
        }
    }

    fn address(&self, slot: Slot) -> Slot {
        let mut bytes = *slot.as_bytes();
        if self.fault == Fault::ForgetsTheEndOfTheSlot {
            bytes[31] = 0;
        }
        Slot::from_bytes(bytes)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).after(self.clock.unix())
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Slot, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

store_by_verbs!(BrokenStore);
