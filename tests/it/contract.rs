//! The store contract as one table of cases, run against the memory store and a real Redis.
//!
//! A case is a list of steps: what is done, and what must come back. Leases and retentions that
//! are meant to end within a case are short, all others so long that they never do; so nothing here
//! depends on how fast the machine is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tower_idempotency::clock::ManualClock;
use tower_idempotency::protocol::{
    Attempt, FenceToken, Fields, Fingerprint, Found, Grant, Guarantee, Nonce, Outcome, Phase, Ran,
    Record, Reply, Scheme, Slot,
};
use tower_idempotency::store::{MemoryStore, RedisStore, Seen, Store};

use self::Must::*;
use self::Ran::{Maybe, No};

/// More than any call takes.
const WITHIN: Duration = Duration::from_secs(20);
/// A lease or a retention that ends within a case, and a wait after which it has.
const SHORT: Duration = Duration::from_millis(60);
const LONG_ENOUGH: Duration = Duration::from_millis(90);
/// One that never ends within a case.
const HOUR: Duration = Duration::from_secs(3600);

/// A store under test, and its time.
trait Harness {
    fn store(&self) -> &impl Store;
    async fn advance(&self, span: Duration);
}

/// Who does it: one attempt at the slot of the case.
#[derive(Clone, Copy, Debug)]
struct Who {
    nonce: u8,
    scheme: fn() -> Scheme,
    body: u8,
    lease: Duration,
    retention: Duration,
    guarantee: Guarantee,
    max_attempts: u32,
}

const ANN: Who = Who {
    nonce: 1,
    scheme: Scheme::raw,
    body: 1,
    lease: HOUR,
    retention: HOUR,
    guarantee: Guarantee::AtMostOnce,
    max_attempts: 5,
};
/// The same request again, as another attempt.
const BOB: Who = Who { nonce: 2, ..ANN };
const CAT: Who = Who { nonce: 3, ..ANN };
/// Another request under the same key.
const EVE: Who = Who { nonce: 4, body: 2, ..ANN };
/// A server of a later release, which fingerprints in another way.
const FAY: Who = Who { nonce: 5, body: 3, scheme: selecting, ..ANN };

impl Who {
    const fn lapsing(self) -> Self {
        Self { lease: SHORT, ..self }
    }
    const fn expiring(self) -> Self {
        Self { retention: SHORT, ..self }
    }
    const fn rerunning(self) -> Self {
        Self { guarantee: Guarantee::AtLeastOnce, ..self }
    }
    const fn at_most(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self.rerunning() }
    }

    fn attempt(self, slot: Slot) -> Attempt {
        Attempt {
            slot,
            fingerprint: Fingerprint::new((self.scheme)(), [self.body; 32]),
            nonce: Nonce::from_bytes([self.nonce; 16]),
            lease: self.lease,
            retention: self.retention,
            guarantee: self.guarantee,
            max_attempts: self.max_attempts,
        }
    }
}

fn selecting() -> Scheme {
    Scheme::json().with_headers(["x-tenant", "x-region"])
}

