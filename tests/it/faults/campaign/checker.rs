//! The judge. It reads the ledger, what clients heard and what was broken, and nothing that the
//! layer says of itself but whether a claim is live: that is a promise, and looked at like one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tower_idempotency::Guarantee;

use super::history::{Harmed, History, Meaning, Name, Request, Run};

/// A rule that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

type Rule = fn(&History) -> Vec<String>;

/// Every rule with its sentence.
const RULES: [(&str, Rule); 11] = [
    ("all answers of a key are equal", one_answer),
    ("at most once, a key runs at most once", at_most_one_run),
    ("a key runs again only after a fault that kept its worker from renewing", reruns_have_causes),
    ("no run starts before the claim of the one before it has lapsed", no_overlap),
    ("each attempt runs at most once, with a larger fence than the one before", fences_ascend),
    ("an answer is one of a run of this tenant's key", no_crossing),
    ("a key runs for one request only, and others are not answered with it", no_mismatch),
    ("a request is refused as another one only where there is another one", no_false_mismatch),
    ("after an answer that is stored there is no other, and no further run", stored_is_final),
    ("nobody hears what the layer may not say", nothing_strange),
    ("every client is answered for good", all_settle),
];

/// All that is wrong with a history.
pub fn check(history: &History) -> Vec<Violation> {
    let broken = |(rule, judge): (&'static str, Rule)| {
        judge(history).into_iter().map(move |what| Violation { rule, what })
    };
    RULES.into_iter().flat_map(broken).collect()
}

/// An answer that was sent before it could be stored stands at most once, since nobody else will
/// run. At least once it says of itself that it may not stand.
pub fn one_answer(history: &History) -> Vec<String> {
    let stands = |request: &&&Request| match history.guarantee {
        Guarantee::AtLeastOnce | Guarantee::Transactional => request.is_stored(),
        Guarantee::AtMostOnce => request.meaning() == Meaning::Done,
    };
    let mut broken = Vec::new();
    for (name, requests) in history.requests_by_key() {
        let answers: Vec<_> =
            requests.iter().filter(stands).filter_map(|one| one.bytes()).collect();
        if let Some(other) = answers.iter().find(|answer| **answer != answers[0]) {
            broken.push(format!("{name:?}: {:?} and {other:?}", answers[0]));
        }
    }
    broken
}

fn at_most_one_run(history: &History) -> Vec<String> {
    if history.guarantee == Guarantee::AtLeastOnce {
        return vec![];
    }
    let keys = history.runs_by_key();
    keys.iter().filter(|(_, runs)| runs.len() > 1).map(|(_, runs)| format!("{runs:?}")).collect()
}

fn reruns_have_causes(history: &History) -> Vec<String> {
    pairs(history, |first, second| {
        // What was wrong a little earlier can still be the reason why a renewal failed.
        let since = first.start.saturating_sub(history.lease);
        !history.faults.iter().any(|fault| {
            let harmed =
                matches!(fault.harmed, Harmed::All) || fault.harmed == Harmed::Process(first.pid);
            harmed && fault.from <= second.start && fault.to >= since
        })
    })
}

/// A worker whose claim was live when it ended had it to itself until then. One that was told that it
/// is not, because it slept or could not renew, may overlap with the next one.
fn no_overlap(history: &History) -> Vec<String> {
    pairs(history, |first, second| first.live && first.end.is_some_and(|end| second.start < end))
}

fn fences_ascend(history: &History) -> Vec<String> {
    pairs(history, |first, second| first.fence >= second.fence || first.attempt >= second.attempt)
}

/// The runs of a key that followed each other and are not as they have to be.
fn pairs(history: &History, wrong: impl Fn(&Run, &Run) -> bool) -> Vec<String> {
    let keys = history.runs_by_key();
    let all = keys.values().flat_map(|runs| runs.windows(2));
    all.filter(|pair| wrong(pair[0], pair[1])).map(|pair| format!("{pair:?}")).collect()
}

