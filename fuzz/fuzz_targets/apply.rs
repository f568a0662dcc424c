//! The store contract: one arbitrary call on one arbitrary record at an arbitrary moment, and what
//! must be true of the answer without a look into the table.
#![no_main]

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tower_idempotency::protocol::{
    Found, Grant, Operation, Phase, Record, Reply, TakeOver, Timestamp, Verb,
};
use tower_idempotency_fuzz::calls::Call;
use tower_idempotency_fuzz::planted::apply;
use tower_idempotency_fuzz::records;

fuzz_target!(|data: &[u8]| {
    let _ = check(&mut Unstructured::new(data));
});

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let now = records::moment(u)?;
    let deadline = if u.arbitrary()? { Timestamp::NEVER } else { records::moment(u)? };
    let found = if u.arbitrary()? { Some(records::record(u)?) } else { None };
    let mut call = Call::any(u, &[])?;
    // Two fingerprints are rarely equal, and only those of one request may take it over.
    if let (true, Some(record), Call::Begin(attempt)) = (u.arbitrary()?, &found, &mut call) {
        attempt.fingerprint = record.fingerprint.clone();
    }
    let operation = Operation { verb: call.verb(), deadline };

    let live = found.clone().filter(|record| now < record.expires);
    let (next, reply) = apply(found.clone(), &operation, now);
    let stored = found.map(|record| Record::decode(record.encode(), record.expires).unwrap());
    assert_eq!(apply(stored, &operation, now), (next.clone(), reply.clone()), "from bytes");
    assert_eq!(reply == Reply::Late, deadline < now);
    match reply {
        Reply::Late | Reply::Cancelled | Reply::Mine(_) | Reply::Found(_) | Reply::Fenced(_) => {
            assert_eq!(next, live, "a refusal changes nothing: {reply:?}");
        }
        Reply::Started(grant) | Reply::Reclaimed(grant) => {
            granted(&live, next.as_ref(), &operation, grant, now);
        }
        Reply::Applied => {}
    }
    if let Some(live) = &live
        && next.as_ref() != Some(live)
    {
        assert!(may_write(live, &operation, now), "{live:?} was written by {operation:?}");
    }
    repeated(next, &operation, &reply, now);
    Ok(())
}

/// What a claim that was just granted looks like.
fn granted(
    before: &Option<Record>,
    after: Option<&Record>,
    operation: &Operation<'_>,
    grant: Grant,
    now: Timestamp,
) {
    let Verb::Begin(attempt) = operation.verb else { panic!("only a begin claims") };
    let record = after.expect("a claim is stored");
    assert_eq!((record.fence, record.attempt), (grant.fence, grant.number));
    assert_eq!((record.nonce, &record.fingerprint), (attempt.nonce, &attempt.fingerprint));
    assert_eq!(record.phase, Phase::InProgress { lease_until: now.after(attempt.lease) });
    assert_eq!(record.expires, now.after(attempt.retention));
    assert!(grant.fence.number() >= now.as_micros());
    if let Some(before) = before {
        let is_last = before.fence.number() == u64::MAX;
        assert!(before.fence < grant.fence || is_last, "a later claim has a larger token");
        assert!(before.attempt < grant.number || before.attempt == u32::MAX);
    }
}

/// Who may change a record: its own attempt while it runs, who takes it over or resolves it once
/// its lease has lapsed, and anybody once it was released. Nobody changes an outcome.
fn may_write(record: &Record, operation: &Operation<'_>, now: Timestamp) -> bool {
    let lapsed = match record.phase {
        Phase::Completed { .. } => return false,
        Phase::Released => {
            return matches!(&operation.verb, Verb::Begin(attempt) if attempt.nonce != record.nonce);
        }
        Phase::InProgress { lease_until } => lease_until <= now,
    };
    match &operation.verb {
        Verb::Begin(attempt) => {
            lapsed
                && match attempt.take_over {
                    TakeOver::Never => false,
                    TakeOver::Below(attempts) => record.attempt < attempts,
                    TakeOver::Only(fence) => record.fence == fence,
                }
                && attempt.fingerprint == record.fingerprint
                && attempt.nonce != record.nonce
        }
        Verb::Renew(claim) | Verb::Complete(claim, _) => claim.attempt().nonce == record.nonce,
        Verb::Release { attempt, .. } => attempt.nonce == record.nonce,
        Verb::Resolve { fence, .. } => lapsed && *fence == record.fence,
    }
}

/// A second copy of a call changes nothing, and its answer is as good as the first one.
fn repeated(next: Option<Record>, operation: &Operation<'_>, reply: &Reply, now: Timestamp) {
    // A record without a future is gone before the second copy arrives.
    if next.as_ref().is_some_and(|record| record.expires <= now) {
        return;
    }
    let (again, second) = apply(next.clone(), operation, now);
    assert_eq!(again, next, "a second copy of {operation:?}");
    let expected = match (reply, &operation.verb) {
        (Reply::Started(grant) | Reply::Reclaimed(grant), _) => Reply::Mine(*grant),
        (Reply::Applied, Verb::Resolve { outcome, .. }) => {
            let (outcome, age) = ((*outcome).clone(), std::time::Duration::ZERO);
            Reply::Fenced(Found::Completed { outcome, age })
        }
        _ => reply.clone(),
    };
    assert_eq!(second, expected, "a second copy of {operation:?}");
}
