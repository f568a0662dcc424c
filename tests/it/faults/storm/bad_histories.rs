//! Histories in which one thing is wrong, each found.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checker::{
    AT_LEAST_ONE_ROW, AT_MOST_ONE_ROW, FINAL, NEVER_UNKNOWN, NEVER_UNSTORED, ONE_ANSWER,
    ONE_OUTCOME, ONE_ROW, ROW_EXISTS, SETTLES, STRANGE, check,
};
use super::history::{Entry, Heard, History, Mode};
use crate::support::answer::Answer;

fn heard(second: u64, (status, body): (u16, &str), headers: &[(&str, &str)]) -> Heard {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let answer = Answer { status, headers, body: body.into(), ..Answer::default() };
    let sent = Duration::from_secs(second);
    Heard {
        key: "k".into(),
        sent,
        heard: sent + Duration::from_millis(10),
        after: second >= 100,
        answer: Some(answer),
    }
}

const CHARGED: (u16, &str) = (201, r#"{"row":7}"#);
const UNKNOWN: (u16, &str) = (409, r#"{"code":"outcome-unknown"}"#);
const REPLAYED: &[(&str, &str)] = &[("idempotent-replayed", "true")];

/// A charge that is answered in the storm, and replayed after it.
fn good(mode: Mode) -> History {
    let entry = Entry { refused: false, rows: vec![7], completed: Some(true) };
    History {
        mode,
        heard: vec![heard(1, CHARGED, &[]), heard(100, CHARGED, REPLAYED)],
        entries: BTreeMap::from([("k".to_owned(), entry)]),
        strange_records: 0,
    }
}

const ALL: [Mode; 4] =
    [Mode::Transactional, Mode::TransactionalAtMostOnce, Mode::AtMostOnce, Mode::AtLeastOnce];

fn entry(history: &mut History) -> &mut Entry {
    history.entries.get_mut("k").expect("it is there")
}

/// That these rules are broken, and no others.
#[track_caller]
fn breaks(history: &History, rules: &[&str]) {
    let found: Vec<_> = check(history).iter().map(|violation| violation.rule).collect();
    assert_eq!(found, rules, "{:?}", history.mode);
}

#[test]
fn good_storms_break_no_rule() {
    for mode in ALL {
        breaks(&good(mode), &[]);
    }
    let mut refused = good(Mode::Transactional);
    *entry(&mut refused) = Entry { refused: true, rows: vec![], completed: Some(true) };
    let answer = (422, r#"{"error":"refused"}"#);
    refused.heard = vec![heard(1, answer, &[]), heard(100, answer, REPLAYED)];
    breaks(&refused, &[]);
    let mut again = good(Mode::AtLeastOnce);
    entry(&mut again).rows.push(8);
    breaks(&again, &[]);
    again.heard = vec![heard(1, UNKNOWN, &[]), heard(100, CHARGED, &[])];
    breaks(&again, &[]);
}

#[test]
fn a_second_row_is_found() {
    let rules = [
        (Mode::Transactional, ONE_ROW),
        (Mode::TransactionalAtMostOnce, ONE_ROW),
        (Mode::AtMostOnce, AT_MOST_ONE_ROW),
    ];
    for (mode, rule) in rules {
        let mut history = good(mode);
        entry(&mut history).rows.push(8);
        breaks(&history, &[rule]);
    }
}

#[test]
fn a_row_that_is_missing_is_found() {
    let rules = [
        (Mode::Transactional, vec![ROW_EXISTS, ONE_ROW]),
        (Mode::TransactionalAtMostOnce, vec![ROW_EXISTS, ONE_ROW]),
        (Mode::AtMostOnce, vec![ROW_EXISTS]),
        (Mode::AtLeastOnce, vec![ROW_EXISTS, AT_LEAST_ONE_ROW]),
    ];
    for (mode, rules) in rules {
        let mut history = good(mode);
        entry(&mut history).rows.clear();
        breaks(&history, &rules);
    }
}

#[test]
fn a_row_of_what_was_refused_is_found() {
    let mut history = good(Mode::Transactional);
    entry(&mut history).refused = true;
    breaks(&history, &[ONE_ROW]);
}

#[test]
fn two_answers_are_found() {
    for mode in ALL {
        let mut history = good(mode);
        history.heard.push(heard(2, (422, r#"{"error":"refused"}"#), &[]));
        breaks(&history, &[ONE_ANSWER]);
    }
}

#[test]
fn what_is_unknown_is_found_in_a_transaction_and_where_it_was_known_or_has_a_row() {
    let before = heard(0, UNKNOWN, &[]);
    for (mode, rules) in [(Mode::Transactional, &[NEVER_UNKNOWN][..]), (Mode::AtMostOnce, &[])] {
        let mut history = good(mode);
        history.heard.push(before.clone());
        breaks(&history, rules);
    }
    let mut history = good(Mode::AtMostOnce);
    history.heard.push(heard(3, UNKNOWN, &[]));
    breaks(&history, &[FINAL]);
    let mut history = good(Mode::TransactionalAtMostOnce);
    history.heard = vec![before, heard(100, UNKNOWN, &[])];
    breaks(&history, &[ONE_ROW]);
    entry(&mut history).rows.clear();
    breaks(&history, &[]);
}

#[test]
fn an_answer_that_is_not_stored_is_found() {
    for mode in ALL {
        let mut history = good(mode);
        entry(&mut history).completed = Some(false);
        breaks(&history, &[ONE_OUTCOME]);
        entry(&mut history).completed = None;
        breaks(&history, &[ONE_OUTCOME]);
    }
    let mut history = good(Mode::Transactional);
    history.heard[0] = heard(1, CHARGED, &[("idempotency-status", "unstored")]);
    breaks(&history, &[NEVER_UNSTORED]);
}

#[test]
fn who_is_not_answered_in_the_end_or_runs_it_anew_is_found() {
    for last in [(503, r#"{"code":"store-unavailable"}"#), CHARGED] {
        let mut history = good(Mode::Transactional);
        history.heard[1] = heard(100, last, &[]);
        breaks(&history, &[SETTLES]);
    }
    let mut history = good(Mode::Transactional);
    history.heard.pop();
    breaks(&history, &[SETTLES]);
}

#[test]
fn what_the_layer_may_not_say_and_a_record_of_nobody_are_found() {
    let mut history = good(Mode::Transactional);
    history.heard.push(heard(0, (422, r#"{"code":"key-reused"}"#), &[]));
    breaks(&history, &[STRANGE]);
    let mut history = good(Mode::Transactional);
    history.strange_records = 1;
    breaks(&history, &[STRANGE]);
}
