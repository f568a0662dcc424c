//! What the searches come across: a rule that is never used would hold in vain.

use std::collections::{BTreeSet, HashSet};

use crate::search::hash;
use crate::state::State;
use crate::step::Action;
use crate::variant::{AT_LEAST_ONCE, AT_MOST_ONCE, Durable, Fault, Variant};
use crate::world::World;

#[test]
fn every_step_and_every_answer_occurs() {
    let mut met = BTreeSet::new();
    for variant in [
        AT_MOST_ONCE.release().with(Fault::OtherBody),
        AT_MOST_ONCE.with(Fault::HangUp),
        AT_MOST_ONCE.with(Fault::Restart),
        AT_MOST_ONCE.with(Fault::FailOver(Durable::Begins)),
        AT_MOST_ONCE.release().with(Fault::ClockBack),
        AT_MOST_ONCE.release().timed().with(Fault::Hook),
        AT_MOST_ONCE.release().with(Fault::Expiry),
        AT_MOST_ONCE.release().with(Fault::HiddenCopies),
        AT_MOST_ONCE.in_transactions(),
        AT_LEAST_ONCE.release(),
        AT_LEAST_ONCE.with(Fault::Crash),
        AT_LEAST_ONCE.with(Fault::Eviction),
    ] {
        meet(variant.of(2), &mut met);
    }
    for name in [
        "Arrive",
        "ArriveOdd",
        "Repeat",
        "Deadline",
        "Reach",
        "Answered",
        "Lose",
        "GiveUp",
        "Start",
        "Confirm",
        "Effect",
        "Finish",
        "NotExecuted",
        "Ambiguous",
        "Renew",
        "Release",
        "Unstored",
        "HookUnknown",
        "HookOutcome",
        "HookRerun",
        "HangUp",
        "Crash",
        "LocalEnd",
        "Lapse",
        "Expire",
        "Purge",
        "Evict",
        "Restart",
        "Replicate",
        "FailOver",
        "ClockBack",
        "Join",
        "Mark",
        "LoseMark",
        "Without",
        "Commit",
        "Refuse",
        "Fail",
        "Keep",
        "Again",
        "Break",
        "End",
        "Begin: New",
        "Begin: Mine",
        "Begin: Cancelled",
        "Begin: Late",
        "Begin: Mismatch",
        "Begin: Busy",
        "Begin: Unknown",
        "Begin: Completed",
        "Renew: Applied",
        "Renew: Busy",
        "Renew: Unknown",
        "Renew: Completed",
        "Renew: Nothing",
        "Complete: Applied",
        "Complete: Busy",
        "Complete: Unknown",
        "Complete: Completed",
        "Complete: Nothing",
        "Release: Applied",
        "Release: Busy",
        "Release: Completed",
        "Resolve: Applied",
        "Resolve: Completed",
    ] {
        assert!(met.contains(name), "never met: {name}");
    }
}

fn meet(variant: Variant, met: &mut BTreeSet<String>) {
    let world = World::new(variant);
    let mut seen = HashSet::from([hash(&State::default())]);
    let mut next = vec![State::default()];
    let mut steps = Vec::new();
    while let Some(state) = next.pop() {
        steps.clear();
        world.steps(&state, &mut steps);
        for step in &steps {
            met.insert(match step.action {
                Action::Joint(_, deed) => name(&deed),
                action => name(&action),
            });
            if let Some(called) = &step.called {
                met.insert(format!("{}: {}", name(&called.call), name(&called.answer)));
            }
            if seen.insert(hash(&step.after)) {
                next.push(step.after);
            }
        }
    }
}

/// The name of a variant without what it holds.
fn name(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