fn no_crossing(history: &History) -> Vec<String> {
    // The system gives the number of a process that has ended to another one after a while.
    let runs: BTreeSet<_> =
        history.runs.iter().map(|run| (run.pid, run.execution, &run.name)).collect();
    let crosses = |request: &&Request| {
        let own = run_of(request)
            .is_some_and(|(pid, execution)| runs.contains(&(pid, execution, &request.name)));
        request.meaning() == Meaning::Done && !own
    };
    history.requests.iter().filter(crosses).map(|request| format!("{request:?}")).collect()
}

/// The process and the number of the run that an answer names.
fn run_of(request: &Request) -> Option<(u64, u64)> {
    let answer: Value = serde_json::from_slice(&request.answer.as_ref()?.body).ok()?;
    (answer["tenant"] == *request.name.tenant).then_some(())?;
    Some((answer["pid"].as_u64()?, answer["execution"].as_u64()?))
}

fn no_mismatch(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, runs) in history.runs_by_key() {
        let bodies: BTreeSet<_> = runs.iter().map(|run| &run.body).collect();
        if bodies.len() > 1 {
            broken.push(format!("{name:?} ran for {bodies:?}"));
        }
    }
    let foreign = |request: &&Request| {
        let answer =
            request.answer.as_ref().map(|answer| answer.body.as_slice()).unwrap_or_default();
        let answer = serde_json::from_slice::<Value>(answer).unwrap_or_default();
        request.meaning() == Meaning::Done && answer["body"] != *request.body
    };
    broken.extend(history.requests.iter().filter(foreign).map(|request| format!("{request:?}")));
    broken
}

fn no_false_mismatch(history: &History) -> Vec<String> {
    let alone = |name: &Name| history.bodies.get(name).is_none_or(|bodies| bodies.len() < 2);
    let refused = history.requests.iter().filter(|request| request.meaning() == Meaning::Reused);
    refused.filter(|request| alone(&request.name)).map(|request| format!("{request:?}")).collect()
}

fn stored_is_final(history: &History) -> Vec<String> {
    let mut broken = forgotten(history);
    if history.loses_answers {
        broken.clear();
    }
    let runs = history.runs_by_key();
    for (name, stored, _) in stored_answers(history) {
        let again = runs.get(name).into_iter().flatten().filter(|run| run.start > stored.heard);
        broken.extend(again.map(|run| format!("{stored:?}, then {run:?}")));
    }
    broken
}

/// What was answered otherwise after an answer that is stored. To ask again is no answer: the store
/// had no time for it, or a request waited behind another one that had no answer from the store. That
/// nothing ran again, the ledger says.
pub fn forgotten(history: &History) -> Vec<String> {
    let other = |request: &&Request| matches!(request.meaning(), Meaning::Unknown | Meaning::Wrong);
    let mut broken = Vec::new();
    for (_, stored, later) in stored_answers(history) {
        let others = later.into_iter().filter(other);
        broken.extend(others.map(|request| format!("{stored:?}, then {request:?}")));
    }
    broken
}

/// The first answer to each key that is stored, and the requests that were sent after it.
fn stored_answers(history: &History) -> Vec<(&Name, &Request, Vec<&Request>)> {
    let mut answers = Vec::new();
    for (name, requests) in history.requests_by_key() {
        let stored = requests.iter().filter(|request| request.is_stored());
        let Some(&stored) = stored.min_by_key(|request| request.heard) else { continue };
        let later = requests.into_iter().filter(|request| request.sent > stored.heard);
        answers.push((name, stored, later.collect()));
    }
    answers
}

fn nothing_strange(history: &History) -> Vec<String> {
    let wrong = |request: &&Request| request.meaning() == Meaning::Wrong;
    history.requests.iter().filter(wrong).map(|request| format!("{request:?}")).collect()
}

pub fn all_settle(history: &History) -> Vec<String> {
    let mut last = BTreeMap::new();
    for request in &history.requests {
        let latest = last.entry(request.client).or_insert(request);
        if request.sent >= latest.sent {
            *latest = request;
        }
    }
    let open = last.values().filter(|request| request.meaning() == Meaning::Passing);
    open.map(|request| format!("{request:?}")).collect()
}
