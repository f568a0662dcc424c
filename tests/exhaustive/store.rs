//! The store of the model: the production `apply`, given times that say what the state says.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fingerprint, Found, Grant, Nonce, Operation, Phase as Held, Ran,
    Record, Reply, Scheme, Slot, TakeOver, Timestamp, Verb, apply,
};

use crate::defect::Defect;
use crate::records::{id, keep, nonce, outcome, small, timeless};
use crate::state::{Asked, Kept, OPERATOR, OutcomeId, Phase, Stage, State};
use crate::transaction::resolvable;
use crate::variant::Variant;

const LEASE: Duration = Duration::from_micros(1_000);
const RETENTION: Duration = Duration::from_micros(1_000_000);
/// A nonce that no attempt has.
const STRANGER: Nonce = Nonce::from_bytes([0xff; 16]);

/// The verbs that one attempt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Begin,
    Renew,
    Complete,
    Release,
    /// An operator or a hook gives the abandoned claim an outcome.
    Resolve(Asked),
}

/// What a store answered, without its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Started or reclaimed.
    New {
        token: u8,
        number: u8,
    },
    Mine {
        token: u8,
        number: u8,
    },
    Cancelled,
    Applied,
    Late,
    Nothing,
    Mismatch,
    Busy,
    Unknown {
        token: u8,
        number: u8,
    },
    Completed(OutcomeId),
}

/// One call that reached the store.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    pub by: usize,
    pub call: Call,
    pub found: Option<Kept>,
    pub left: Option<Kept>,
    pub answer: Answer,
    /// What the same call changes and answers when it arrives once more at once.
    pub again: (Option<Kept>, Answer),
}

pub struct Store {
    variant: Variant,
    same: Fingerprint,
    other: Fingerprint,
}

impl Store {
    pub fn new(variant: Variant) -> Self {
        let of = |byte| Fingerprint::new(Scheme::raw(), [byte; 32]);
        Self { variant, same: of(1), other: of(2) }
    }

    /// One call of an attempt, as it reaches the store in this state.
    pub fn call(&self, state: &State, by: usize, call: Call) -> Called {
        let now = if state.clock_back { 1 } else { u64::from(state.ghost.top) + 1 };
        let now = Timestamp::from_micros(now);
        let found = state.slot.map(|kept| self.record(&kept, now));
        let (left, answer) = self.run(found, state, by, call, now);
        let (twice, again) = self.run(left.clone(), state, by, call, now);
        let kept = |record: Option<Record>| record.map(|record| keep(&record, state, by, now));
        Called {
            by,
            call,
            found: state.slot,
            left: kept(left),
            answer,
            again: (kept(twice), again),
        }
    }

    fn run(
        &self,
        found: Option<Record>,
        state: &State,
        by: usize,
        call: Call,
        now: Timestamp,
    ) -> (Option<Record>, Answer) {
        let item = &state.tries[by];
        let mut attempt = self.attempt(state, by);
        let id = attempt.nonce;
        let (number, fence) = (item.number.into(), FenceToken::from_number(item.token.into()));
        let (record, reply) = match call {
            Call::Begin => {
                self.spoil_begin(found.as_ref(), &mut attempt, state, by);
                let past = item.late && !self.variant.has(Defect::NoDeadlineNoCancel);
                let deadline = if past { Timestamp::from_micros(0) } else { Timestamp::NEVER };
                let found = self.unexpired(found);
                apply(found, &Operation { verb: Verb::Begin(&attempt), deadline }, now)
            }
            Call::Renew => {
                let found = found.filter(|_| !self.variant.has(Defect::UnfencedRenew));
                let claim = attempt.claim(Grant { number, fence });
                timeless(found, Verb::Renew(&claim), now)
            }
            Call::Complete => {
                let claim = attempt.claim(Grant { number, fence });
                self.complete(found, &claim, u8::try_from(by).expect("few attempts"), now)
            }
            Call::Release => {
                let ran = match item.step {
                    Stage::Freeing { maybe: true } | Stage::Fencing { .. } => Ran::Maybe,
                    _ => Ran::No,
                };
                if self.variant.has(Defect::UnfencedWrites) {
                    (None, Reply::Applied)
                } else {
                    let verb = Verb::Release { attempt: &attempt, ran, tombstone: LEASE * 2 };
                    timeless(found, verb, now)
                }
            }
            Call::Resolve(asked) => {
                self.resolve(found, resolvable(&self.variant, state, asked), now)
            }
        };
        let mut record = record;
        if let Some(record) = record.as_mut().filter(|record| record.nonce == STRANGER) {
            record.nonce = id;
        }
        if self.variant.has(Defect::NoTombstone) {
            record = record.filter(|record| record.phase != Held::Released);
        }
        let answer = self.answer(&reply, record.as_mut());
        (record, answer)
    }

    fn complete(
        &self,
        found: Option<Record>,
        claim: &Claim,
        by: u8,
        now: Timestamp,
    ) -> (Option<Record>, Reply) {
        let own = |record: &Record| [claim.attempt().nonce, Nonce::NOBODY].contains(&record.nonce);
        let forget = match self.variant.defect {
            Some(Defect::UnfencedWrites) => true,
            Some(Defect::SecondOutcomeWins) => found.as_ref().is_some_and(own),
            _ => false,
        };
        let outcome = outcome(by);
        timeless(found.filter(|_| !forget), Verb::Complete(claim, &outcome), now)
    }

