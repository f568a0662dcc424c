//! What a store with a fault is asked and finds, before the contract decides.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, FenceToken, Nonce, Outcome, Phase, Ran, Record, TakeOver, Timestamp, Verb,
};

use crate::faults::Fault;
use crate::outcomes::kept;

/// What is asked instead.
pub enum Asked {
    Begin(Attempt),
    Release(Ran),
    Resolve(FenceToken, Outcome),
    Complete(Outcome),
    Renew,
}

impl Asked {
    pub fn instead(fault: Fault, verb: &Verb<'_>, found: Option<&Record>) -> Self {
        match verb {
            Verb::Begin(attempt) => Self::Begin(begun(fault, (*attempt).clone())),
            Verb::Renew(_) => Self::Renew,
            Verb::Complete(_, outcome) => Self::Complete(kept(fault, outcome)),
            Verb::Release { ran, .. } => Self::Release(match fault {
                Fault::CountsWhatDidNotRun => Ran::Maybe,
                Fault::ForgetsWhatMayHaveRun => Ran::No,
                _ => *ran,
            }),
            Verb::Resolve { fence, outcome, .. } => {
                let found = found.filter(|_| fault == Fault::ResolvesByAnyFence);
                Self::Resolve(found.map_or(*fence, |found| found.fence), kept(fault, outcome))
            }
        }
    }

    pub fn verb<'a>(&'a self, verb: &Verb<'a>) -> Verb<'a> {
        match (self, verb.clone()) {
            (Self::Begin(attempt), _) => Verb::Begin(attempt),
            (Self::Release(ran), Verb::Release { attempt, tombstone, .. }) => {
                Verb::Release { attempt, ran: *ran, tombstone }
            }
            (Self::Resolve(fence, outcome), Verb::Resolve { retention, .. }) => {
                Verb::Resolve { fence: *fence, outcome, retention }
            }
            (Self::Complete(outcome), Verb::Complete(claim, _)) => Verb::Complete(claim, outcome),
            (_, verb) => verb,
        }
    }
}

fn begun(fault: Fault, mut attempt: Attempt) -> Attempt {
    attempt.take_over = taken_over(fault, attempt.take_over);
    match fault {
        Fault::OverflowsALongLease if attempt.lease == Duration::MAX => {
            attempt.lease = Duration::ZERO;
        }
        Fault::RoundsALeaseUp => attempt.lease = attempt.lease.max(Duration::from_secs(1)),
        _ => {}
    }
    attempt
}

fn taken_over(fault: Fault, take_over: TakeOver) -> TakeOver {
    match (fault, take_over) {
        (Fault::TakesOverAtMostOnce, TakeOver::Never)
        | (Fault::TakesOverPastTheLimit, TakeOver::Below(_))
        | (Fault::TakesOverAnotherThanTheNamed, TakeOver::Only(_)) => TakeOver::Below(u32::MAX),
        (Fault::StopsBeforeTheLimit, TakeOver::Below(attempts)) => {
            TakeOver::Below(attempts.saturating_sub(1))
        }
        (Fault::OverlooksTheName, TakeOver::Only(_)) => TakeOver::Never,
        (_, take_over) => take_over,
    }
}

/// What is found instead.
pub fn found_instead(
    fault: Fault,
    found: Option<Record>,
    verb: &Verb<'_>,
    now: Timestamp,
) -> Option<Record> {
    let mut record = found?;
    let lapsed = matches!(record.phase, Phase::InProgress { lease_until } if lease_until <= now);
    let running = matches!(record.phase, Phase::InProgress { .. });
    let completed = matches!(record.phase, Phase::Completed { .. });
    let released = record.phase == Phase::Released;
    let nobody = match (verb, fault) {
        (_, Fault::ForgetsAtTheEndOfTheLease) => lapsed,
        (Verb::Begin(attempt), Fault::StartsAgainAfterItsRelease) => {
            released && record.nonce == attempt.nonce
        }
        (Verb::Renew(_), Fault::RenewsTheReleased)
        | (Verb::Complete(..), Fault::CompletesTheReleased) => released,
        (Verb::Renew(_), Fault::RenewsTheCompleted)
        | (Verb::Complete(..), Fault::KeepsTheSecondOutcome) => completed,
        _ => false,
    };
    if nobody {
        return None;
    }
    match (verb, fault) {
        (Verb::Begin(attempt), Fault::TakesOverAMismatch) if lapsed => {
            record.fingerprint = attempt.fingerprint.clone();
        }
        (Verb::Begin(attempt), Fault::TakesOverTheLiving) if record.nonce != attempt.nonce => {
            end_lease(&mut record, now);
        }
        (Verb::Begin(_), Fault::TakesOverFromItself) if lapsed => {
            record.nonce = Nonce::from_bytes([0; 16]);
        }
        (Verb::Begin(_), Fault::ForgetsTheNumberOfTheReleased) if released => record.attempt = 0,
        (Verb::Renew(claim), Fault::RenewsForAnybody)
        | (Verb::Complete(claim, _), Fault::CompletesForAnybody)
            if running =>
        {
            record.nonce = claim.attempt().nonce;
        }
        (Verb::Release { attempt, .. }, Fault::ReleasesForAnybody) if running => {
            record.nonce = attempt.nonce;
        }
        (Verb::Release { .. }, Fault::CountsTheRepeatedRelease) if released => {
            record.phase = Phase::InProgress { lease_until: now };
        }
        (Verb::Resolve { .. }, Fault::ResolvesTheLiving) => end_lease(&mut record, now),
        (Verb::Resolve { .. }, Fault::ResolvesTheCompleted) if completed => {
            record.phase = Phase::InProgress { lease_until: now };
        }
        _ => {}
    }
    Some(record)
}

fn end_lease(record: &mut Record, now: Timestamp) {
    if let Phase::InProgress { lease_until } = &mut record.phase {
        *lease_until = now;
    }
}
