//! Histories that are made by hand. The good ones are there to show that the bad ones are refused for
//! what is wrong with them.

use std::time::Duration;

use bytes::Bytes;
use tower_idempotency::protocol::{
    Attempt, FenceToken, Fields, Fingerprint, Found, Grant, Nonce, Outcome, Phase, Ran, Record,
    Reply, Scheme, Slot, TakeOver, Timestamp,
};
use tower_idempotency::store;

use super::checker::{Event, Violation, check};
use super::history::{Asked, Got};
use super::span::Span;
use super::workload::MEMORY;

/// A microsecond of the tale; leases are 100, records live for 10,000.
const LEASE: u64 = 100;
const RETENTION: u64 = 10_000;

fn attempt(who: u8) -> Attempt {
    Attempt {
        slot: Slot::from_bytes([0; 32]),
        fingerprint: Fingerprint::new(Scheme::raw(), [0; 32]),
        nonce: Nonce::from_bytes([who; 16]),
        lease: Duration::from_micros(LEASE),
        retention: Duration::from_micros(RETENTION),
        take_over: TakeOver::Below(3),
        transactional: false,
    }
}

fn outcome(body: &'static str) -> Outcome {
    let body = Bytes::from_static(body.as_bytes());
    Outcome::Response { status: 200, headers: Fields::none(), body, trailers: Fields::none() }
}

const fn grant(number: u32, fence: u64) -> Grant {
    Grant { number, fence: FenceToken::from_number(fence) }
}

/// A call of this client between these moments.
fn event(client: u8, (called, returned): (u64, u64), asked: Asked, got: Got) -> Event {
    let window = Span { from: called, to: returned };
    Event { client: client.into(), asked, got, called, returned, window }
}

fn begin(who: u8, when: (u64, u64), reply: Reply) -> Event {
    event(who, when, Asked::Begin(attempt(who)), Got::Reply(reply))
}

fn started(who: u8, when: (u64, u64), fence: u64) -> Event {
    begin(who, when, Reply::Started(grant(1, fence)))
}

fn complete(who: u8, when: (u64, u64), fence: u64, body: &'static str, reply: Reply) -> Event {
    let asked = Asked::Complete(attempt(who), grant(1, fence), outcome(body));
    event(who, when, asked, Got::Reply(reply))
}

fn replayed(who: u8, when: (u64, u64), body: &'static str, age: u64) -> Event {
    let age = Duration::from_micros(age);
    begin(who, when, Reply::Found(Found::Completed { outcome: outcome(body), age }))
}

fn busy(who: u8, when: (u64, u64), fence: u64, remaining: u64, age: u64) -> Event {
    let [remaining, age] = [remaining, age].map(Duration::from_micros);
    let found = Found::Busy { fence: FenceToken::from_number(fence), remaining, age };
    begin(who, when, Reply::Found(found))
}

fn release(who: u8, when: (u64, u64)) -> Event {
    let asked = Asked::Release(attempt(who), Ran::No, Duration::from_micros(500));
    event(who, when, asked, Got::Reply(Reply::Applied))
}

fn looked(when: (u64, u64), now: u64, record: Option<Record>) -> Event {
    let seen = store::Seen { record, now: Timestamp::from_micros(now) };
    event(9, when, Asked::Look(attempt(0).slot), Got::Seen(seen))
}

fn running(who: u8, fence: u64, renewed: u64) -> Record {
    let at = Timestamp::from_micros;
    let claim = attempt(who).claim(grant(1, fence));
    let phase = Phase::InProgress { lease_until: at(renewed + LEASE) };
    Record { phase, expires: at(renewed + RETENTION), ..Record::in_progress(&claim, at(renewed)) }
}

/// What nobody was told the answer of, and until when it may take effect.
fn lost(called: u64, deadline: u64, mut event: Event) -> Event {
    event.window = Span { from: called, to: deadline };
    (event.called, event.got) = (called, Got::Unknown);
    event
}

#[track_caller]
fn agrees(events: Vec<Event>) {
    match check(events, MEMORY) {
        Err(Violation::NoOrder(text)) => panic!("{text}"),
        found => found.expect("it is decided"),
    }
}

#[track_caller]
fn refused(events: Vec<Event>) {
    let found = check(events, MEMORY);
    assert!(matches!(found, Err(Violation::NoOrder(_))), "an order was found");
}

#[test]
fn one_of_two_is_started() {
    let first = || started(1, (0, 20), 10);
    agrees(vec![first(), busy(2, (0, 20), 10, 98, 2)]);
    refused(vec![first(), started(2, (0, 20), 12)]);
}

#[test]
fn a_claim_is_seen_by_all_that_come_after_it() {
    refused(vec![started(1, (0, 20), 10), looked((30, 40), 35, None)]);
    agrees(vec![started(1, (0, 40), 38), looked((30, 40), 35, None)]);
}