/// What is stored.
#[derive(Clone, Copy, Debug)]
enum Content {
    Empty,
    Text(&'static str),
    /// This many bytes, of every value.
    Bytes(usize),
    /// Repeated fields in order, trailers, and values that are not text.
    AllFields,
    Tombstone,
}
use Content::Text;

impl Content {
    fn outcome(self) -> Outcome {
        let response = |headers: Fields, body: Bytes, trailers| Outcome::Response {
            status: 201,
            headers,
            body,
            trailers,
        };
        let none = Fields::none;
        match self {
            Self::Empty => response(none(), Bytes::new(), none()),
            Self::Text(text) => response(none(), text.into(), none()),
            Self::Bytes(len) => {
                let body: Vec<u8> = (0..=255).cycle().take(len).collect();
                response(none(), body.into(), none())
            }
            Self::AllFields => response(
                [("b", &b"1"[..]), ("a", b"\xff\0\r\n"), ("b", b""), ("b", b"1")]
                    .into_iter()
                    .collect(),
                Bytes::from_static(b"\0\xfe$-1\r\n"),
                [("grpc-status", "0"), ("a", "é")].into_iter().collect(),
            ),
            Self::Tombstone => Outcome::Tombstone {
                status: 303,
                headers: [("location", "/charges/7")].into_iter().collect(),
            },
        }
    }
}

/// What is done in a step.
#[derive(Clone, Copy, Debug)]
enum Do {
    Begin(Who),
    Renew(Who),
    Complete(Who, Content),
    Release(Who, Ran, Duration),
    /// Resolve the claim that this one was granted.
    Resolve(Who, Content, Duration),
    Look,
    Wait(Duration),
}

/// What must come back. Numbers are attempt numbers.
#[derive(Clone, Copy, Debug)]
enum Must {
    Started(u32),
    Mine(u32),
    Reclaimed(u32),
    Cancelled,
    Applied,
    Nothing,
    Mismatch,
    OtherScheme(fn() -> Scheme),
    Busy,
    Unknown(u32),
    Completed(Content),
    /// A verb that needs the claim is refused, and this is in the slot.
    Fenced(&'static Self),
    /// In the slot, as `look` tells it: nothing, a claim, a completed record, a tombstone.
    Empty,
    InProgress(Who, u32),
    Holds(Who, Content),
    Released(Who, u32),
    Passed,
}

type Step = (Do, Must);

fn begin(who: Who, must: Must) -> Step {
    (Do::Begin(who), must)
}
fn renew(who: Who, must: Must) -> Step {
    (Do::Renew(who), must)
}
fn complete(who: Who, content: Content, must: Must) -> Step {
    (Do::Complete(who, content), must)
}
fn release(who: Who, ran: Ran, must: Must) -> Step {
    (Do::Release(who, ran, HOUR), must)
}
fn resolve(who: Who, content: Content, must: Must) -> Step {
    (Do::Resolve(who, content, HOUR), must)
}
fn look(must: Must) -> Step {
    (Do::Look, must)
}
/// Until what is short has ended.
fn wait() -> Step {
    (Do::Wait(LONG_ENOUGH), Passed)
}

/// Does the steps, one after another, and compares.
async fn run(harness: &impl Harness, steps: Vec<Step>) {
    let mut case = Case { harness, slot: random_slot(), claims: HashMap::new(), last: None };
    for (index, (what, must)) in steps.into_iter().enumerate() {
        let step = format!("step {}: {what:?} must give {must:?}", index + 1);
        let changes = matches!(must, Started(_) | Reclaimed(_) | Applied);
        let before = (!changes).then_some(case.look().await.record);
        let got = case.act(what).await;
        case.compare(&got, must, &step);
        if let (Some(before), false) = (before, matches!(what, Do::Wait(_))) {
            assert_same(before, case.look().await.record.as_ref(), &step);
        }
    }
}

struct Case<'a, H> {
    harness: &'a H,
    slot: Slot,
    claims: HashMap<u8, Grant>,
    last: Option<FenceToken>,
}

#[derive(Debug)]
enum Got {
    Reply(Who, Reply),
    Seen(Seen),
    Time,
}

impl<H: Harness> Case<'_, H> {
    async fn look(&self) -> Seen {
        self.harness.store().look(self.slot, WITHIN).await.expect("look answers")
    }

    /// What this one was granted; someone who was granted nothing invents it.
    fn grant(&self, who: Who) -> Grant {
        let invented = Grant { number: 9, fence: FenceToken::from_number(9) };
        self.claims.get(&who.nonce).copied().unwrap_or(invented)
    }

