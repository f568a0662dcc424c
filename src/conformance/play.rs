//! Does the steps of a case one after another, and compares.

use std::collections::HashMap;

use super::Harness;
use super::moments::{Moments, ends};
use super::steps::*;
use crate::protocol::{FenceToken, Found, Grant, Nonce, Phase, Reply, Slot};
use crate::store::{Seen, Store};

pub(super) async fn play(harness: &Harness, steps: Vec<Step>) {
    let mut play = Play::new(harness);
    for (index, (what, must)) in steps.into_iter().enumerate() {
        let step = format!("step {}: {what:?} must give {must:?}", index + 1);
        play.step(what, must, &step).await;
        if let (Do::Begin(_), Completed(_) | Mismatch | OtherScheme(_)) = (what, must) {
            // Whoever asks again is told the same, from wherever.
            play.step(what, must, &step).await;
        }
    }
}

struct Play<'a> {
    harness: &'a Harness,
    slot: Slot,
    claims: HashMap<(u8, Place), Grant>,
    last: HashMap<Place, FenceToken>,
}

#[derive(Debug)]
enum Got {
    Reply(Reply),
    Seen,
}

impl<'a> Play<'a> {
    fn new(harness: &'a Harness) -> Self {
        Self { harness, slot: fresh_slot(), claims: HashMap::new(), last: HashMap::new() }
    }

    async fn step(&mut self, what: Do, must: Must, step: &str) {
        let slot = match what {
            Do::Wait(span) => return self.harness.advance(span).await,
            Do::Look(place) => place.of(self.slot),
            Do::Begin(who)
            | Do::Renew(who)
            | Do::Complete(who, _)
            | Do::Release(who, ..)
            | Do::Resolve(who, ..) => who.at.of(self.slot),
        };
        let before = self.harness.look(slot).await;
        let got = self.act(what, slot).await;
        let after = self.harness.look(slot).await;
        let moments = Moments { before, after };
        let matches = match &got {
            Got::Reply(reply) => self.answers(what, reply, must, &moments),
            Got::Seen => self.holds(&moments.after, must),
        };
        assert!(matches, "{step}, not {got:?} of {:?}", moments.after);
        if !matches!(must, Started(_) | Reclaimed(_) | Applied) {
            moments.assert_same(step);
        }
    }

    /// What this one was granted; someone who was granted nothing invents it.
    fn grant(&self, who: Who) -> Grant {
        let invented = Grant { number: 9, fence: FenceToken::from_number(9) };
        self.claims.get(&(who.nonce, who.at)).copied().unwrap_or(invented)
    }

    async fn act(&self, what: Do, slot: Slot) -> Got {
        let store = self.harness.store();
        let claim = |who: Who| who.attempt(slot).claim(self.grant(who));
        let reply = match what {
            Do::Wait(_) | Do::Look(_) => return Got::Seen,
            Do::Begin(who) => store.begin(&who.attempt(slot), WITHIN).await,
            Do::Renew(who) => store.renew(&claim(who), WITHIN).await,
            Do::Complete(who, content) => {
                store.complete(&claim(who), &content.outcome(), WITHIN).await
            }
            Do::Release(who, ran, tombstone) => {
                store.release(&who.attempt(slot), ran, tombstone, WITHIN).await
            }
            Do::Resolve(who, content, retention) => {
                let (fence, outcome) = (self.grant(who).fence, content.outcome());
                store.resolve(slot, fence, &outcome, retention, WITHIN).await
            }
        };
        Got::Reply(reply.expect("the store answers"))
    }

    fn answers(&mut self, what: Do, reply: &Reply, must: Must, moments: &Moments) -> bool {
        match (what, reply, must) {
            (Do::Begin(who), Reply::Started(grant), Started(number))
            | (Do::Begin(who), Reply::Reclaimed(grant), Reclaimed(number)) => {
                let last = self.last.insert(who.at, grant.fence);
                self.claims.insert((who.nonce, who.at), *grant);
                last < Some(grant.fence) && grant.number == number
            }
            (Do::Begin(who), Reply::Mine(grant), Mine(number)) => {
                grant.number == number && self.grant(who) == *grant
            }
            (_, Reply::Cancelled, Cancelled) | (_, Reply::Applied, Applied) => true,
            (_, Reply::Found(found), must) => is(found, must) && moments.fit(found),
            (_, Reply::Fenced(found), Fenced(must)) => is(found, *must) && moments.fit(found),
            _ => false,
        }
    }

    fn holds(&self, seen: &Seen, must: Must) -> bool {
        let Some(record) = &seen.record else { return matches!(must, Empty) };
        let own = |who: Who| record.nonce == Nonce::from_bytes([who.nonce; 16]);
        let of = |who: Who, number: u32| {
            record.fingerprint == who.attempt(self.slot).fingerprint
                && record.fence == self.grant(who).fence
                && record.attempt == number
        };
        let ends = |after| ends(record, seen.now, after);
        match (&record.phase, must) {
            (Phase::InProgress { lease_until }, InProgress(who, number)) => {
                let lease = lease_until.since(seen.now);
                lease > who.lease / 2
                    && lease <= who.lease
                    && own(who)
                    && of(who, number)
                    && ends(who.retention)
            }
            (Phase::InProgress { lease_until }, Abandoned(who, number)) => {
                *lease_until <= seen.now && own(who) && of(who, number) && ends(who.retention)
            }
            (Phase::Completed { outcome, .. }, Holds(who, content) | Resolved(who, content)) => {
                let resolved = matches!(must, Resolved(..));
                (if resolved { record.nonce == Nonce::NOBODY } else { own(who) })
                    && *outcome == content.outcome()
                    && of(who, self.grant(who).number)
                    && ends(who.retention)
            }
            (Phase::Released, Released(who, number)) => {
                own(who) && of(who, number) && ends(who.retention)
            }
            _ => false,
        }
    }
}

fn is(found: &Found, must: Must) -> bool {
    match (found, must) {
        (Found::Nothing, Nothing) | (Found::Mismatch, Mismatch) | (Found::Busy { .. }, Busy) => {
            true
        }
        (Found::OtherScheme(found), OtherScheme(scheme)) => *found == scheme(),
        (Found::Unknown { attempt, .. }, Unknown(number)) => *attempt == number,
        (Found::Completed { outcome, .. }, Completed(content)) => *outcome == content.outcome(),
        _ => false,
    }
}
