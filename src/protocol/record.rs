use super::claim::{Attempt, Claim, Grant, Nonce};
use super::fence::FenceToken;
use super::fingerprint::Fingerprint;
use super::outcome::Outcome;
use super::time::Timestamp;

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the operation was.
    pub fingerprint: Fingerprint,
    /// Whose record it is: only this attempt may write to it. [`Nonce::NOBODY`] in one that was
    /// resolved.
    pub nonce: Nonce,
    /// The order of the claim among all claims of the slot.
    pub fence: FenceToken,
    /// The number of the attempt, counted from 1. In a released record: how many attempts may have
    /// had effects, counted from 0.
    pub attempt: u32,
    /// How far it is.
    pub phase: Phase,
    /// When the record ceases to exist. It is not a part of the encoded record: each store keeps it
    /// where its own expiry needs it.
    pub expires: Timestamp,
}

/// How far the operation in a slot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Claimed; the handler may be running. Abandoned, once the lease has lapsed.
    InProgress {
        /// When the lease lapses.
        lease_until: Timestamp,
    },
    /// Finished: this outcome answers until the record expires.
    Completed {
        /// When it was completed.
        at: Timestamp,
        /// What is replayed.
        outcome: Outcome,
    },
    /// Given back: absent for everybody but the attempt that released it. It exists for a short
    /// while, so that no late copy of that attempt's own calls can claim the slot again; for the
    /// retention, if its number says that there were attempts.
    Released,
}

impl Record {
    /// The record of a claim that runs from `now` on.
    #[must_use]
    pub fn in_progress(claim: &Claim, now: Timestamp) -> Self {
        Self::claimed(claim.attempt(), claim.grant(), now)
    }

    /// The same, for a claim that is granted now.
    pub(super) fn claimed(attempt: &Attempt, grant: Grant, now: Timestamp) -> Self {
        let phase = Phase::InProgress { lease_until: now.after(attempt.lease) };
        Self::of(attempt, grant, phase, now.after(attempt.retention))
    }

    /// The record of a claim that ended `now`.
    #[must_use]
    pub fn completed(claim: &Claim, outcome: Outcome, now: Timestamp) -> Self {
        let expires = now.after(claim.attempt().retention);
        Self::of(claim.attempt(), claim.grant(), Phase::Completed { at: now, outcome }, expires)
    }

    /// Extends the lease of this claim. Of two grants to one attempt, the record has the later.
    pub(super) fn renew(&mut self, claim: &Claim, now: Timestamp) {
        let (fence, attempt) = (self.fence, self.attempt);
        *self = Self { fence, attempt, ..Self::in_progress(claim, now) };
    }

    fn of(attempt: &Attempt, grant: Grant, phase: Phase, expires: Timestamp) -> Self {
        Self {
            fingerprint: attempt.fingerprint.clone(),
            nonce: attempt.nonce,
            fence: grant.fence,
            attempt: grant.number,
            phase,
            expires,
        }
    }
}
