//! What came back and what must, compared; what is wrong is told by name.

use super::moments::{Moments, ends};
use super::play::Play;
use super::steps::*;
use crate::protocol::{Found, Nonce, Outcome, Phase, Reply};
use crate::store::Seen;

/// What is not as it must be; nothing, if all is.
pub(super) type Wrong = Vec<&'static str>;

/// What of these does not hold.
fn of<const N: usize>(parts: [(bool, &'static str); N]) -> Wrong {
    parts.into_iter().filter(|(right, _)| !right).map(|(_, part)| part).collect()
}

impl Play<'_> {
    pub(super) fn wrong_reply(
        &mut self,
        what: Do,
        reply: &Reply,
        must: Must,
        moments: &Moments,
    ) -> Wrong {
        match (what, reply, must) {
            (Do::Begin(who), Reply::Started(grant), Started(number))
            | (Do::Begin(who), Reply::Reclaimed(grant), Reclaimed(number)) => {
                let last = self.last.insert(who.at, grant.fence);
                self.claims.insert((who.nonce, who.at), *grant);
                of([
                    (grant.number == number, "the attempt number"),
                    (last < Some(grant.fence), "the fence, which is not larger than the last one"),
                ])
            }
            (Do::Begin(who), Reply::Mine(grant), Mine(number)) => of([
                (grant.number == number, "the attempt number"),
                (self.grant(who) == *grant, "the grant, which is not the first one"),
            ]),
            (_, Reply::Cancelled, Cancelled) | (_, Reply::Applied, Applied) => Wrong::new(),
            (_, Reply::Found(found), must) => wrong_found(found, must, moments),
            (_, Reply::Fenced(found), Fenced(must)) => wrong_found(found, *must, moments),
            _ => vec!["the kind of reply"],
        }
    }

    pub(super) fn wrong_record(&self, seen: &Seen, must: Must) -> Wrong {
        let Some(record) = &seen.record else {
            return of([(matches!(must, Empty), "there is no record")]);
        };
        let claim = |nonce: Nonce, who: Who, number: u32| {
            of([
                (record.nonce == nonce, "the nonce"),
                (record.fingerprint == who.attempt(self.slot).fingerprint, "the fingerprint"),
                (record.fence == self.grant(who).fence, "the fence"),
                (record.attempt == number, "the attempt number"),
                (ends(record, seen.now, who.retention), "the moment at which it expires"),
            ])
        };
        let own = |who: Who| who.attempt(self.slot).nonce;
        match (&record.phase, must) {
            (Phase::InProgress { lease_until }, InProgress(who, number)) => {
                let lease = lease_until.since(seen.now);
                let right = lease > who.lease / 2 && lease <= who.lease;
                [claim(own(who), who, number), of([(right, "the lease")])].concat()
            }
            (Phase::InProgress { lease_until }, Abandoned(who, number)) => {
                let lapsed = *lease_until <= seen.now;
                let lapsed = of([(lapsed, "the lease, which has not lapsed")]);
                [claim(own(who), who, number), lapsed].concat()
            }
            (Phase::Completed { outcome, .. }, Holds(who, content) | Resolved(who, content)) => {
                let nonce = if let Resolved(..) = must { Nonce::NOBODY } else { own(who) };
                let number = self.grant(who).number;
                [claim(nonce, who, number), wrong_outcome(outcome, &content.outcome())].concat()
            }
            (Phase::Released, Released(who, number)) => claim(own(who), who, number),
            _ => vec!["the phase"],
        }
    }
}

fn wrong_found(found: &Found, must: Must, moments: &Moments) -> Wrong {
    let right = match (found, must) {
        (Found::Nothing, Nothing) | (Found::Mismatch, Mismatch) | (Found::Busy { .. }, Busy) => {
            true
        }
        (Found::OtherScheme(found), OtherScheme(scheme)) => *found == scheme.0(),
        (Found::Unknown { attempt, .. }, Unknown(number)) => *attempt == number,
        (Found::Completed { outcome, .. }, Completed(content)) => {
            let times = of([(moments.fit(found), "the age")]);
            return [wrong_outcome(outcome, &content.outcome()), times].concat();
        }
        _ => false,
    };
    of([
        (right, "what was found"),
        (moments.fit(found), "the fence, the age or what is left of the lease"),
    ])
}

fn wrong_outcome(got: &Outcome, must: &Outcome) -> Wrong {
    match (got, must) {
        (
            Outcome::Response { status, headers, body, trailers },
            Outcome::Response { status: s, headers: h, body: b, trailers: t },
        ) => of([
            (status == s, "the status"),
            (headers == h, "the headers"),
            (body == b, "the body"),
            (trailers == t, "the trailers"),
        ]),
        (Outcome::Tombstone { status, headers }, Outcome::Tombstone { status: s, headers: h }) => {
            of([(status == s, "the status"), (headers == h, "the headers")])
        }
        _ => vec!["the kind of outcome"],
    }
}
