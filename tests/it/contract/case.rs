//! A case: does its steps one after another and compares.

use std::collections::HashMap;
use std::time::Duration;

use tower_idempotency::protocol::{FenceToken, Found, Grant, Nonce, Phase, Record, Reply, Slot};
use tower_idempotency::store::{Seen, Store};

use super::harness::Harness;
use super::steps::*;

/// Does the steps, one after another, and compares.
pub async fn run(harness: &impl Harness, steps: Vec<Step>) {
    let mut case = Case { harness, slot: random_slot(), claims: HashMap::new(), last: None };
    for (index, (what, must)) in steps.into_iter().enumerate() {
        let step = format!("step {}: {what:?} must give {must:?}", index + 1);
        let changes = matches!(must, Started(_) | Reclaimed(_) | Applied);
        let before = (!changes).then_some(case.look().await.record);
        let got = case.act(what).await;
        case.compare(&got, must, &step);
        if let (Do::Begin(_), Completed(_) | Mismatch | OtherScheme(_)) = (what, must) {
            // Whoever asks again is told the same, from wherever.
            let again = case.act(what).await;
            case.compare(&again, must, &step);
        }
        if let (Some(before), false) = (before, matches!(what, Do::Wait(_))) {
            assert_same(before, case.look().await.record.as_ref(), &step);
        }
    }
}

struct Case<'a, H> {
    harness: &'a H,
    slot: Slot,
    claims: HashMap<u8, Grant>,
    last: Option<FenceToken>,
}

#[derive(Debug)]
enum Got {
    Reply(Who, Reply),
    Seen(Seen),
    Time,
}

impl<H: Harness> Case<'_, H> {
    async fn look(&self) -> Seen {
        self.harness.store().look(self.slot, WITHIN).await.expect("look answers")
    }

    /// What this one was granted; someone who was granted nothing invents it.
    fn grant(&self, who: Who) -> Grant {
        let invented = Grant { number: 9, fence: FenceToken::from_number(9) };
        self.claims.get(&who.nonce).copied().unwrap_or(invented)
    }

    async fn act(&mut self, what: Do) -> Got {
        let store = self.harness.store();
        let claim = |who: Who| who.attempt(self.slot).claim(self.grant(who));
        let reply = match what {
            Do::Wait(span) => {
                self.harness.advance(span).await;
                return Got::Time;
            }
            Do::Look => return Got::Seen(self.look().await),
            Do::Begin(who) => (who, store.begin(&who.attempt(self.slot), WITHIN).await),
            Do::Renew(who) => (who, store.renew(&claim(who), WITHIN).await),
            Do::Complete(who, content) => {
                (who, store.complete(&claim(who), &content.outcome(), WITHIN).await)
            }
            Do::Release(who, ran, tombstone) => {
                let attempt = who.attempt(self.slot);
                (who, store.release(&attempt, ran, tombstone, WITHIN).await)
            }
            Do::Resolve(who, content, retention) => {
                let (fence, outcome) = (self.grant(who).fence, content.outcome());
                (who, store.resolve(self.slot, fence, &outcome, retention, WITHIN).await)
            }
        };
        Got::Reply(reply.0, reply.1.expect("the store answers"))
    }

    fn compare(&mut self, got: &Got, must: Must, step: &str) {
        let matches = match (got, must) {
            (Got::Reply(who, Reply::Started(grant)), Started(number))
            | (Got::Reply(who, Reply::Reclaimed(grant)), Reclaimed(number)) => {
                assert!(self.last < Some(grant.fence), "{step}: fences grow");
                self.last = Some(grant.fence);
                self.claims.insert(who.nonce, *grant);
                grant.number == number
            }
            (Got::Reply(who, Reply::Mine(grant)), Mine(number)) => {
                grant.number == number && self.grant(*who) == *grant
            }
            (Got::Reply(_, Reply::Cancelled), Cancelled)
            | (Got::Reply(_, Reply::Applied), Applied)
            | (Got::Time, Passed) => true,
            (Got::Reply(_, Reply::Found(found)), must) => self.is(found, must),
            (Got::Reply(_, Reply::Fenced(found)), Fenced(must)) => self.is(found, *must),
            (Got::Seen(seen), must) => self.holds(seen, must),
            _ => false,
        };
        assert!(matches, "{step}, not {got:?}");
    }

    fn is(&self, found: &Found, must: Must) -> bool {
        let young = |age: &Duration| *age < HOUR / 2;
        match (found, must) {
            (Found::Nothing, Nothing) | (Found::Mismatch, Mismatch) => true,
            (Found::OtherScheme(found), OtherScheme(scheme)) => *found == scheme(),
            (Found::Busy { fence, remaining, age }, Busy) => {
                Some(*fence) == self.last
                    && young(age)
                    && *remaining > HOUR / 2
                    && *remaining <= HOUR
            }
            (Found::Unknown { fence, attempt, age }, Unknown(number)) => {
                young(age) && *attempt == number && Some(*fence) == self.last
            }
            (Found::Completed { outcome, age }, Completed(content)) => {
                young(age) && *outcome == content.outcome()
            }
            _ => false,
        }
    }

    fn holds(&self, seen: &Seen, must: Must) -> bool {
        let of = |who: Who, record: &Record| {
            record.nonce == Nonce::from_bytes([who.nonce; 16])
                && record.fingerprint == who.attempt(self.slot).fingerprint
                && record.fence == self.grant(who).fence
        };
        let ends = |record: &Record, after: Duration| {
            let left = record.expires.since(seen.now);
            left > after / 2 && left <= after + Duration::from_millis(2)
        };
        let Some(record) = &seen.record else { return matches!(must, Empty) };
        match (&record.phase, must) {
            (Phase::InProgress { lease_until }, InProgress(who, number)) => {
                let lease = lease_until.since(seen.now);
                lease > who.lease / 2
                    && lease <= who.lease
                    && of(who, record)
                    && ends(record, who.retention)
                    && record.attempt == number
            }
            (Phase::Completed { at, outcome }, Holds(who, content)) => {
                *outcome == content.outcome()
                    && of(who, record)
                    && ends(record, who.retention)
                    && seen.now.since(*at) < HOUR / 2
            }
            (Phase::Released, Released(who, number)) => {
                of(who, record) && ends(record, HOUR) && record.attempt == number
            }
            _ => false,
        }
    }
}

/// Redis tells by the millisecond when a record ends, and what time it is only a moment later.
const BLUR: Duration = Duration::from_millis(20);

/// What changes nothing leaves the record as it was.
fn assert_same(before: Option<Record>, after: Option<&Record>, step: &str) {
    let blur = |mut record: Record| {
        if let Some(other) = after {
            let apart = record.expires.since(other.expires) + other.expires.since(record.expires);
            assert!(apart <= BLUR, "{step}: the record ends when it did");
            record.expires = other.expires;
        }
        record
    };
    assert_eq!(before.map(blur).as_ref(), after, "{step}: the record is as it was");
}

pub fn random_slot() -> Slot {
    Slot::from_bytes(rand::random())
}
