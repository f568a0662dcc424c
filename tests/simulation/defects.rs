//! Bugs that real stores and layers have had, as values: each run of the simulation can have one, and
//! must then fail.

use tower_idempotency::protocol::{
    Attempt, Found, Grant, Operation, Phase, Ran, Record, Reply, Timestamp, Verb, apply,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// `complete` writes over whatever is there.
    CompletesUnconditionally,
    /// `release` deletes whatever is there.
    ReleasesUnconditionally,
    /// The record of a running claim ends with its lease.
    LeaseIsTtl,
    /// Nobody recognises a repeated `begin`, so nobody can take it back either.
    NoNonce,
    /// A call that was given up takes effect however late it arrives.
    NoDeadline,
    /// A released record is deleted, so a late copy of its own calls brings it back.
    NoTombstone,
    /// What a key is used for is not compared.
    IgnoresFingerprint,
    /// An abandoned claim and a running one are the same.
    TakesOverLiveClaims,
    /// `renew` writes over whatever is there.
    RenewsUnconditionally,
    /// A claim that nobody will run under stays.
    IgnoresCancel,
    /// A full store makes room by dropping a claim.
    EvictsWhenFull,
    /// A claim that is repeated is given anew, as the next attempt.
    RepeatsBegin,
    /// An abandoned claim is free, whatever the guarantee.
    ForgetsTheGuarantee,
    /// The layer does not tell tenants apart.
    OneTenant,
    /// The layer in front runs the handler when waiting was in vain.
    RunsWhenWaitingEnds,
}

impl Defect {
    pub const ALL: [Self; 15] = [
        Self::CompletesUnconditionally,
        Self::ReleasesUnconditionally,
        Self::LeaseIsTtl,
        Self::NoNonce,
        Self::NoDeadline,
        Self::NoTombstone,
        Self::IgnoresFingerprint,
        Self::TakesOverLiveClaims,
        Self::RenewsUnconditionally,
        Self::IgnoresCancel,
        Self::EvictsWhenFull,
        Self::RepeatsBegin,
        Self::ForgetsTheGuarantee,
        Self::OneTenant,
        Self::RunsWhenWaitingEnds,
    ];

    /// The contract, or what a store with this defect makes of it.
    pub fn apply(
        self,
        found: Option<Record>,
        operation: &Operation<'_>,
        now: Timestamp,
    ) -> (Option<Record>, Reply) {
        let mut found = found;
        let mut operation = operation.clone();
        match (self, &operation.verb) {
            (Self::CompletesUnconditionally, Verb::Complete(claim, outcome)) => {
                return (Some(Record::completed(claim, (*outcome).clone(), now)), Reply::Applied);
            }
            (Self::ReleasesUnconditionally, Verb::Release { .. }) => return (None, Reply::Applied),
            (Self::RenewsUnconditionally, Verb::Renew(claim)) => {
                return (Some(Record::in_progress(claim, now)), Reply::Applied);
            }
            (Self::IgnoresCancel, Verb::Release { ran: Ran::No, .. }) => {
                return (found, Reply::Applied);
            }
            (Self::NoNonce, Verb::Begin(attempt)) if owns(found.as_ref(), attempt) => {
                let record = found.expect("it is there");
                let busy = record.unclaimed(now);
                return (Some(record), Reply::Found(busy));
            }
            (Self::NoNonce, Verb::Release { ran: Ran::No, .. }) => {
                return (found, Reply::Fenced(Found::Nothing));
            }
            (Self::RepeatsBegin, Verb::Begin(attempt)) if owns(found.as_ref(), attempt) => {
                let record = found.expect("it is there");
                let grant = Grant { number: record.attempt + 1, fence: record.fence.next(now) };
                let record = Record::in_progress(&(*attempt).clone().claim(grant), now);
                return (Some(record), Reply::Reclaimed(grant));
            }
            (Self::NoDeadline, _) => operation.deadline = Timestamp::NEVER,
            (Self::IgnoresFingerprint, Verb::Begin(attempt)) => {
                if let Some(record) = &mut found {
                    record.fingerprint = attempt.fingerprint.clone();
                }
            }
            (Self::TakesOverLiveClaims, Verb::Begin(attempt)) if !owns(found.as_ref(), attempt) => {
                if let Some(Record { phase: Phase::InProgress { lease_until }, .. }) = &mut found {
                    *lease_until = (*lease_until).min(now);
                }
            }
            (Self::ForgetsTheGuarantee, Verb::Begin(attempt)) => {
                let lapsed = |record: &Record| {
                    matches!(record.phase, Phase::InProgress { lease_until } if lease_until <= now)
                        && record.nonce != attempt.nonce
                };
                found = found.filter(|record| !lapsed(record));
            }
            _ => {}
        }
        let (mut record, reply) = apply(found, &operation, now);
        match (self, &mut record) {
            (
                Self::LeaseIsTtl,
                Some(Record { phase: Phase::InProgress { lease_until }, expires, .. }),
            ) => {
                *expires = *lease_until;
            }
            (Self::NoTombstone, Some(Record { phase: Phase::Released, .. })) => record = None,
            _ => {}
        }
        (record, reply)
    }
}

fn owns(record: Option<&Record>, attempt: &Attempt) -> bool {
    record.is_some_and(|record| {
        record.nonce == attempt.nonce && matches!(record.phase, Phase::InProgress { .. })
    })
}
