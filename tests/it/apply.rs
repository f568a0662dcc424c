//! The store contract to the microsecond: what [`apply`] does at the very moment at which something
//! ends. Stores on servers have clocks of their own, so the contract cannot ask them this.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, FenceToken, Fingerprint, Found, Grant, Nonce, Operation, Outcome, Phase, Ran, Record,
    Reply, Scheme, Slot, TakeOver, Timestamp, Verb, apply,
};

const NOW: u64 = 1_000_000;
const LEASE: Duration = Duration::from_micros(100);
const RETENTION: Duration = Duration::from_micros(1000);

#[test]
fn a_call_takes_effect_until_its_deadline_has_passed() {
    let begin = |deadline| {
        let operation = Operation { verb: Verb::Begin(&attempt(1)), deadline: at(deadline) };
        apply(Some(running(2)), &operation, at(NOW))
    };
    assert_eq!(begin(NOW - 1), (Some(running(2)), Reply::Late));
    assert!(matches!(begin(NOW).1, Reply::Found(Found::Busy { .. })));
    assert!(matches!(begin(NOW + 1).1, Reply::Found(Found::Busy { .. })));
}

#[test]
fn a_late_call_leaves_a_record_that_has_expired_out() {
    let operation = Operation { verb: Verb::Begin(&attempt(1)), deadline: at(NOW - 1) };
    let expired = Record { expires: at(NOW), ..running(2) };
    assert_eq!(apply(Some(expired), &operation, at(NOW)), (None, Reply::Late));
}

#[test]
fn a_record_is_there_until_it_expires() {
    for (expires, is_there) in [(NOW - 1, false), (NOW, false), (NOW + 1, true)] {
        let record = Record { expires: at(expires), ..completed(2) };
        let (_, reply) = run(Some(record), Verb::Begin(&attempt(1)));
        let answers = matches!(reply, Reply::Found(Found::Completed { .. }));
        assert_eq!(answers, is_there, "{reply:?}");
        assert_eq!(matches!(reply, Reply::Started(_)), !is_there, "{reply:?}");
    }
}

#[test]
fn a_lease_keeps_others_out_until_it_lapses() {
    for (lease_until, lapsed) in [(NOW - 1, true), (NOW, true), (NOW + 1, false)] {
        let record = Record { phase: in_progress(lease_until), ..running(2) };
        let found = record.unclaimed(at(NOW));
        assert_eq!(matches!(found, Found::Unknown { .. }), lapsed, "{found:?}");
        if let Found::Busy { remaining, .. } = found {
            assert_eq!(remaining, Duration::from_micros(1));
        }
        let eager = Attempt { take_over: TakeOver::Below(5), ..attempt(1) };
        let (_, reply) = run(Some(record.clone()), Verb::Begin(&eager));
        assert_eq!(matches!(reply, Reply::Reclaimed(_)), lapsed, "{reply:?}");

        let (fence, outcome) = (record.fence, outcome());
        let resolve = Verb::Resolve { fence, outcome: &outcome, retention: RETENTION };
        let (_, reply) = run(Some(record), resolve);
        assert_eq!(reply == Reply::Applied, lapsed, "{reply:?}");
    }
}

#[test]
fn a_claim_is_taken_over_until_the_last_attempt() {
    for (number, is_last) in [(2, false), (3, true), (4, true)] {
        let record = Record { attempt: number, phase: in_progress(NOW), ..running(2) };
        let eager = Attempt { take_over: TakeOver::Below(3), ..attempt(1) };
        let (_, reply) = run(Some(record), Verb::Begin(&eager));
        assert_eq!(matches!(reply, Reply::Found(Found::Unknown { .. })), is_last, "{reply:?}");
    }
}

#[test]
fn a_later_claim_has_a_larger_token_even_if_the_clock_was_set_back() {
    for (before, after) in [(NOW - 1, NOW), (NOW, NOW + 1), (NOW + 7, NOW + 8)] {
        let record =
            Record { fence: FenceToken::from_number(before), phase: Phase::Released, ..running(2) };
        let (_, reply) = run(Some(record), Verb::Begin(&attempt(1)));
        assert_eq!(reply, Reply::Started(grant(2, after)));
    }
}

#[test]
fn what_a_claim_leaves_ends_when_it_should() {
    let (attempt, outcome) = (attempt(1), outcome());
    let claim = attempt.clone().claim(grant(1, NOW));
    let expires = |record: Option<Record>| record.expect("a record").expires;
    let (record, _) = run(None, Verb::Begin(&attempt));
    assert_eq!(expires(record), at(NOW + 1000));
    let (record, _) = run(Some(running(1)), Verb::Complete(&claim, &outcome));
    assert_eq!(expires(record), at(NOW + 1000));
    let release = Verb::Release { attempt: &attempt, ran: Ran::No, tombstone: LEASE };
    let (record, _) = run(Some(running(1)), release);
    assert_eq!(expires(record), at(NOW + 100));
    let release = Verb::Release { attempt: &attempt, ran: Ran::Maybe, tombstone: LEASE };
    let (record, _) = run(Some(running(1)), release);
    assert_eq!(expires(record), at(NOW + 1000));
    let lapsed = Record { phase: in_progress(NOW), ..running(1) };
    let resolve = Verb::Resolve { fence: lapsed.fence, outcome: &outcome, retention: LEASE };
    let (record, _) = run(Some(lapsed), resolve);
    assert_eq!(expires(record), at(NOW + 100));
}

fn run(found: Option<Record>, verb: Verb<'_>) -> (Option<Record>, Reply) {
    apply(found, &Operation { verb, deadline: Timestamp::NEVER }, at(NOW))
}

const fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

const fn grant(number: u32, fence: u64) -> Grant {
    Grant { number, fence: FenceToken::from_number(fence) }
}

const fn in_progress(lease_until: u64) -> Phase {
    Phase::InProgress { lease_until: at(lease_until) }
}

fn outcome() -> Outcome {
    Outcome::Tombstone { status: 201, headers: [("etag", "1")].into_iter().collect() }
}

fn attempt(nonce: u8) -> Attempt {
    Attempt {
        slot: Slot::from_bytes([0; 32]),
        fingerprint: Fingerprint::new(Scheme::raw(), [1; 32]),
        nonce: Nonce::from_bytes([nonce; 16]),
        lease: LEASE,
        retention: RETENTION,
        take_over: TakeOver::Never,
        transactional: false,
    }
}

/// The claim of an attempt, made now.
fn running(nonce: u8) -> Record {
    Record::in_progress(&attempt(nonce).claim(grant(1, NOW)), at(NOW))
}

fn completed(nonce: u8) -> Record {
    Record::completed(&attempt(nonce).claim(grant(1, NOW)), outcome(), at(NOW))
}