    async fn act(&mut self, what: Do) -> Got {
        let store = self.harness.store();
        let claim = |who: Who| who.attempt(self.slot).claim(self.grant(who));
        let reply = match what {
            Do::Wait(span) => {
                self.harness.advance(span).await;
                return Got::Time;
            }
            Do::Look => return Got::Seen(self.look().await),
            Do::Begin(who) => (who, store.begin(&who.attempt(self.slot), WITHIN).await),
            Do::Renew(who) => (who, store.renew(&claim(who), WITHIN).await),
            Do::Complete(who, content) => {
                (who, store.complete(&claim(who), &content.outcome(), WITHIN).await)
            }
            Do::Release(who, ran, tombstone) => {
                let attempt = who.attempt(self.slot);
                (who, store.release(&attempt, ran, tombstone, WITHIN).await)
            }
            Do::Resolve(who, content, retention) => {
                let (fence, outcome) = (self.grant(who).fence, content.outcome());
                (who, store.resolve(self.slot, fence, &outcome, retention, WITHIN).await)
            }
        };
        Got::Reply(reply.0, reply.1.expect("the store answers"))
    }

    fn compare(&mut self, got: &Got, must: Must, step: &str) {
        let matches = match (got, must) {
            (Got::Reply(who, Reply::Started(grant)), Started(number))
            | (Got::Reply(who, Reply::Reclaimed(grant)), Reclaimed(number)) => {
                assert!(self.last < Some(grant.fence), "{step}: fences grow");
                self.last = Some(grant.fence);
                self.claims.insert(who.nonce, *grant);
                grant.number == number
            }
            (Got::Reply(who, Reply::Mine(grant)), Mine(number)) => {
                grant.number == number && self.grant(*who) == *grant
            }
            (Got::Reply(_, Reply::Cancelled), Cancelled)
            | (Got::Reply(_, Reply::Applied), Applied)
            | (Got::Time, Passed) => true,
            (Got::Reply(_, Reply::Found(found)), must) => self.is(found, must),
            (Got::Reply(_, Reply::Fenced(found)), Fenced(must)) => self.is(found, *must),
            (Got::Seen(seen), must) => self.holds(seen, must),
            _ => false,
        };
        assert!(matches, "{step}, not {got:?}");
    }

    fn is(&self, found: &Found, must: Must) -> bool {
        let young = |age: &Duration| *age < HOUR / 2;
        match (found, must) {
            (Found::Nothing, Nothing) | (Found::Mismatch, Mismatch) => true,
            (Found::OtherScheme(found), OtherScheme(scheme)) => *found == scheme(),
            (Found::Busy { remaining, age }, Busy) => {
                young(age) && *remaining > HOUR / 2 && *remaining <= HOUR
            }
            (Found::Unknown { fence, attempt, age }, Unknown(number)) => {
                young(age) && *attempt == number && Some(*fence) == self.last
            }
            (Found::Completed { outcome, age }, Completed(content)) => {
                young(age) && *outcome == content.outcome()
            }
            _ => false,
        }
    }

    fn holds(&self, seen: &Seen, must: Must) -> bool {
        let of = |who: Who, record: &Record| {
            record.nonce == Nonce::from_bytes([who.nonce; 16])
                && record.fingerprint == who.attempt(self.slot).fingerprint
                && record.fence == self.grant(who).fence
        };
        let ends = |record: &Record, after: Duration| {
            let left = record.expires.since(seen.now);
            left > after / 2 && left <= after + Duration::from_millis(2)
        };
        let Some(record) = &seen.record else { return matches!(must, Empty) };
        match (&record.phase, must) {
            (Phase::InProgress { lease_until }, InProgress(who, number)) => {
                let lease = lease_until.since(seen.now);
                lease > who.lease / 2
                    && lease <= who.lease
                    && of(who, record)
                    && ends(record, who.retention)
                    && record.attempt == number
            }
            (Phase::Completed { at, outcome }, Holds(who, content)) => {
                *outcome == content.outcome()
                    && of(who, record)
                    && ends(record, who.retention)
                    && seen.now.since(*at) < HOUR / 2
            }
            (Phase::Released, Released(who, number)) => {
                of(who, record) && ends(record, HOUR) && record.attempt == number
            }
            _ => false,
        }
    }
}

