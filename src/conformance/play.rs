//! Does the steps of a case one after another, and compares.

use std::collections::HashMap;

use super::Harness;
use super::moments::Moments;
use super::steps::*;
use crate::protocol::{FenceToken, Grant, Reply, Slot};
use crate::store::Store;

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

pub(super) struct Play<'a> {
    harness: &'a Harness,
    pub(super) slot: Slot,
    pub(super) claims: HashMap<(u8, Place), Grant>,
    pub(super) last: HashMap<Place, FenceToken>,
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
        let wrong = match &got {
            Some(reply) => self.wrong_reply(what, reply, must, &moments),
            None => self.wrong_record(&moments.after, must),
        };
        let got = got.map_or_else(String::new, |reply| format!(" but gave {reply:?}, and"));
        let (wrong, right) = (wrong.join(", "), wrong.is_empty());
        assert!(right, "{step},{got} the slot holds {:?}: wrong is {wrong}", moments.after);
        if !matches!(must, Started(_) | Reclaimed(_) | Applied) {
            moments.assert_same(step);
        }
    }

    /// What this one was granted; someone who was granted nothing invents it.
    pub(super) fn grant(&self, who: Who) -> Grant {
        let invented = Grant { number: 9, fence: FenceToken::from_number(9) };
        self.claims.get(&(who.nonce, who.at)).copied().unwrap_or(invented)
    }

    /// What is answered, where something is.
    async fn act(&self, what: Do, slot: Slot) -> Option<Reply> {
        let store = self.harness.store();
        let claim = |who: Who| who.attempt(slot).claim(self.grant(who));
        let reply = match what {
            Do::Wait(_) | Do::Look(_) => return None,
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
        Some(reply.expect("the store answers"))
    }
}
