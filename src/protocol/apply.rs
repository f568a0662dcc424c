use std::time::Duration;

use super::claim::{Attempt, Claim, Grant, Nonce, Ran};
use super::fence::FenceToken;
use super::fingerprint::Scheme;
use super::outcome::Outcome;
use super::record::{Phase, Record};
use super::time::Timestamp;

/// One call of a verb on one slot.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// What to do.
    pub verb: Verb<'a>,
    /// After this moment the call does nothing, so that what was given up has no effect later.
    pub deadline: Timestamp,
}

/// The verbs of the store contract that change a slot.
#[derive(Clone, Debug)]
pub enum Verb<'a> {
    /// Claim the slot for this attempt, or learn what is in it.
    Begin(&'a Attempt),
    /// Extend the lease of a claim.
    Renew(&'a Claim),
    /// Store the outcome of a claim.
    Complete(&'a Claim, &'a Outcome),
    /// Give a claim back.
    Release {
        /// The attempt, whether or not it is known to have been granted.
        attempt: &'a Attempt,
        /// Whether its handler may have had effects.
        ran: Ran,
        /// How long the tombstone stays at least; longer than any deadline of this attempt's calls.
        tombstone: Duration,
    },
    /// Give the abandoned claim with this fence an outcome, and take the record from its worker.
    Resolve {
        /// The claim that is meant, so that no later one is resolved by mistake.
        fence: FenceToken,
        /// What is stored and replayed from now on.
        outcome: &'a Outcome,
        /// How long it is.
        retention: Duration,
    },
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `begin`: the slot was free and is now this attempt's.
    Started(Grant),
    /// `begin`: it already was this attempt's; an earlier copy of the call had arrived.
    Mine(Grant),
    /// `begin`: it was abandoned and is now this attempt's.
    Reclaimed(Grant),
    /// `begin`: this attempt has released the slot and cannot have it again.
    Cancelled,
    /// `begin`: not claimed, and why.
    Found(Found),
    /// Every other verb: done, now or by an earlier copy of the call.
    Applied,
    /// Every other verb: refused, since the slot is not this claim's; and what it is instead.
    Fenced(Found),
    /// Any verb: the deadline had passed; nothing was done. Only an outcome may be stored or found then too.
    Late,
}

/// What a slot holds, as seen by one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: absent, expired or released.
    Nothing,
    /// Another request under this key.
    Mismatch,
    /// A fingerprint of another scheme: compare again under this one.
    OtherScheme(Scheme),
    /// A claim whose lease is live.
    Busy {
        /// The claim, by which its end can be watched.
        fence: FenceToken,
        /// What is left of the lease.
        remaining: Duration,
        /// How long ago the claim was made.
        age: Duration,
    },
    /// A claim whose lease has lapsed without an outcome, and which may not be taken over.
    Unknown {
        /// The abandoned claim, by which it can be resolved.
        fence: FenceToken,
        /// The number of its attempt.
        attempt: u32,
        /// How long ago the claim was made.
        age: Duration,
    },
    /// An outcome.
    Completed {
        /// What to replay.
        outcome: Outcome,
        /// How long ago it was stored. A store may tell up to a second more or less: nothing is decided by it.
        age: Duration,
    },
}

/// The store contract: what becomes of a slot, and what is answered, for every verb and everything
/// that it can find. Every store is an atomic implementation of this function.
///
/// | found in the slot | begin(n) | renew(n) | complete(n) | release(n) | resolve(f) |
/// |---|---|---|---|---|---|
/// | absent or expired | Started | Applied, put back | Applied, put back as completed | Applied, nothing to do | Fenced |
/// | released by n | Cancelled | Fenced | Fenced | Applied, nothing to do | Fenced |
/// | released by another | Started | Fenced | Fenced | Fenced | Fenced |
/// | in progress by n, lapsed or not | Mine | Applied | Applied | Applied | Applied if lapsed and of fence f |
/// | in progress by another, other fingerprint | Mismatch | Fenced | Fenced | Fenced | the same |
/// | in progress by another, lease live | Busy | Fenced | Fenced | Fenced | Fenced |
/// | in progress by another, lapsed | Reclaimed if n may take it over, else Unknown | Fenced | Fenced | Fenced | Applied if of fence f |
/// | completed by n | Completed | Fenced | Applied, the first outcome kept | Fenced | Fenced |
/// | completed by another, or resolved | Mismatch, else Completed | Fenced | Fenced | Fenced | Fenced |
///
/// A mismatch is `OtherScheme` where the fingerprints are of different schemes. `Mine` extends neither lease
/// nor retention. A call at its deadline is in time; a record expires and a lease lapses at their moment.
///
/// The first part of the answer is what the slot holds from now on.
#[must_use]
pub fn apply(
    mut found: Option<Record>,
    operation: &Operation<'_>,
    now: Timestamp,
) -> (Option<Record>, Reply) {
    let reply = apply_in_place(&mut found, operation, now);
    (found, reply)
}

/// The same for a slot that can be changed where it is: records are large.
pub(crate) fn apply_in_place(
    slot: &mut Option<Record>,
    operation: &Operation<'_>,
    now: Timestamp,
) -> Reply {
    slot.take_if(|record| record.expires <= now);
    if operation.deadline < now {
        return Reply::Late;
    }
    match operation.verb {
        Verb::Begin(attempt) => begin(slot, attempt, now),
        Verb::Renew(claim) => renew(slot, claim, now),
        Verb::Complete(claim, outcome) => complete(slot, claim, outcome, now),
        Verb::Release { attempt, ran, tombstone } => release(slot, attempt, ran, tombstone, now),
        Verb::Resolve { fence, outcome, retention } => {
            resolve(slot, fence, outcome, retention, now)
        }
    }
}