/// What changes nothing leaves the record as it was; Redis tells its end by the millisecond.
fn assert_same(before: Option<Record>, after: Option<&Record>, step: &str) {
    let blur = |mut record: Record| {
        if let Some(other) = after {
            let apart = record.expires.since(other.expires) + other.expires.since(record.expires);
            assert!(apart <= Duration::from_millis(2), "{step}: the record ends when it did");
            record.expires = other.expires;
        }
        record
    };
    assert_eq!(before.map(blur).as_ref(), after, "{step}: the record is as it was");
}

fn random_slot() -> Slot {
    Slot::from_bytes(rand::random())
}

struct Memory {
    store: MemoryStore,
    clock: Arc<ManualClock>,
}

impl Memory {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: MemoryStore::with_clock(Arc::clone(&clock)), clock }
    }
}

impl Harness for Memory {
    fn store(&self) -> &impl Store {
        &self.store
    }
    async fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }
}

struct Redis(RedisStore);

impl Redis {
    fn new() -> Self {
        Self(crate::support::redis::redis())
    }
}

impl Harness for Redis {
    fn store(&self) -> &impl Store {
        &self.0
    }
    async fn advance(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// One test per story or case, and per store.
macro_rules! contract {
    (stories: $($story:ident)*; $($name:ident: $steps:expr;)*) => {
        mod table {
            use super::*;
            $(pub(super) fn $name() -> Vec<Step> { Vec::from($steps) })*
        }
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&Memory::new()).await; })*
            $(#[tokio::test] async fn $name() { run(&Memory::new(), table::$name()).await; })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&Redis::new()).await; })*
            $(#[tokio::test] async fn $name() { run(&Redis::new(), table::$name()).await; })*
        }
    };
}

