//! A store in memory that is right but for one thing.

use std::collections::{HashMap, HashSet};
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tower_idempotency::clock::{Clock as _, ManualClock};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fingerprint, Grant, Nonce, Operation, Outcome, Phase, Ran, Record,
    Reply, Scheme, Slot, Timestamp, Verb, apply,
};
use tower_idempotency::store::{Effect, Error, ErrorKind, Operation as Called, Seen, Store};

use crate::after::Decision;
use crate::before::{Asked, found_instead};
use crate::faults::Fault;
use crate::late::Late;
use crate::outcomes::half;
use crate::verbs::store_by_verbs;
use crate::watching::Watching;

#[derive(Debug)]
pub struct BrokenStore {
    pub fault: Fault,
    clock: Arc<ManualClock>,
    started: Timestamp,
    pub records: Mutex<HashMap<Slot, Record>>,
    pub resolved: Mutex<HashSet<Slot>>,
    pub watching: Watching,
    late: Mutex<Vec<Late>>,
    locked: AtomicBool,
    turn: Mutex<()>,
}

impl BrokenStore {
    pub fn new(fault: Fault, clock: Arc<ManualClock>) -> Self {
        Self {
            fault,
            started: Timestamp::from_micros(0).after(clock.unix()),
            clock,
            records: Mutex::default(),
            resolved: Mutex::default(),
            watching: Watching::default(),
            late: Mutex::default(),
            locked: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }

    async fn run(&self, slot: Slot, verb: Verb<'_>, within: Duration) -> Result<Reply, Error> {
        self.catch_up();
        let slot = self.address(slot);
        if within.is_zero() {
            return self.run_late(slot, &verb);
        }
        let early = self.found(slot);
        let pauses = self.pause(slot, &verb, early.is_some()).await?;
        let _turn = lock(&self.turn);
        let found = if pauses { early } else { self.found(slot) };
        Ok(self.decide(slot, found.as_ref(), &verb))
    }

    /// Whether something may have happened between the look and now, as it never may in a right store.
    async fn pause(&self, slot: Slot, verb: &Verb<'_>, known: bool) -> Result<bool, Error> {
        match (self.fault, verb) {
            (Fault::ChecksThenActs, _) => {
                std::thread::sleep(Duration::from_micros(50));
                tokio::task::yield_now().await;
            }
            (Fault::StopsHalfWay, Verb::Begin(attempt)) if !known => {
                let now = self.now();
                let half = Grant { number: 0, fence: FenceToken::at(now) };
                let half = Record::in_progress(&(*attempt).clone().claim(half), now);
                lock(&self.records).insert(slot, half);
                tokio::task::yield_now().await;
            }
            (Fault::StaysLocked, Verb::Renew(_) | Verb::Complete(..) | Verb::Release { .. }) => {
                if self.locked.swap(true, Ordering::Relaxed) {
                    return Err(timed_out(Effect::None));
                }
                tokio::task::yield_now().await;
                self.locked.store(false, Ordering::Relaxed);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A call whose time is over before it begins.
    fn run_late(&self, slot: Slot, verb: &Verb<'_>) -> Result<Reply, Error> {
        match (self.fault, verb) {
            (Fault::DeniesWhatWasLate, _) => {
                self.decide(slot, self.found(slot).as_ref(), verb);
                Ok(Reply::Late)
            }
            (Fault::DeniesWhatFailed, _) => {
                self.decide(slot, self.found(slot).as_ref(), verb);
                Err(timed_out(Effect::None))
            }
            (Fault::HappensLate, _) => {
                lock(&self.late).extend(Late::new(slot, verb, self.now()));
                Err(timed_out(Effect::Unknown))
            }
            (Fault::CutsALateOutcome, Verb::Complete(claim, outcome)) => {
                self.decide(
                    slot,
                    self.found(slot).as_ref(),
                    &Verb::Complete(claim, &half(outcome)),
                );
                Err(timed_out(Effect::Unknown))
            }
            _ => Ok(Reply::Late),
        }
    }

    /// Atomic where its caller has looked and called it in one turn: two threads of a case may call.
    fn decide(&self, slot: Slot, found: Option<&Record>, verb: &Verb<'_>) -> Reply {
        let (fault, now) = (self.fault, self.now());
        let asked = Asked::instead(fault, verb, found);
        let verb = asked.verb(verb);
        let seen = found_instead(fault, found.cloned(), &verb, now);
        let operation = Operation { verb: verb.clone(), deadline: Timestamp::NEVER };
        let (mut record, reply) = apply(seen.clone(), &operation, now);
        if record == seen {
            record = found.cloned();
        }
        let mut decision = Decision { fault, found, record, reply, now };
        decision.bend(&verb);
        if matches!((&verb, &decision.reply), (Verb::Resolve { .. }, Reply::Applied)) {
            lock(&self.resolved).insert(slot);
        }
        match decision.record {
            Some(record) => drop(lock(&self.records).insert(slot, record)),
            None => drop(lock(&self.records).remove(&slot)),
        }
        self.watching.tell();
        decision.reply
    }

    fn found(&self, slot: Slot) -> Option<Record> {
        let now = self.now();
        lock(&self.records).get(&slot).filter(|record| now < record.expires).cloned()
    }

    /// Does what was late and is due.
    fn catch_up(&self) {
        let now = self.now();
        let due: Vec<_> = lock(&self.late).extract_if(.., |late| late.is_due(now)).collect();
        for late in due {
            self.decide(late.slot, self.found(late.slot).as_ref(), &late.verb());
        }
    }

    pub fn seen(&self, slot: Slot, _: Duration) -> Ready<Result<Seen, Error>> {
        self.catch_up();
        let (slot, now) = (self.address(slot), self.now());
        if self.fault == Fault::LeavesWhatItLookedFor {
            lock(&self.records).entry(slot).or_insert_with(|| visited(now));
        }
        let record = lock(&self.records).get(&slot).cloned();
        let record = record.filter(|record| match (self.fault, &record.phase) {
            (Fault::SeesTheExpired, _) => true,
            (Fault::OverlooksTombstones, Phase::Released) => false,
            (
                Fault::OverlooksTheAbandoned | Fault::ForgetsAtTheEndOfTheLease,
                Phase::InProgress { lease_until },
            ) if *lease_until <= now => false,
            _ => now < record.expires,
        });
        let now = if self.fault == Fault::StandsStill { self.started } else { now };
        ready(Ok(Seen { record, now }))
    }

    pub fn address(&self, slot: Slot) -> Slot {
        let mut bytes = *slot.as_bytes();
        match self.fault {
            Fault::ForgetsTheEndOfTheSlot => bytes[31] = 0,
            Fault::ForgetsTheBeginningOfTheSlot => bytes[0] = 0,
            _ => {}
        }
        Slot::from_bytes(bytes)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).after(self.clock.unix())
    }
}

/// What is left where somebody has looked.
fn visited(now: Timestamp) -> Record {
    Record {
        fingerprint: Fingerprint::new(Scheme::raw(), [0; 32]),
        nonce: Nonce::from_bytes([0; 16]),
        fence: FenceToken::at(now),
        attempt: 0,
        phase: Phase::Released,
        expires: Timestamp::NEVER,
    }
}

fn timed_out(effect: Effect) -> Error {
    Error::new(ErrorKind::TimedOut, Called::Begin, effect)
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

store_by_verbs!(BrokenStore);
