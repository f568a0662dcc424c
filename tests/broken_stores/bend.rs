//! How a fault changes what the contract says: what is asked, what is found, what is answered.

use std::time::Duration;

use bytes::Bytes;
use tower_idempotency::protocol::{
    Attempt, FenceToken, Fields, Found, Grant, Guarantee, Outcome, Phase, Ran, Record, Reply,
    Timestamp, Verb,
};

use crate::faults::Fault;

/// What is asked instead.
pub enum Bent {
    Begin(Attempt),
    Release(Ran),
    Resolve(FenceToken),
    Complete(Outcome),
}

impl Bent {
    pub fn verb<'a>(&'a self, verb: &Verb<'a>) -> Verb<'a> {
        match (self, verb.clone()) {
            (Self::Begin(attempt), _) => Verb::Begin(attempt),
            (Self::Release(ran), Verb::Release { attempt, tombstone, .. }) => {
                Verb::Release { attempt, ran: *ran, tombstone }
            }
            (Self::Resolve(fence), Verb::Resolve { outcome, retention, .. }) => {
                Verb::Resolve { fence: *fence, outcome, retention }
            }
            (Self::Complete(outcome), Verb::Complete(claim, _)) => Verb::Complete(claim, outcome),
            (_, verb) => verb,
        }
    }
}

pub fn bend_call(fault: Fault, verb: &Verb<'_>, found: Option<&Record>) -> Option<Bent> {
    Some(match (verb, fault) {
        (Verb::Begin(attempt), Fault::TakesOverAtMostOnce | Fault::TakesOverTheLiving) => {
            Bent::Begin(Attempt { guarantee: Guarantee::AtLeastOnce, ..(*attempt).clone() })
        }
        (Verb::Begin(attempt), Fault::TakesOverPastTheLimit) => {
            Bent::Begin(Attempt { max_attempts: u32::MAX, ..(*attempt).clone() })
        }
        (Verb::Begin(attempt), Fault::StopsBeforeTheLimit) => {
            let max_attempts = attempt.max_attempts.saturating_sub(1);
            Bent::Begin(Attempt { max_attempts, ..(*attempt).clone() })
        }
        (Verb::Release { .. }, Fault::CountsWhatDidNotRun) => Bent::Release(Ran::Maybe),
        (Verb::Release { .. }, Fault::ForgetsWhatMayHaveRun) => Bent::Release(Ran::No),
        (Verb::Resolve { .. }, Fault::ResolvesByAnyFence) => Bent::Resolve(found?.fence),
        (Verb::Complete(_, outcome), _) => Bent::Complete(bend_outcome(fault, outcome)?),
        _ => return None,
    })
}

fn bend_outcome(fault: Fault, outcome: &Outcome) -> Option<Outcome> {
    let mut bent = outcome.clone();
    match (&mut bent, fault) {
        (Outcome::Response { headers, .. }, Fault::SortsFields) => {
            let mut fields: Vec<_> = headers.iter().collect();
            fields.sort_by(|one, other| one.name.cmp(&other.name));
            let fields = fields.iter().map(|field| (&field.name, &field.value, field.sensitive));
            *headers = fields.collect();
        }
        (Outcome::Response { trailers, .. }, Fault::LosesTrailers) => *trailers = Fields::none(),
        (Outcome::Response { body, .. }, Fault::CutsALargeBody) => body.truncate(64 << 10),
        (Outcome::Tombstone { status, headers }, Fault::ReplaysATombstone) => {
            let (status, headers) = (*status, headers.clone());
            bent =
                Outcome::Response { status, headers, body: Bytes::new(), trailers: Fields::none() };
        }
        _ => return None,
    }
    Some(bent)
}

/// What is found instead.
pub fn bend_found(
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
        (Verb::Resolve { .. }, Fault::ResolvesTheLiving) => end_lease(&mut record, now),
        _ => {}
    }
    Some(record)
}

fn end_lease(record: &mut Record, now: Timestamp) {
    if let Phase::InProgress { lease_until } = &mut record.phase {
        *lease_until = now;
    }
}