contract! {
    stories:
        of_fifty_concurrent_requests_one_starts
        of_fifty_concurrent_take_overs_one_succeeds
        an_answer_grows_older
        a_claim_grows_older_and_its_lease_runs_down;

    // begin
    a_free_slot_is_claimed: [
        look(Empty),
        begin(ANN, Started(1)),
        look(InProgress(ANN, 1)),
    ];
    a_second_copy_of_a_begin_gets_the_same_claim: [
        begin(ANN, Started(1)),
        begin(ANN, Mine(1)),
    ];
    a_second_copy_of_a_begin_gets_the_same_claim_even_after_the_lease: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(ANN.rerunning(), Mine(1)),
    ];
    a_begin_that_arrives_after_its_own_release_is_cancelled: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(ANN, Cancelled),
        begin(ANN.rerunning(), Cancelled),
        look(Released(ANN, 0)),
    ];
    a_tombstone_ends: [
        begin(ANN, Started(1)),
        (Do::Release(ANN, No, SHORT), Applied),
        wait(),
        look(Empty),
        begin(ANN, Started(1)),
    ];
    a_release_of_what_did_not_run_leaves_the_attempt_number: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(BOB, Started(1)),
    ];
    a_release_of_what_may_have_run_counts_the_attempt: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
        begin(BOB, Started(2)),
    ];
    a_released_slot_is_free_for_another_request_too: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(EVE, Started(1)),
        look(InProgress(EVE, 1)),
    ];
    a_live_claim_keeps_others_out: [
        begin(ANN, Started(1)),
        begin(BOB, Busy),
        begin(BOB.rerunning(), Busy),
    ];
    another_request_under_the_key_is_a_mismatch: [
        begin(ANN, Started(1)),
        begin(EVE, Mismatch),
        begin(EVE.rerunning(), Mismatch),
    ];
    another_request_is_a_mismatch_even_after_the_lease: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(EVE.rerunning(), Mismatch),
    ];
    a_request_of_another_scheme_is_told_so: [
        begin(ANN, Started(1)),
        begin(FAY, OtherScheme(Scheme::raw)),
        complete(ANN, Text("a"), Applied),
        begin(FAY, OtherScheme(Scheme::raw)),
    ];
    a_scheme_with_headers_is_told_with_its_headers: [
        begin(FAY, Started(1)),
        look(InProgress(FAY, 1)),
        begin(ANN, OtherScheme(selecting)),
        renew(FAY, Applied),
        begin(ANN, OtherScheme(selecting)),
        complete(FAY, Text("f"), Applied),
        look(Holds(FAY, Text("f"))),
        begin(ANN, OtherScheme(selecting)),
    ];
    a_lapsed_lease_stays_unknown_at_most_once: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        begin(CAT, Unknown(1)),
    ];
    a_lapsed_lease_is_taken_over_at_least_once: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        look(InProgress(BOB, 2)),
        begin(CAT.rerunning(), Busy),
        begin(ANN.rerunning(), Busy),
        begin(BOB.rerunning(), Mine(2)),
    ];
    attempts_that_are_used_up_leave_it_unknown: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.at_most(1), Unknown(1)),
        begin(BOB.at_most(2).lapsing(), Reclaimed(2)),
        wait(),
        begin(CAT.at_most(2), Unknown(2)),
        begin(CAT.at_most(3), Reclaimed(3)),
    ];
    a_completed_record_answers_every_retry: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
        begin(BOB, Completed(Text("a"))),
        begin(CAT.rerunning(), Completed(Text("a"))),
        begin(ANN, Completed(Text("a"))),
        begin(EVE, Mismatch),
    ];
    a_completed_record_expires: [
        begin(ANN, Started(1)),
        complete(ANN.expiring(), Text("a"), Applied),
        wait(),
        look(Empty),
        begin(EVE, Started(1)),
    ];
    an_unfinished_record_expires: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        look(Empty),
        begin(BOB, Started(1)),
        begin(ANN, Busy),
    ];

    // renew
    a_renewal_extends_the_lease_and_the_retention: [
        begin(Who { lease: HOUR / 10, retention: HOUR / 10, ..ANN }, Started(1)),
        renew(ANN, Applied),
        look(InProgress(ANN, 1)),
    ];
    a_renewal_revives_a_lapsed_claim_that_nobody_took: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        renew(ANN, Applied),
        begin(BOB.rerunning(), Busy),
    ];
    a_renewal_puts_a_lost_claim_back: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        renew(ANN, Applied),
        look(InProgress(ANN, 1)),
        begin(ANN, Mine(1)),
    ];
    a_renewal_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        renew(ANN, Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        renew(ANN, Fenced(&Completed(Text("b")))),
    ];
    a_renewal_of_another_request_is_fenced: [
        begin(ANN, Started(1)),
        renew(EVE, Fenced(&Mismatch)),
        renew(FAY, Fenced(&OtherScheme(Scheme::raw))),
    ];
    a_renewal_of_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        renew(BOB.rerunning(), Fenced(&Unknown(1))),
    ];
    a_renewal_after_the_release_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        renew(ANN, Fenced(&Nothing)),
        renew(BOB, Fenced(&Nothing)),
    ];
    a_renewal_after_the_outcome_is_fenced: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        renew(ANN, Fenced(&Completed(Text("a")))),
    ];

    // complete
    the_first_outcome_is_kept: [
        begin(ANN, Started(1)),
        complete(ANN, Text("first"), Applied),
        complete(ANN, Text("second"), Applied),
        look(Holds(ANN, Text("first"))),
    ];
    an_outcome_sets_the_retention: [
        begin(Who { retention: HOUR / 10, ..ANN }, Started(1)),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
    ];
    an_outcome_after_the_lease_counts_if_nobody_took_over: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        complete(ANN, Text("a"), Applied),
        begin(BOB.rerunning(), Completed(Text("a"))),
    ];
    an_outcome_puts_a_lost_record_back: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
        begin(BOB, Completed(Text("a"))),
    ];
    an_outcome_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        complete(ANN, Text("a"), Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        complete(ANN, Text("a"), Fenced(&Completed(Text("b")))),
        begin(CAT, Completed(Text("b"))),
    ];
    an_outcome_of_another_request_is_fenced: [
        begin(ANN, Started(1)),
        complete(EVE, Text("e"), Fenced(&Mismatch)),
        complete(ANN, Text("a"), Applied),
        complete(EVE, Text("e"), Fenced(&Mismatch)),
        complete(FAY, Text("f"), Fenced(&OtherScheme(Scheme::raw))),
    ];
    an_outcome_for_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        complete(BOB, Text("b"), Fenced(&Unknown(1))),
    ];
    an_outcome_after_the_release_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        complete(ANN, Text("a"), Fenced(&Nothing)),
        complete(BOB, Text("b"), Fenced(&Nothing)),
        look(Released(ANN, 0)),
    ];
    an_outcome_may_be_empty: stored(Content::Empty);
    an_outcome_keeps_fields_trailers_and_bytes_as_they_are: stored(Content::AllFields);
    an_outcome_may_be_a_tombstone: stored(Content::Tombstone);
    an_outcome_may_just_fit_into_a_script: stored(Content::Bytes(4014));
    an_outcome_may_just_not_fit_into_a_script: stored(Content::Bytes(4015));
    an_outcome_may_be_large: stored(Content::Bytes(300 << 10));
    an_outcome_may_be_very_large: stored(Content::Bytes(4 << 20));

    a_refusal_tells_a_large_outcome_too: [
        begin(ANN, Started(1)),
        complete(ANN, Content::Bytes(300 << 10), Applied),
        complete(BOB, Text("b"), Fenced(&Completed(Content::Bytes(300 << 10)))),
        complete(ANN, Text("a"), Applied),
        release(ANN, No, Fenced(&Completed(Content::Bytes(300 << 10)))),
    ];

    // release
    a_release_of_nothing_is_done: [
        release(ANN, No, Applied),
        look(Empty),
    ];
    a_release_can_be_repeated: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
    ];
    a_lapsed_claim_can_be_released: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        release(ANN, Maybe, Applied),
        begin(BOB, Started(2)),
    ];
    a_release_keeps_what_the_request_was: [
        begin(FAY, Started(1)),
        release(FAY, No, Applied),
        look(Released(FAY, 0)),
    ];
    a_release_of_a_claim_of_another_is_fenced: [
        begin(ANN, Started(1)),
        release(BOB, No, Fenced(&Busy)),
        release(EVE, No, Fenced(&Mismatch)),
        complete(ANN, Text("a"), Applied),
        release(BOB, No, Fenced(&Completed(Text("a")))),
    ];
    a_release_of_what_another_released_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        release(BOB, No, Fenced(&Nothing)),
    ];
    a_release_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        release(ANN, Maybe, Fenced(&Busy)),
        begin(BOB, Mine(2)),
    ];
    a_release_after_the_outcome_is_fenced: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        release(ANN, Maybe, Fenced(&Completed(Text("a")))),
        begin(BOB, Completed(Text("a"))),
    ];

    // resolve
    an_abandoned_claim_can_be_given_an_outcome: [
        begin(FAY.lapsing(), Started(1)),
        wait(),
        resolve(FAY, Content::AllFields, Applied),
        look(Holds(FAY, Content::AllFields)),
        begin(Who { nonce: 6, ..FAY }, Completed(Content::AllFields)),
        begin(ANN, OtherScheme(selecting)),
    ];
    an_abandoned_claim_can_be_given_a_large_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Content::Bytes(300 << 10), Applied),
        begin(BOB, Completed(Content::Bytes(300 << 10))),
    ];
    a_resolved_claim_keeps_that_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Text("operator"), Applied),
        resolve(ANN, Text("again"), Fenced(&Completed(Text("operator")))),
        complete(ANN, Text("late"), Applied),
        begin(BOB, Completed(Text("operator"))),
    ];
    a_live_claim_cannot_be_resolved: [
        begin(ANN, Started(1)),
        resolve(ANN, Text("o"), Fenced(&Busy)),
    ];
    a_claim_is_resolved_by_its_own_fence_only: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(BOB, Text("o"), Fenced(&Unknown(1))),
    ];
    a_claim_that_was_taken_over_is_not_resolved_by_its_old_fence: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning().lapsing(), Reclaimed(2)),
        wait(),
        resolve(ANN, Text("o"), Fenced(&Unknown(2))),
        resolve(BOB, Text("o"), Applied),
    ];
    what_is_not_there_cannot_be_resolved: [
        resolve(ANN, Text("o"), Fenced(&Nothing)),
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        resolve(ANN, Text("o"), Fenced(&Nothing)),
    ];
}

