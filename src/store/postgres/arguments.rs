use bytes::Bytes;
use deadpool_postgres::tokio_postgres::types::ToSql;

use super::row::{Hidden, count, form, signed, span};
use crate::protocol::{Attempt, Claim, Outcome, TakeOver};
use crate::store::records::{content, unnumbered};

/// What `begin` is sent after the deadline and the slot.
pub(super) struct BeginArguments {
    lease: i64,
    retention: i64,
    nonce: Hidden<[u8; 16]>,
    fingerprint: Hidden<[u8; 32]>,
    form: Hidden<Vec<u8>>,
    below: i32,
    only: Option<i64>,
    transactional: bool,
}

/// What `complete` is sent after the deadline and the slot.
pub(super) struct CompleteArguments {
    content: Hidden<Bytes>,
    retention: i64,
    nonce: Hidden<[u8; 16]>,
    fingerprint: Hidden<[u8; 32]>,
    form: Hidden<Vec<u8>>,
    fence: i64,
    number: i32,
}

impl BeginArguments {
    pub(super) fn of(attempt: &Attempt) -> Self {
        let (below, only) = match attempt.take_over {
            TakeOver::Never => (0, None),
            TakeOver::Below(attempts) => (count(attempts), None),
            TakeOver::Only(fence) => (0, Some(signed(fence.number()))),
        };
        Self {
            lease: span(attempt.lease),
            retention: span(attempt.retention),
            nonce: Hidden(*attempt.nonce.as_bytes()),
            fingerprint: Hidden(*attempt.fingerprint.digest()),
            form: Hidden(form(&unnumbered(attempt))),
            below,
            only,
            transactional: attempt.transactional,
        }
    }

    pub(super) fn in_order(&self) -> [&(dyn ToSql + Sync); 8] {
        let Self { lease, retention, nonce, fingerprint, form, below, only, transactional } = self;
        [lease, retention, nonce, fingerprint, form, below, only, transactional]
    }
}

impl CompleteArguments {
    pub(super) fn of(claim: &Claim, outcome: &Outcome) -> Self {
        let (attempt, grant) = (claim.attempt(), claim.grant());
        Self {
            content: Hidden(content(outcome)),
            retention: span(attempt.retention),
            nonce: Hidden(*attempt.nonce.as_bytes()),
            fingerprint: Hidden(*attempt.fingerprint.digest()),
            form: Hidden(form(&unnumbered(attempt))),
            fence: signed(grant.fence.number()),
            number: count(grant.number),
        }
    }

    pub(super) fn in_order(&self) -> [&(dyn ToSql + Sync); 7] {
        let Self { content, retention, nonce, fingerprint, form, fence, number } = self;
        [content, retention, nonce, fingerprint, form, fence, number]
    }
}