#[test]
fn a_completion_is_not_lost() {
    let done = || vec![started(1, (0, 20), 10), complete(1, (30, 40), 10, "a", Reply::Applied)];
    agrees([done(), vec![replayed(2, (200, 210), "a", 170)]].concat());
    refused([done(), vec![begin(2, (200, 210), Reply::Reclaimed(grant(2, 205)))]].concat());
    refused([done(), vec![busy(2, (50, 60), 10, 55, 45)]].concat());
}

#[test]
fn the_first_completion_is_the_one_that_is_kept() {
    let twice = || {
        let first = complete(1, (30, 40), 10, "a", Reply::Applied);
        let second = complete(1, (50, 60), 10, "b", Reply::Applied);
        vec![started(1, (0, 20), 10), first, second]
    };
    agrees([twice(), vec![replayed(2, (70, 80), "a", 40)]].concat());
    refused([twice(), vec![replayed(2, (70, 80), "b", 20)]].concat());
}

#[test]
fn a_stale_read_after_a_completion_is_found() {
    let done = vec![started(1, (0, 20), 10), complete(1, (30, 50), 10, "a", Reply::Applied)];
    agrees([done.clone(), vec![looked((35, 60), 36, Some(running(1, 10, 10)))]].concat());
    refused([done, vec![looked((55, 60), 57, Some(running(1, 10, 10)))]].concat());
}

#[test]
fn a_lease_lapses_no_sooner_and_no_later_than_it_ends() {
    let taken_over = |fence| begin(2, (fence - 5, fence + 5), Reply::Reclaimed(grant(2, fence)));
    agrees(vec![started(1, (0, 20), 10), taken_over(110)]);
    refused(vec![started(1, (0, 20), 10), taken_over(109)]);
    refused(vec![started(1, (0, 20), 10), busy(2, (110, 120), 10, 1, 102)]);
}

#[test]
fn a_renewal_that_was_applied_keeps_others_out() {
    let renew = || {
        let asked = Asked::Renew(attempt(1), grant(1, 10));
        event(1, (50, 60), asked, Got::Reply(Reply::Applied))
    };
    let taken_over = |fence| begin(2, (fence - 5, fence + 5), Reply::Reclaimed(grant(2, fence)));
    agrees(vec![started(1, (0, 20), 10), renew(), taken_over(160)]);
    refused(vec![started(1, (0, 20), 10), renew(), taken_over(149)]);
}

#[test]
fn a_fence_is_the_time_of_its_claim_and_grows() {
    refused(vec![started(1, (0, 20), 25)]);
    let freed = vec![started(1, (0, 20), 10), release(1, (30, 40))];
    agrees([freed.clone(), vec![started(2, (50, 60), 55)]].concat());
    refused([freed, vec![started(2, (50, 60), 9)]].concat());
}

#[test]
fn a_begin_without_an_answer_may_take_effect_until_its_deadline_or_never() {
    let unanswered = |deadline| lost(0, deadline, started(1, (0, 5), 0));
    let seen = |fence| busy(2, (fence + 10, fence + 20), fence, 90, 10);
    agrees(vec![unanswered(50), looked((70, 80), 75, None)]);
    agrees(vec![unanswered(50), looked((20, 30), 25, None), seen(45)]);
    refused(vec![unanswered(50), seen(51)]);
    refused(vec![unanswered(50), looked((60, 70), 65, None), seen(45)]);
}

#[test]
fn a_release_lands_within_its_deadline_and_a_completion_also_later_but_on_its_claim() {
    let claim = || started(1, (0, 20), 10);
    let late_release = || lost(30, 60, release(1, (30, 40)));
    agrees(vec![claim(), late_release(), started(2, (50, 70), 65)]);
    let late = || lost(30, 60, complete(1, (30, 40), 10, "a", Reply::Applied));
    let looks = || looked((90, 95), 92, Some(running(1, 10, 10)));
    agrees(vec![claim(), late(), looks(), replayed(2, (100, 105), "a", 3)]);
    refused(vec![claim(), late_release(), looks(), started(2, (100, 105), 103)]);
    let gone = || looked((10_020, 10_025), 10_022, None);
    refused(vec![claim(), late(), gone(), replayed(2, (10_030, 10_035), "a", 3)]);
}

#[test]
fn a_record_expires_when_it_should() {
    let done = || vec![started(1, (0, 20), 10), complete(1, (30, 40), 10, "a", Reply::Applied)];
    agrees([done(), vec![started(2, (10_036, 10_040), 10_038)]].concat());
    refused([done(), vec![started(2, (10_020, 10_025), 10_022)]].concat());
    refused([done(), vec![replayed(2, (10_050, 10_055), "a", 10_020)]].concat());
}

#[test]
fn what_was_released_is_not_put_back() {
    let freed = || vec![started(1, (0, 20), 10), release(1, (30, 40))];
    refused([freed(), vec![complete(1, (50, 60), 10, "a", Reply::Applied)]].concat());
    let fenced = Reply::Fenced(Found::Nothing);
    agrees([freed(), vec![complete(1, (50, 60), 10, "a", fenced)]].concat());
    agrees([freed(), vec![begin(1, (50, 60), Reply::Cancelled)]].concat());
    refused([freed(), vec![begin(1, (50, 60), Reply::Mine(grant(1, 10)))]].concat());
}