/// A way in and two ways out for this content.
fn stored(content: Content) -> Vec<Step> {
    vec![
        begin(ANN, Started(1)),
        complete(ANN, content, Applied),
        look(Holds(ANN, content)),
        begin(BOB, Completed(content)),
        begin(EVE, Mismatch),
    ]
}

async fn of_fifty_concurrent_requests_one_starts(harness: &impl Harness) {
    let slot = random_slot();
    let replies = crowd(harness, slot, ANN).await;
    let started = replies.iter().filter(|reply| matches!(reply, Reply::Started(_))).count();
    let busy = replies.iter().filter(|reply| matches!(reply, Reply::Found(Found::Busy { .. })));
    assert_eq!((started, busy.count()), (1, 49));
}

async fn of_fifty_concurrent_take_overs_one_succeeds(harness: &impl Harness) {
    let slot = random_slot();
    let abandoned = Who { nonce: 200, ..ANN }.lapsing().attempt(slot);
    let reply = harness.store().begin(&abandoned, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    harness.advance(LONG_ENOUGH).await;
    let replies = crowd(harness, slot, ANN.rerunning()).await;
    let won = replies.iter().filter(|reply| matches!(reply, Reply::Reclaimed(_))).count();
    let busy = replies.iter().filter(|reply| matches!(reply, Reply::Found(Found::Busy { .. })));
    assert_eq!((won, busy.count()), (1, 49));
}

async fn crowd(harness: &impl Harness, slot: Slot, who: Who) -> Vec<Reply> {
    let attempts = (0..50).map(|nonce| Who { nonce, ..who }.attempt(slot));
    let begins = attempts.map(async |attempt| {
        harness.store().begin(&attempt, WITHIN).await.expect("the store answers")
    });
    futures_util::future::join_all(begins).await
}

async fn an_answer_grows_older(harness: &impl Harness) {
    let (slot, store) = (random_slot(), harness.store());
    let reply = store.begin(&ANN.attempt(slot), WITHIN).await;
    let Ok(Reply::Started(grant)) = reply else { panic!("{reply:?}") };
    let claim = ANN.attempt(slot).claim(grant);
    store.complete(&claim, &Text("a").outcome(), WITHIN).await.expect("the store answers");
    harness.advance(LONG_ENOUGH).await;
    let reply = store.begin(&BOB.attempt(slot), WITHIN).await;
    let Ok(Reply::Found(Found::Completed { age, .. })) = reply else { panic!("{reply:?}") };
    assert!(age >= LONG_ENOUGH && age < HOUR, "{age:?}");
}

async fn a_claim_grows_older_and_its_lease_runs_down(harness: &impl Harness) {
    let (slot, store) = (random_slot(), harness.store());
    store.begin(&ANN.attempt(slot), WITHIN).await.expect("the store answers");
    harness.advance(LONG_ENOUGH).await;
    let reply = store.begin(&BOB.attempt(slot), WITHIN).await;
    let Ok(Reply::Found(Found::Busy { remaining, age })) = reply else { panic!("{reply:?}") };
    assert!(age >= LONG_ENOUGH && age < HOUR, "{age:?}");
    assert_eq!(remaining + age, HOUR, "both are told for one moment");
}
