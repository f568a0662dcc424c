//! Histories in which one thing is wrong, each found.

use std::collections::BTreeMap;

use tower_idempotency::Guarantee;

use super::checker::check;
use super::history::{Fault, Harmed, History, Name, Request, Run};
use crate::support::answer::Answer;

fn name(tenant: &str) -> Name {
    Name { tenant: tenant.into(), key: "k".into() }
}

/// A request that was answered with the answer of a run.
fn done(name: &Name, times: (u64, u64), run: u64, client: usize) -> Request {
    let body =
        format!(r#"{{"pid":7,"execution":{run},"tenant":"{}","body":"order"}}"#, name.tenant);
    let answer = Answer { status: 200, body: body.into(), ..Answer::default() };
    request(name, times, Some(answer), client)
}

fn refused(name: &Name, times: (u64, u64), (status, code): (u16, &str), client: usize) -> Request {
    let body = format!(r#"{{"code":"{code}"}}"#);
    let answer = Answer { status, body: body.into(), ..Answer::default() };
    request(name, times, Some(answer), client)
}

fn request(
    name: &Name,
    (sent, heard): (u64, u64),
    answer: Option<Answer>,
    client: usize,
) -> Request {
    Request { name: name.clone(), body: "order".into(), client, sent, heard, answer }
}

/// The attempt of this number, which has the number of its run as well.
fn run(name: &Name, number: u64, start: u64, end: u64) -> Run {
    Run {
        name: name.clone(),
        body: "order".into(),
        attempt: number,
        fence: 100 + number,
        pid: 7,
        execution: number,
        start,
        end: Some(end),
        live: true,
    }
}

/// A client that is sent away once, hears of the first run, and is answered the same later.
fn good(guarantee: Guarantee) -> History {
    let red = name("red");
    History {
        guarantee,
        lease: 1000,
        bodies: BTreeMap::from([(red.clone(), vec!["order".to_owned()])]),
        requests: vec![
            refused(&red, (100, 110), (409, "in-progress"), 0),
            done(&red, (200, 210), 1, 0),
            done(&red, (9000, 9010), 1, 1),
        ],
        runs: vec![run(&red, 1, 90, 190)],
        faults: vec![],
        loses_answers: false,
    }
}

/// The same, taken over after its worker was killed, and before anybody was answered.
fn taken_over() -> History {
    let mut history = good(Guarantee::AtLeastOnce);
    let red = name("red");
    history.runs[0].end = None;
    history.runs.push(run(&red, 2, 1200, 1300));
    history.requests[1] = done(&red, (1150, 1310), 2, 0);
    history.requests[2] = done(&red, (9000, 9010), 2, 1);
    history.faults = vec![Fault { kind: "killed", harmed: Harmed::Process(7), from: 150, to: 200 }];
    history
}

/// That these rules are broken, and no others.
#[track_caller]
fn breaks(history: &History, rules: &[&str]) {
    let found: Vec<_> = check(history).iter().map(|violation| violation.rule).collect();
    assert_eq!(found, rules);
}

const ONE_ANSWER: &str = "all answers of a key are equal";
const ONE_RUN: &str = "at most once, a key runs at most once";
const CAUSE: &str = "a key runs again only after a fault that kept its worker from renewing";
const OVERLAP: &str = "no run starts before the claim of the one before it has lapsed";
const FENCE: &str = "each attempt runs at most once, with a larger fence than the one before";
const CROSSING: &str = "an answer is one of a run of this tenant's key";
const MISMATCH: &str = "a key runs for one request only, and others are not answered with it";
const FALSE_MISMATCH: &str = "a request is refused as another one only where there is another one";
const FINAL: &str = "after an answer that is stored there is no other, and no further run";
const STRANGE: &str = "nobody hears what the layer may not say";
const SETTLES: &str = "every client is answered for good";

#[test]
fn good_histories_break_no_rule() {
    breaks(&good(Guarantee::AtMostOnce), &[]);
    breaks(&good(Guarantee::AtLeastOnce), &[]);
    breaks(&taken_over(), &[]);
}

#[test]
fn a_second_run_is_found() {
    let mut history = taken_over();
    history.guarantee = Guarantee::AtMostOnce;
    breaks(&history, &[ONE_RUN]);
}

#[test]
fn two_answers_are_found() {
    let mut history = taken_over();
    history.requests.push(done(&name("red"), (9020, 9030), 1, 2));
    breaks(&history, &[ONE_ANSWER]);
    history.requests.pop();
    history.requests[2].answer.as_mut().expect("one").headers.push(("x".into(), b"y".into()));
    breaks(&history, &[ONE_ANSWER]);
}

#[test]
fn an_answer_that_was_sent_unstored_stands_at_most_once_only() {
    let mut history = taken_over();
    let mut unstored = done(&name("red"), (200, 210), 1, 2);
    let header = ("idempotency-status".to_owned(), b"unstored".to_vec());
    unstored.answer.as_mut().expect("one").headers.push(header);
    history.requests.push(unstored);
    breaks(&history, &[]);
    history.guarantee = Guarantee::AtMostOnce;
    breaks(&history, &[ONE_ANSWER, ONE_RUN]);
}

#[test]
fn a_second_run_without_a_cause_is_found() {
    let mut history = taken_over();
    history.faults[0].harmed = Harmed::Process(8);
    breaks(&history, &[CAUSE]);
    history.faults[0].harmed = Harmed::All;
    breaks(&history, &[]);
    history.faults[0].from = 1201;
    history.faults[0].to = 1300;
    breaks(&history, &[CAUSE]);
}

#[test]
fn runs_that_overlap_are_found_if_the_first_believed_in_its_claim() {
    let mut history = taken_over();
    history.runs[0].end = Some(1201);
    breaks(&history, &[OVERLAP]);
    history.runs[0].live = false;
    breaks(&history, &[]);
}

#[test]
fn an_attempt_that_runs_twice_and_a_fence_that_goes_back_are_found() {
    let mut history = taken_over();
    history.runs[1].attempt = 1;
    breaks(&history, &[FENCE]);
    history.runs[1].attempt = 2;
    history.runs[1].fence = 101;
    breaks(&history, &[FENCE]);
}

#[test]
fn an_answer_of_another_tenant_is_found() {
    let mut history = good(Guarantee::AtMostOnce);
    let green = name("green");
    history.requests.push(request(&green, (300, 310), history.requests[1].answer.clone(), 2));
    breaks(&history, &[CROSSING]);
    // The same where it says that it is this tenant's.
    history.requests[3] = done(&green, (300, 310), 1, 2);
    breaks(&history, &[CROSSING]);
    // An answer of no run at all.
    history.requests[3] = done(&green, (300, 310), 9, 2);
    breaks(&history, &[CROSSING]);
}

#[test]
fn a_mismatch_that_ran_is_found() {
    let mut history = taken_over();
    history.runs[0].body = "another".into();
    breaks(&history, &[MISMATCH]);
}

#[test]
fn a_mismatch_that_was_answered_with_the_other_answer_is_found() {
    let mut history = good(Guarantee::AtMostOnce);
    history.requests[2].body = "another".into();
    breaks(&history, &[MISMATCH]);
}

#[test]
fn a_mismatch_that_is_none_is_found() {
    let mut history = good(Guarantee::AtMostOnce);
    history.requests.push(refused(&name("red"), (300, 310), (422, "key-reused"), 2));
    breaks(&history, &[FALSE_MISMATCH]);
    history.bodies.insert(name("red"), vec!["order".into(), "another".into()]);
    breaks(&history, &[]);
}

#[test]
fn another_answer_after_one_that_was_stored_is_found() {
    let mut history = good(Guarantee::AtMostOnce);
    let unknown = (409, "outcome-unknown");
    history.requests.insert(2, refused(&name("red"), (300, 310), unknown, 1));
    breaks(&history, &[FINAL]);
    // At most once, what is lost with a master is unknown.
    history.loses_answers = true;
    breaks(&history, &[]);
    history.loses_answers = false;
    // Somebody who asked before it was stored may hear it later.
    history.requests[2].sent = 205;
    breaks(&history, &[]);
    for passing in [(503, "store-unavailable"), (409, "in-progress")] {
        let mut history = good(Guarantee::AtMostOnce);
        history.requests.insert(2, refused(&name("red"), (300, 310), passing, 1));
        breaks(&history, &[]);
    }
}

#[test]
fn a_run_after_an_answer_that_was_stored_is_found() {
    let mut history = taken_over();
    history.requests[1] = done(&name("red"), (300, 310), 2, 0);
    history.loses_answers = true;
    breaks(&history, &[FINAL]);
}

#[test]
fn an_answer_that_the_layer_may_not_give_is_found() {
    let mut history = good(Guarantee::AtMostOnce);
    history.requests[0] = refused(&name("red"), (100, 110), (500, "record-corrupt"), 0);
    breaks(&history, &[STRANGE]);
}

#[test]
fn a_client_that_is_never_answered_is_found() {
    let mut history = good(Guarantee::AtMostOnce);
    history.requests.push(request(&name("red"), (9000, 9100), None, 2));
    breaks(&history, &[SETTLES]);
    history.requests[3] = refused(&name("red"), (9000, 9100), (503, "store-unavailable"), 2);
    breaks(&history, &[SETTLES]);
    history.requests.push(refused(&name("red"), (9200, 9300), (409, "outcome-unknown"), 2));
    // It is settled, but not as the others were answered.
    breaks(&history, &[FINAL]);
}
