//! The simulated store: the contract on a clock of its own, and what can go wrong with it.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use tower_idempotency::protocol::{
    Attempt, FenceToken, Grant, Operation, Outcome, Phase, Ran, Record, Reply, Slot, Timestamp,
    Verb,
};
use tower_idempotency::store::{Effect, ErrorKind, Seen};

use super::event::Event;
use super::faults::Path;
use super::words::words;
use super::world::World;

/// A call as it travels.
#[derive(Clone, Debug)]
pub enum Message {
    Begin(Attempt),
    Renew(Attempt, Grant),
    Complete(Attempt, Grant, Outcome),
    Release { attempt: Attempt, ran: Ran, tombstone: std::time::Duration },
    Look(Slot),
    Resolve { slot: Slot, fence: FenceToken, outcome: Outcome, retention: std::time::Duration },
}

#[derive(Clone, Debug)]
pub enum Told {
    Reply(Reply),
    Seen(Seen),
}

pub type Result = std::result::Result<Told, (ErrorKind, Effect)>;

#[derive(Debug)]
pub struct Call {
    pub server: usize,
    pub message: Message,
    pub deadline: Timestamp,
    pub reply: Option<oneshot::Sender<Result>>,
}

#[derive(Debug)]
pub struct Watcher {
    pub server: usize,
    pub slot: Slot,
    pub changed: Option<oneshot::Sender<()>>,
}

/// A clock that is fast or slow by a little, and can be set.
#[derive(Clone, Debug)]
pub struct StoreClock {
    offset_micros: u64,
    per_thousand: u64,
}

impl StoreClock {
    pub const fn new(per_thousand: u64) -> Self {
        Self { offset_micros: 1_700_000_000_000_000, per_thousand }
    }

    pub const fn at(&self, now: u64) -> Timestamp {
        Timestamp::from_micros(self.offset_micros + now * self.per_thousand)
    }

    pub const fn jump(&mut self, millis: i64) {
        self.offset_micros = self.offset_micros.strict_add_signed(millis * 1_000);
    }
}

/// When, where, whether it was a claim, and what was there then.
type Write = (u64, Slot, bool, Option<Record>);

#[derive(Debug)]
pub struct Store {
    pub records: BTreeMap<[u8; 32], Record>,
    journal: Vec<Write>,
    pub clock: StoreClock,
    pub frozen: u32,
    pub held: Vec<usize>,
    pub unready: u32,
    pub full: u32,
    pub calls: Vec<Call>,
    pub watchers: Vec<Watcher>,
    watched: Vec<usize>,
}

impl Store {
    pub const fn new(clock: StoreClock) -> Self {
        Self {
            records: BTreeMap::new(),
            journal: Vec::new(),
            clock,
            frozen: 0,
            held: Vec::new(),
            unready: 0,
            full: 0,
            calls: Vec::new(),
            watchers: Vec::new(),
            watched: Vec::new(),
        }
    }

    pub fn put(&mut self, now: u64, slot: Slot, claimed: bool, record: Option<Record>) {
        self.journal.push((now, slot, claimed, record.clone()));
        match record {
            Some(record) => self.records.insert(*slot.as_bytes(), record),
            None => self.records.remove(slot.as_bytes()),
        };
    }

    /// What a slot held, as it was last written by then.
    pub fn before(&self, at: u64, slot: Slot) -> Option<&Record> {
        let mut writes = self.journal.iter().rev();
        writes.find(|(when, of, ..)| *when <= at && *of == slot)?.3.as_ref()
    }

    /// What a replica has that lacks every write since then but the claims.
    pub fn fail_over(&mut self, since: u64) {
        self.journal.retain(|(at, _, claimed, _)| *at < since || *claimed);
        self.records.clear();
        for (_, slot, _, record) in self.journal.clone() {
            match record {
                Some(record) => drop(self.records.insert(*slot.as_bytes(), record)),
                None => drop(self.records.remove(slot.as_bytes())),
            }
        }
    }

    pub fn watch(&mut self, watcher: Watcher) {
        self.watched.push(self.watchers.len());
        self.watchers.push(watcher);
    }
}

impl World {
    /// A call has arrived.
    pub fn arrived_at_store(&mut self, number: usize) {
        if self.store.frozen > 0 {
            self.store.held.push(number);
            return;
        }
        let result = if self.store.unready > 0 {
            Err((ErrorKind::NotReady, Effect::None))
        } else {
            self.serve(number)
        };
        self.reply(number, result);
    }