impl Record {
    /// What this record is to an attempt that has not claimed it.
    #[must_use]
    pub fn seen_by(&self, attempt: &Attempt, now: Timestamp) -> Found {
        let mine = self.nonce == attempt.nonce;
        if matches!(self.phase, Phase::Released) {
            return Found::Nothing;
        }
        if !mine && self.fingerprint != attempt.fingerprint {
            return if self.fingerprint.scheme() == attempt.fingerprint.scheme() {
                Found::Mismatch
            } else {
                Found::OtherScheme(self.fingerprint.scheme().clone())
            };
        }
        self.unclaimed(now)
    }

    /// What this record is to everybody: its phase, and the lease.
    #[must_use]
    pub fn unclaimed(&self, now: Timestamp) -> Found {
        let age = now.since(self.fence.moment());
        match &self.phase {
            Phase::Released => Found::Nothing,
            Phase::InProgress { lease_until } if now < *lease_until => {
                Found::Busy { fence: self.fence, remaining: lease_until.since(now), age }
            }
            Phase::InProgress { .. } => {
                Found::Unknown { fence: self.fence, attempt: self.attempt, age }
            }
            Phase::Completed { at, outcome } => {
                Found::Completed { outcome: outcome.clone(), age: now.since(*at) }
            }
        }
    }

    fn grant(&self) -> Grant {
        Grant { number: self.attempt, fence: self.fence }
    }

    fn is_running(&self, nonce: Nonce) -> bool {
        self.nonce == nonce && matches!(self.phase, Phase::InProgress { .. })
    }

    fn is_abandoned(&self, now: Timestamp) -> bool {
        matches!(self.phase, Phase::InProgress { lease_until } if lease_until <= now)
    }
}

fn begin(slot: &mut Option<Record>, attempt: &Attempt, now: Timestamp) -> Reply {
    let (grant, reply): (Grant, fn(Grant) -> Reply) = match slot {
        None => (Grant { number: 1, fence: FenceToken::at(now) }, Reply::Started),
        Some(record) => {
            let next =
                Grant { number: record.attempt.saturating_add(1), fence: record.fence.next(now) };
            match record.phase {
                Phase::Released if record.nonce == attempt.nonce => return Reply::Cancelled,
                Phase::Released => (next, Reply::Started),
                Phase::InProgress { .. } if record.nonce == attempt.nonce => {
                    return Reply::Mine(record.grant());
                }
                Phase::InProgress { .. }
                    if record.is_abandoned(now)
                        && record.fingerprint == attempt.fingerprint
                        && attempt.take_over.allows(record.grant()) =>
                {
                    (next, Reply::Reclaimed)
                }
                _ => return Reply::Found(record.seen_by(attempt, now)),
            }
        }
    };
    *slot = Some(Record::claimed(attempt, grant, now));
    reply(grant)
}

fn renew(slot: &mut Option<Record>, claim: &Claim, now: Timestamp) -> Reply {
    match slot {
        None => *slot = Some(Record::in_progress(claim, now)),
        Some(record) if record.is_running(claim.attempt().nonce) => record.renew(claim, now),
        Some(record) => return Reply::Fenced(record.seen_by(claim.attempt(), now)),
    }
    Reply::Applied
}

fn complete(slot: &mut Option<Record>, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Reply {
    match slot {
        Some(record) if !record.is_running(claim.attempt().nonce) => {
            let kept = record.nonce == claim.attempt().nonce
                && matches!(record.phase, Phase::Completed { .. });
            if !kept {
                return Reply::Fenced(record.seen_by(claim.attempt(), now));
            }
        }
        _ => *slot = Some(Record::completed(claim, outcome.clone(), now)),
    }
    Reply::Applied
}

fn release(
    slot: &mut Option<Record>,
    attempt: &Attempt,
    ran: Ran,
    tombstone: Duration,
    now: Timestamp,
) -> Reply {
    match slot {
        None => {}
        Some(record) if record.is_running(attempt.nonce) => {
            record.phase = Phase::Released;
            record.attempt = record.attempt.saturating_sub(u32::from(ran == Ran::No));
            let life =
                if record.attempt == 0 { tombstone } else { tombstone.max(attempt.retention) };
            record.expires = now.after(life);
        }
        Some(record) if record.nonce == attempt.nonce && record.phase == Phase::Released => {}
        Some(record) => return Reply::Fenced(record.seen_by(attempt, now)),
    }
    Reply::Applied
}

fn resolve(
    slot: &mut Option<Record>,
    fence: FenceToken,
    outcome: &Outcome,
    retention: Duration,
    now: Timestamp,
) -> Reply {
    match slot {
        Some(record) if record.fence == fence && record.is_abandoned(now) => {
            record.nonce = Nonce::NOBODY;
            record.phase = Phase::Completed { at: now, outcome: outcome.clone() };
            record.expires = now.after(retention);
            Reply::Applied
        }
        Some(record) => Reply::Fenced(record.unclaimed(now)),
        None => Reply::Fenced(Found::Nothing),
    }
}
