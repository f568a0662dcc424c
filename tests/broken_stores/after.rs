//! What becomes of the slot and of the reply, after the contract has decided.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fingerprint, Found, Grant, Outcome, Phase, Record, Reply, Scheme,
    Timestamp, Verb,
};

use crate::faults::Fault;

/// The shortest time that clocks tell apart.
const A_MOMENT: Duration = Duration::from_micros(1);

/// A decision: what was found, what the slot holds from now on, and what is answered.
pub struct Decision<'a> {
    pub fault: Fault,
    pub found: Option<&'a Record>,
    pub record: Option<Record>,
    pub reply: Reply,
    pub now: Timestamp,
}

impl Decision<'_> {
    pub fn bend(&mut self, verb: &Verb<'_>) {
        match verb {
            Verb::Begin(attempt) => self.begin(attempt),
            Verb::Renew(claim) => self.renew(claim),
            Verb::Complete(claim, outcome) => self.complete(claim, outcome),
            Verb::Release { attempt, tombstone, .. } => self.release(attempt, *tombstone),
            Verb::Resolve { .. } => self.resolve(),
        }
        let Some(record) = &mut self.record else { return };
        match (&mut record.phase, self.fault) {
            (Phase::InProgress { lease_until }, Fault::NeverLapses) => {
                *lease_until = Timestamp::NEVER;
            }
            (Phase::InProgress { lease_until }, Fault::LapsesAMomentLate)
                if matches!(self.reply, Reply::Started(_)) =>
            {
                *lease_until = lease_until.after(A_MOMENT);
            }
            (_, Fault::ExpiresAMomentLate) if matches!(self.reply, Reply::Started(_)) => {
                record.expires = record.expires.after(A_MOMENT);
            }
            (Phase::InProgress { .. }, Fault::KeepsTheUnfinishedForEver)
            | (_, Fault::NeverExpires) => record.expires = Timestamp::NEVER,
            _ => {}
        }
    }

    fn begin(&mut self, attempt: &Attempt) {
        self.grant(attempt);
        let Some(found) = self.found else { return };
        let same = found.fingerprint == attempt.fingerprint;
        let running = matches!(found.phase, Phase::InProgress { .. });
        let what = match (&self.reply, self.fault) {
            (Reply::Mine(_), Fault::IsBusyForItself) => found.unclaimed(self.now),
            (Reply::Mine(_), Fault::AsksForMoreThanTheNonce)
            | (Reply::Started(_), Fault::KeepsTheReleasedForItsRequest)
                if !same =>
            {
                Found::Mismatch
            }
            (Reply::Found(Found::Mismatch), Fault::IsBusyForAMismatch) if running => {
                found.unclaimed(self.now)
            }
            (Reply::Found(Found::Mismatch), Fault::ReplaysAMismatch) if !running => {
                found.unclaimed(self.now)
            }
            (Reply::Found(Found::OtherScheme(_)), Fault::TakesASchemeForAMismatch) => {
                Found::Mismatch
            }
            _ => return self.tell(found),
        };
        (self.record, self.reply) = (Some(found.clone()), Reply::Found(what));
    }

    /// What is wrong with a claim.
    fn grant(&mut self, attempt: &Attempt) {
        let (now, fault) = (self.now, self.fault);
        let Some(record) = &mut self.record else { return };
        let headers = record.fingerprint.scheme().headers().count();
        if fault == Fault::ForgetsTheHeadersOfAScheme && headers > 0 {
            record.fingerprint = Fingerprint::new(Scheme::json(), *record.fingerprint.digest());
        }
        match (&mut self.reply, self.found, fault) {
            (Reply::Started(grant) | Reply::Reclaimed(grant), _, Fault::FencesByNumber) => {
                grant.fence = FenceToken::from_number(grant.number.into());
                record.fence = grant.fence;
            }
            (
                Reply::Started(grant) | Reply::Reclaimed(grant),
                Some(_),
                Fault::FencesByTheClockAlone,
            ) => {
                grant.fence = FenceToken::at(now);
                record.fence = grant.fence;
            }
            (Reply::Reclaimed(grant), Some(found), Fault::KeepsTheFence) => {
                (grant.fence, record.fence) = (found.fence, found.fence);
            }
            (Reply::Reclaimed(grant), _, Fault::ForgetsTheNumberOfTheAbandoned) => {
                (grant.number, record.attempt) = (1, 1);
            }
            (Reply::Reclaimed(_), Some(found), Fault::TakesOverInAnothersName) => {
                record.nonce = found.nonce;
            }
            (Reply::Mine(grant), _, Fault::FencesTheRepeatedBegin) => {
                grant.fence = grant.fence.next(now);
                record.fence = grant.fence;
            }
            (Reply::Mine(_), _, Fault::ExtendsTheRepeatedBegin) => {
                record.phase = Phase::InProgress { lease_until: now.after(attempt.lease) };
            }
            _ => {}
        }
    }

    /// What is wrong with what is told of the time.
    fn tell(&mut self, found: &Record) {
        let claimed = Timestamp::from_micros(found.fence.number());
        match (&mut self.reply, self.fault) {
            (
                Reply::Found(
                    Found::Completed { age, .. }
                    | Found::Busy { age, .. }
                    | Found::Unknown { age, .. },
                ),
                Fault::TellsNoAge,
            ) => *age = Duration::ZERO,
            (Reply::Found(Found::Completed { age, .. }), Fault::TellsTheAgeOfTheClaim) => {
                *age = self.now.since(claimed);
            }
            (Reply::Found(Found::Busy { remaining, age, .. }), Fault::TellsTheWholeLease) => {
                *remaining += *age;
            }
            _ => {}
        }
    }

    fn renew(&mut self, claim: &Claim) {
        let refused = match self.fault {
            Fault::FencesTheLateRenewal => self.lapsed(),
            Fault::FencesTheLostRenewal => self.found.is_none(),
            _ => false,
        };
        if refused {
            return self.refuse();
        }
        let Some(record) = self.record.as_mut().filter(|_| self.reply == Reply::Applied) else {
            return;
        };
        match (self.found, self.fault) {
            (Some(found), Fault::RenewsNothing) => record.clone_from(found),
            (Some(found), Fault::RenewsTheLeaseAlone) => record.expires = found.expires,
            (Some(found), Fault::NeverShortensALease) => {
                if let (Phase::InProgress { lease_until: old }, Phase::InProgress { lease_until }) =
                    (&found.phase, &mut record.phase)
                {
                    *lease_until = (*lease_until).max(*old);
                }
            }
            (Some(found), Fault::FencesAnewOnRenewal) => record.fence = found.fence.next(self.now),
            (_, Fault::RenewsTheFenceToo) => record.fence = claim.grant().fence,
            (None, Fault::PutsBackTheFirstAttempt) => record.attempt = 1,
            _ => {}
        }
    }

    fn complete(&mut self, claim: &Claim, outcome: &Outcome) {
        let completed = self.completed() && self.reply == Reply::Applied;
        let refused = match self.fault {
            Fault::FencesTheLateOutcome => self.lapsed(),
            Fault::FencesTheLostOutcome => self.found.is_none(),
            Fault::FencesTheRepeatedOutcome => completed,
            _ => false,
        };
        if refused {
            return self.refuse();
        }
        let Some(record) = self.record.as_mut().filter(|_| self.reply == Reply::Applied) else {
            return;
        };
        match (self.found, self.fault) {
            (Some(found), Fault::KeepsTheRetentionOfTheClaim) => record.expires = found.expires,
            (None, Fault::PutsBackTheFirstAttempt) => record.attempt = 1,
            (_, Fault::ExtendsTheCompleted) if completed => {
                record.expires = self.now.after(claim.attempt().retention);
            }
            (found, Fault::TakesEmptyForNothing)
                if outcome.size() == 0
                    && matches!(outcome, Outcome::Response { status: 201, .. }) =>
            {
                self.record = found.cloned();
            }
            _ => {}
        }
    }

    fn release(&mut self, attempt: &Attempt, tombstone: Duration) {
        let (now, applied) = (self.now, self.reply == Reply::Applied);
        let released = self.found.is_some_and(|found| found.phase == Phase::Released);
        match self.fault {
            Fault::FencesTheLateRelease if self.lapsed() => self.refuse(),
            Fault::FencesTheReleaseOfNothing if self.found.is_none() => self.refuse(),
            Fault::FencesTheRepeatedRelease if released => self.refuse(),
            Fault::ReleasesWhatAnotherReleased if released => self.reply = Reply::Applied,
            Fault::ReleasesTheCompleted if self.completed() => {
                (self.record, self.reply) = (None, Reply::Applied);
            }
            Fault::LeavesNoTombstone if applied => self.record = None,
            Fault::LeavesATombstoneOfNothing if self.found.is_none() => {
                let never = FenceToken::at(now);
                let grant = Grant { number: 0, fence: never };
                let mut record = Record::in_progress(&attempt.clone().claim(grant), now);
                (record.phase, record.expires) = (Phase::Released, now.after(tombstone));
                self.record = Some(record);
            }
            _ => {}
        }
        let Some(record) = self.record.as_mut().filter(|_| applied) else { return };
        match (self.found, self.fault) {
            (Some(found), Fault::KeepsATombstoneForTheRetention) => record.expires = found.expires,
            (_, Fault::ExtendsTheTombstone) => record.expires = now.after(tombstone),
            (Some(_), Fault::ForgetsTheReleased) if !released => {
                record.expires = now.after(tombstone);
            }
            (_, Fault::ForgetsWhatTheReleasedWas) => record.fingerprint = nobodys(),
            _ => {}
        }
    }

    fn resolve(&mut self) {
        match (self.found, self.record.as_mut(), self.fault) {
            (None, _, Fault::ResolvesNothing) => self.reply = Reply::Applied,
            (Some(found), Some(record), fault) if self.reply == Reply::Applied => match fault {
                Fault::ResolvesForTheOldRetention => record.expires = found.expires,
                Fault::ResolvesTheFirstAttempt => record.attempt = 1,
                Fault::ResolvesInItsName => record.nonce = found.nonce,
                Fault::ForgetsWhatWasResolved => record.fingerprint = nobodys(),
                _ => {}
            },
            _ => {}
        }
    }

    fn refuse(&mut self) {
        let what = self.found.map_or(Found::Nothing, |found| found.unclaimed(self.now));
        (self.record, self.reply) = (self.found.cloned(), Reply::Fenced(what));
    }

    fn lapsed(&self) -> bool {
        self.found.is_some_and(|found| {
            matches!(found.phase, Phase::InProgress { lease_until } if lease_until <= self.now)
        })
    }

    fn completed(&self) -> bool {
        self.found.is_some_and(|found| matches!(found.phase, Phase::Completed { .. }))
    }
}

fn nobodys() -> Fingerprint {
    Fingerprint::new(Scheme::raw(), [0; 32])
}