    fn serve(&mut self, number: usize) -> Result {
        let now = self.store.clock.at(self.now);
        let message = self.store.calls[number].message.clone();
        let slot = message.slot();
        let found = self.store.records.get(slot.as_bytes()).cloned();
        let found = found.filter(|record| now < record.expires);
        let claim;
        let verb = match &message {
            Message::Look(_) => return Ok(Told::Seen(Seen { record: found, now })),
            Message::Begin(attempt) => Verb::Begin(attempt),
            Message::Renew(attempt, grant) => {
                claim = attempt.clone().claim(*grant);
                Verb::Renew(&claim)
            }
            Message::Complete(attempt, grant, outcome) => {
                claim = attempt.clone().claim(*grant);
                Verb::Complete(&claim, outcome)
            }
            Message::Release { attempt, ran, tombstone } => {
                Verb::Release { attempt, ran: *ran, tombstone: *tombstone }
            }
            Message::Resolve { fence, outcome, retention, .. } => {
                Verb::Resolve { fence: *fence, outcome, retention: *retention }
            }
        };
        let operation = Operation { verb, deadline: self.store.calls[number].deadline };
        let (record, reply) = self.plan.defect.apply(found.clone(), &operation, now);
        if self.store.full > 0 && found.is_none() && matches!(reply, Reply::Started(_)) {
            self.count("refusals when full");
            if self.plan.defect != super::defects::Defect::EvictsWhenFull {
                return Err((ErrorKind::Full, Effect::None));
            }
            self.evict(now);
        }
        self.notice(&message, found.as_ref(), &reply);
        let key = self.key_of(slot);
        let text = format!("the store: {}: {}", self.describe(&message), words(&reply));
        self.note(key, text);
        if record != found {
            let claimed = matches!(reply, Reply::Started(_) | Reply::Mine(_) | Reply::Reclaimed(_));
            self.store.put(self.now, slot, claimed, record);
            self.notify(slot);
        }
        Ok(Told::Reply(reply))
    }

    /// Drops a claim to make room, as a store must not.
    fn evict(&mut self, now: Timestamp) {
        let running = |record: &Record| matches!(record.phase, Phase::InProgress { lease_until } if now < lease_until);
        let victim = self.store.records.iter().find(|(_, record)| running(record));
        if let Some(slot) = victim.map(|(slot, _)| *slot) {
            self.store.records.remove(&slot);
        }
    }

    fn notify(&mut self, slot: Slot) {
        let watched = std::mem::take(&mut self.store.watched);
        for number in watched {
            let watcher = &self.store.watchers[number];
            if watcher.slot != slot {
                self.store.watched.push(number);
                continue;
            }
            let path = (watcher.server, Path::FromStore);
            if let Some(fate) = self.fate(path) {
                let at = self.now + fate.delay;
                self.push(at, Event::Notify { watcher: number });
            }
        }
    }

    fn reply(&mut self, number: usize, result: Result) {
        let path = (self.store.calls[number].server, Path::FromStore);
        let Some(fate) = self.fate(path) else {
            self.count("lost replies of the store");
            // The caller may hear that the connection broke, or nothing.
            if self.rng.chance(400) {
                let at = self.now + self.rng.between(1, 6);
                let result = Err((ErrorKind::Unreachable, Effect::Unknown));
                self.push(at, Event::Reply { call: number, result });
            }
            return;
        };
        self.push(self.now + fate.delay, Event::Reply { call: number, result });
    }

    /// Counts the rare paths.
    fn notice(&mut self, message: &Message, found: Option<&Record>, reply: &Reply) {
        let completed = found.is_some_and(|record| matches!(record.phase, Phase::Completed { .. }));
        match (message, reply) {
            (Message::Begin(_), Reply::Mine(_)) => self.count("begins repeated, mine"),
            (Message::Begin(_), Reply::Cancelled) => self.count("begins cancelled"),
            (Message::Begin(_), Reply::Late) => self.count("begins late"),
            (Message::Begin(_), Reply::Reclaimed(_)) => self.count("take-overs"),
            (Message::Renew(..), Reply::Fenced(_)) => self.count("renewals fenced"),
            (Message::Renew(..), Reply::Applied) if found.is_none() => {
                self.count("records re-asserted by renew");
            }
            (Message::Complete(..), Reply::Fenced(_)) => self.count("completions fenced"),
            (Message::Complete(..), Reply::Applied) if completed => {
                self.count("completions repeated");
            }
            (Message::Complete(..), Reply::Applied) if found.is_none() => {
                self.count("records re-asserted by complete");
            }
            (Message::Release { attempt, .. }, Reply::Applied) if found.is_some() => {
                let fence = found.map(|record| record.fence.number()).unwrap_or_default();
                let ran = self.started.contains(&(*attempt.slot.as_bytes(), fence));
                self.count(if ran { "releases of runs" } else { "claims never started, released" });
                let own = found.is_some_and(|record| record.nonce == attempt.nonce);
                if let Some(key) = self.key_of(attempt.slot).filter(|_| own && !ran) {
                    self.history.taken_back.push((key, self.now));
                }
            }
            (Message::Resolve { .. }, Reply::Applied) => self.count("resolves"),
            _ => {}
        }
    }
}

impl Message {
    pub const fn slot(&self) -> Slot {
        match self {
            Self::Begin(attempt)
            | Self::Renew(attempt, _)
            | Self::Complete(attempt, ..)
            | Self::Release { attempt, .. } => attempt.slot,
            Self::Look(slot) | Self::Resolve { slot, .. } => *slot,
        }
    }
}
