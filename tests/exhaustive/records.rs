//! Between a record and what the model remembers of it.

use bytes::Bytes;
use tower_idempotency::protocol::{
    Fields, Nonce, Operation, Outcome, Phase as Held, Record, Reply, Timestamp, Verb, apply,
};

use crate::state::{Kept, OPERATOR, OutcomeId, Phase, State};

/// What the model remembers of a record. A claim that is new has the next place; one that was put
/// back has the place of its attempt's grant.
pub fn keep(record: &Record, state: &State, by: usize, now: Timestamp) -> Kept {
    let token = small(record.fence.number());
    let resolved = record.nonce == Nonce::NOBODY;
    let own = |kept: &Kept| resolved || record.nonce == nonce(kept.owner);
    let same = |kept: &Kept| kept.token == token && own(kept);
    let marked = |kept: Kept| kept.marked && matches!(record.phase, Held::InProgress { .. });
    let item = &state.tries[by];
    let order = match state.slot.filter(same) {
        Some(kept) => kept.order,
        None if item.token == token && item.order > 0 => item.order,
        None => state.ghost.orders + 1,
    };
    Kept {
        owner: record.nonce.as_bytes()[0].checked_sub(1).unwrap_or(OPERATOR),
        odd: record.fingerprint.digest()[0] == 2,
        token,
        number: small(record.attempt.into()),
        phase: match &record.phase {
            Held::InProgress { lease_until } if now < *lease_until => Phase::Live,
            Held::InProgress { .. } => Phase::Lapsed,
            Held::Completed { outcome, .. } => Phase::Completed(id(outcome)),
            Held::Released => Phase::Released,
        },
        expired: record.expires <= now,
        marked: state.slot.filter(same).is_some_and(marked),
        order,
    }
}

/// A call that is never too late.
pub fn timeless(found: Option<Record>, verb: Verb<'_>, now: Timestamp) -> (Option<Record>, Reply) {
    apply(found, &Operation { verb, deadline: Timestamp::NEVER }, now)
}

/// The nonce of an attempt. What an operator has decided is nobody's.
pub fn nonce(id: u8) -> Nonce {
    if id == OPERATOR { Nonce::NOBODY } else { Nonce::from_bytes([id + 1; 16]) }
}

pub fn outcome(by: OutcomeId) -> Outcome {
    const BODIES: &[u8; 10] = b"0123456789";
    let body = Bytes::from_static(&BODIES[usize::from(by)..=usize::from(by)]);
    Outcome::Response { status: 200, headers: Fields::none(), body, trailers: Fields::none() }
}

pub fn id(outcome: &Outcome) -> OutcomeId {
    match outcome {
        Outcome::Response { body, .. } => body[0] - b'0',
        _ => unreachable!("the model stores responses"),
    }
}

pub fn small(number: u64) -> u8 {
    u8::try_from(number).expect("ranks are small")
}
