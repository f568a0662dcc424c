//! Arbitrary calls of the verbs of a store.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Grant, Outcome, Ran, Slot, TakeOver, Verb,
};

use crate::records::{fingerprint, moment, nonce, outcome};

/// What a [`Verb`] borrows.
pub enum Call {
    Begin(Attempt),
    Renew(Claim),
    Complete(Claim, Outcome),
    Release(Attempt, Ran, Duration),
    Resolve(Slot, FenceToken, Outcome, Duration),
}

impl Call {
    /// Any verb. A claim is one of those that were granted before, or made up.
    pub fn any(u: &mut Unstructured<'_>, granted: &[(Attempt, Grant)]) -> Result<Self> {
        Ok(match u.int_in_range(0..=4)? {
            0 => Self::Begin(attempt(u)?),
            1 => Self::Renew(claim(u, granted)?),
            2 => Self::Complete(claim(u, granted)?, outcome(u)?),
            3 => {
                let ran = if u.arbitrary()? { Ran::No } else { Ran::Maybe };
                Self::Release(claim(u, granted)?.attempt().clone(), ran, span(u)?)
            }
            _ => {
                let claim = claim(u, granted)?;
                let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
                Self::Resolve(slot, fence, outcome(u)?, span(u)?)
            }
        })
    }

    pub fn slot(&self) -> Slot {
        match self {
            Self::Begin(attempt) | Self::Release(attempt, ..) => attempt.slot,
            Self::Renew(claim) | Self::Complete(claim, _) => claim.attempt().slot,
            Self::Resolve(slot, ..) => *slot,
        }
    }

    pub fn verb(&self) -> Verb<'_> {
        match self {
            Self::Begin(attempt) => Verb::Begin(attempt),
            Self::Renew(claim) => Verb::Renew(claim),
            Self::Complete(claim, outcome) => Verb::Complete(claim, outcome),
            Self::Release(attempt, ran, tombstone) => {
                Verb::Release { attempt, ran: *ran, tombstone: *tombstone }
            }
            Self::Resolve(_, fence, outcome, retention) => {
                Verb::Resolve { fence: *fence, outcome, retention: *retention }
            }
        }
    }
}

/// A short time, or any.
pub fn span(u: &mut Unstructured<'_>) -> Result<Duration> {
    Ok(Duration::from_micros(moment(u)?.as_micros()))
}

pub fn attempt(u: &mut Unstructured<'_>) -> Result<Attempt> {
    Ok(Attempt {
        // Two of the three are neighbours in the memory store.
        slot: Slot::from_bytes([*u.choose(&[0, 1, 64])?; 32]),
        fingerprint: fingerprint(u)?,
        nonce: nonce(u)?,
        lease: span(u)?,
        retention: span(u)?,
        take_over: match u.int_in_range(0..=2)? {
            0 => TakeOver::Never,
            1 => TakeOver::Below(u.int_in_range(0..=4)?),
            _ => TakeOver::Only(FenceToken::from_number(moment(u)?.as_micros())),
        },
        transactional: false,
    })
}

fn claim(u: &mut Unstructured<'_>, granted: &[(Attempt, Grant)]) -> Result<Claim> {
    if !granted.is_empty() && u.ratio(7, 8)? {
        let (attempt, grant) = u.choose(granted)?;
        return Ok(attempt.clone().claim(*grant));
    }
    let fence = FenceToken::from_number(moment(u)?.as_micros());
    Ok(attempt(u)?.claim(Grant { number: u.arbitrary()?, fence }))
}
