use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "postgres")]
use crate::protocol::Attempt;
use crate::protocol::{
    FenceToken, Fingerprint, HEADER_LEN, Nonce, Operation, Outcome, Phase, Record, Reply, Scheme,
    Timestamp, Verb, apply,
};

/// The largest span that a server is given, in microseconds: 142 years. Added to a moment it stays
/// below 2^53, so Lua calculates exactly.
const LONGEST: u64 = 1 << 52;

/// The record of a claim before PostgreSQL has put the fence, the attempt number and the lease in.
#[cfg(feature = "postgres")]
pub(super) fn unnumbered(attempt: &Attempt) -> Bytes {
    Record {
        fingerprint: attempt.fingerprint.clone(),
        nonce: attempt.nonce,
        fence: FenceToken::from_number(0),
        attempt: 0,
        phase: Phase::InProgress { lease_until: Timestamp::from_micros(0) },
        expires: Timestamp::NEVER,
    }
    .encode()
}

/// What follows the scheme in a completed record: the checksum and the outcome.
pub(super) fn content(outcome: &Outcome) -> Bytes {
    let no_headers = 1;
    Record {
        fingerprint: Fingerprint::new(Scheme::raw(), [0; 32]),
        nonce: Nonce::from_bytes([0; 16]),
        fence: FenceToken::from_number(0),
        attempt: 0,
        phase: Phase::Completed { at: Timestamp::from_micros(0), outcome: outcome.clone() },
        expires: Timestamp::NEVER,
    }
    .encode()
    .slice(HEADER_LEN + no_headers..)
}

/// What a verb is answered that found this and wrote nothing; `None` if the contract would have
/// written: then the slot has changed since, and the verb must look again.
pub(super) fn classify(found: Option<&Record>, verb: Verb<'_>, now: Timestamp) -> Option<Reply> {
    let operation = Operation { verb, deadline: Timestamp::NEVER };
    let (left, reply) = apply(found.cloned(), &operation, now);
    (left.as_ref() == found).then_some(reply)
}

/// A span in microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(LONGEST)
}

/// A span in whole milliseconds, never less than it was, as Redis takes it for an expiry.
#[cfg(feature = "redis")]
pub(super) fn millis(span: Duration) -> u64 {
    micros(span).div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "redis")]
    #[test]
    fn an_expiry_is_never_earlier_than_it_was_meant() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_micros(1001)), 2);
        assert_eq!(millis(Duration::from_secs(1)), 1000);
    }

    #[test]
    fn a_span_without_end_stays_exact_in_lua() {
        let now = 1_800_000_000_000_000;
        assert!(now + micros(Duration::MAX) < 1 << 53);
        #[cfg(feature = "redis")]
        assert!(millis(Duration::MAX) <= LONGEST / 1000 + 1);
    }
}