/// What becomes of the slot and of the reply instead.
pub fn bend_reply(
    fault: Fault,
    (found, record): (Option<&Record>, Option<Record>),
    reply: Reply,
    verb: &Verb<'_>,
    now: Timestamp,
) -> (Option<Record>, Reply) {
    let lapsed = found.is_some_and(
        |found| matches!(found.phase, Phase::InProgress { lease_until } if lease_until <= now),
    );
    let fenced = match (verb, fault) {
        (Verb::Renew(_), Fault::FencesTheLateRenewal)
        | (Verb::Complete(..), Fault::FencesTheLateOutcome)
        | (Verb::Release { .. }, Fault::FencesTheLateRelease) => lapsed,
        (Verb::Renew(_), Fault::FencesTheLostRenewal)
        | (Verb::Complete(..), Fault::FencesTheLostOutcome)
        | (Verb::Release { .. }, Fault::FencesTheReleaseOfNothing) => found.is_none(),
        _ => false,
    };
    if fenced {
        let what = found.map_or(Found::Nothing, |found| found.unclaimed(now));
        return (found.cloned(), Reply::Fenced(what));
    }
    let completed = found.filter(|found| matches!(found.phase, Phase::Completed { .. }));
    let reply = match (reply, fault) {
        (Reply::Mine(_), Fault::IsBusyForItself) => {
            Reply::Found(found.map_or(Found::Nothing, |found| found.unclaimed(now)))
        }
        (Reply::Found(Found::Mismatch), Fault::ReplaysAMismatch) => {
            Reply::Found(completed.map_or(Found::Mismatch, |found| found.unclaimed(now)))
        }
        (Reply::Found(Found::OtherScheme(_)), Fault::TakesASchemeForAMismatch) => {
            Reply::Found(Found::Mismatch)
        }
        (Reply::Found(Found::Completed { outcome, .. }), Fault::TellsNoAge) => {
            Reply::Found(Found::Completed { outcome, age: Duration::ZERO })
        }
        (Reply::Fenced(_), Fault::ReleasesTheCompleted)
            if completed.is_some() && matches!(verb, Verb::Release { .. }) =>
        {
            return (None, Reply::Applied);
        }
        (reply, _) => reply,
    };
    bend_record(fault, (found, record), reply, verb)
}

fn bend_record(
    fault: Fault,
    (found, record): (Option<&Record>, Option<Record>),
    mut reply: Reply,
    verb: &Verb<'_>,
) -> (Option<Record>, Reply) {
    let Some(mut record) = record else { return (None, reply) };
    let applied = reply == Reply::Applied;
    if let Reply::Started(grant) | Reply::Reclaimed(grant) = &mut reply {
        let number = if fault == Fault::FencesByNumber { Some(grant.number) } else { None };
        let fence = number.map(|number| FenceToken::from_number(number.into()));
        *grant = Grant { fence: fence.unwrap_or(grant.fence), ..*grant };
        record.fence = grant.fence;
    }
    match (&mut reply, found, fault) {
        (Reply::Reclaimed(grant), _, Fault::ForgetsTheNumberOfTheAbandoned) => {
            (grant.number, record.attempt) = (1, 1);
        }
        (Reply::Reclaimed(grant), Some(found), Fault::KeepsTheFence) => {
            (grant.fence, record.fence) = (found.fence, found.fence);
        }
        _ => {}
    }
    match (verb, found, fault) {
        (Verb::Renew(_), Some(found), Fault::RenewsNothing) if applied => record = found.clone(),
        (Verb::Renew(claim), _, Fault::RenewsTheFenceToo) if applied => {
            record.fence = claim.grant().fence;
        }
        (Verb::Renew(_), Some(found), Fault::RenewsTheLeaseAlone)
        | (Verb::Complete(..), Some(found), Fault::KeepsTheRetentionOfTheClaim)
        | (Verb::Release { .. }, Some(found), Fault::KeepsATombstoneForTheRetention)
        | (Verb::Resolve { .. }, Some(found), Fault::ResolvesForTheOldRetention)
            if applied =>
        {
            record.expires = found.expires;
        }
        _ => {}
    }
    match (&mut record.phase, fault) {
        (Phase::InProgress { lease_until }, Fault::NeverLapses) => *lease_until = Timestamp::NEVER,
        (Phase::Released, Fault::LeavesNoTombstone) => return (None, reply),
        (_, Fault::NeverExpires) => record.expires = Timestamp::NEVER,
        _ => {}
    }
    (Some(record), reply)
}