    fn resolve(
        &self,
        mut found: Option<Record>,
        asked: Asked,
        now: Timestamp,
    ) -> (Option<Record>, Reply) {
        let mut fence = FenceToken::from_number(asked.token.into());
        if self.variant.has(Defect::UnfencedResolve)
            && let Some(record) = &mut found
            && let Held::InProgress { lease_until } = &mut record.phase
        {
            *lease_until = now;
            fence = record.fence;
        }
        let outcome = outcome(OPERATOR);
        let worker = found.as_ref().map(|record| record.nonce);
        let verb = Verb::Resolve { fence, outcome: &outcome, retention: RETENTION };
        let (mut record, reply) = timeless(found, verb, now);
        if self.variant.has(Defect::ResolveKeepsNonce)
            && let (Some(record), Some(worker)) = (&mut record, worker)
        {
            record.nonce = worker;
        }
        (record, reply)
    }

    /// The attempt as it is sent.
    fn attempt(&self, state: &State, by: usize) -> Attempt {
        let item = &state.tries[by];
        let take_over = match item.rerun {
            _ if state.slot.is_some_and(|kept| kept.marked) => TakeOver::Below(u32::MAX),
            Some(asked) if self.variant.has(Defect::RerunByNumber) => {
                TakeOver::Below(u32::from(asked.number) + 1)
            }
            Some(asked) => TakeOver::Only(FenceToken::from_number(asked.token.into())),
            None if self.variant.at_most_once() => TakeOver::Never,
            None => TakeOver::Below(self.variant.max_attempts),
        };
        Attempt {
            slot: Slot::from_bytes([0; 32]),
            fingerprint: if item.odd { self.other.clone() } else { self.same.clone() },
            nonce: nonce(u8::try_from(by).expect("few attempts")),
            lease: LEASE,
            retention: RETENTION,
            take_over,
            transactional: false,
        }
    }

    fn spoil_begin(&self, found: Option<&Record>, attempt: &mut Attempt, state: &State, by: usize) {
        let Some(record) = found else { return };
        let own = record.nonce == attempt.nonce && matches!(record.phase, Held::InProgress { .. });
        match self.variant.defect {
            Some(Defect::NoNonce) if own => attempt.nonce = STRANGER,
            Some(Defect::NewNonceOnRepeat) if own && state.tries[by].lost => {
                attempt.nonce = STRANGER;
            }
            Some(Defect::TakeOverAlways | Defect::NumberForgotten) => {
                attempt.take_over = TakeOver::Below(u32::MAX);
            }
            Some(Defect::FingerprintIgnored) => attempt.fingerprint = record.fingerprint.clone(),
            _ => {}
        }
    }

    fn unexpired(&self, mut found: Option<Record>) -> Option<Record> {
        if self.variant.has(Defect::ReplayBeforeExpiry)
            && let Some(record) = &mut found
            && matches!(record.phase, Held::Completed { .. })
        {
            record.expires = Timestamp::NEVER;
        }
        found
    }

    fn record(&self, kept: &Kept, now: Timestamp) -> Record {
        let phase = match kept.phase {
            Phase::Live => Held::InProgress { lease_until: now.after(LEASE) },
            Phase::Lapsed => Held::InProgress { lease_until: now },
            Phase::Completed(by) => Held::Completed { at: now, outcome: outcome(by) },
            Phase::Released => Held::Released,
        };
        Record {
            fingerprint: if kept.odd { self.other.clone() } else { self.same.clone() },
            nonce: nonce(kept.owner),
            fence: FenceToken::from_number(kept.token.into()),
            attempt: kept.number.into(),
            phase,
            expires: if kept.expired { now } else { now.after(RETENTION) },
        }
    }

    fn answer(&self, reply: &Reply, record: Option<&mut Record>) -> Answer {
        let granted = |grant: &Grant| {
            let number = small(grant.number.into());
            let by_number = self.variant.has(Defect::TokenIsNumber);
            (if by_number { number } else { small(grant.fence.number()) }, number)
        };
        match reply {
            Reply::Started(grant) | Reply::Reclaimed(grant) => {
                let (token, number) = granted(grant);
                if let Some(record) = record {
                    record.fence = FenceToken::from_number(token.into());
                }
                Answer::New { token, number }
            }
            Reply::Mine(grant) => {
                let (token, number) = granted(grant);
                Answer::Mine { token, number }
            }
            Reply::Cancelled => Answer::Cancelled,
            Reply::Applied => Answer::Applied,
            Reply::Late => Answer::Late,
            Reply::Found(found) | Reply::Fenced(found) => match found {
                Found::Nothing => Answer::Nothing,
                Found::Mismatch | Found::OtherScheme(_) => Answer::Mismatch,
                Found::Busy { .. } => Answer::Busy,
                Found::Unknown { fence, attempt, .. } => Answer::Unknown {
                    token: small(fence.number()),
                    number: small((*attempt).into()),
                },
                Found::Completed { outcome, .. } => Answer::Completed(id(outcome)),
            },
        }
    }
}
