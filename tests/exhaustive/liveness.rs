//! I13: once the faults stop, every key comes to rest, and everybody who asked is answered.
//!
//! The whole graph of a smaller variant is kept. Of its steps only the calm ones are followed: those
//! that still happen when nothing goes wrong any more. They have no cycle, and where they end the
//! slot is free, completed, released or unknown, and no attempt is left at work. So every way from
//! every state that can be reached ends well, in a number of steps that is bounded.

use std::collections::HashMap;

use crate::search::hash;
use crate::state::{Phase, Stage, State};
use crate::step::{Action, Step};
use crate::variant::{AT_LEAST_ONCE, AT_MOST_ONCE, Durable, Fault, Variant};
use crate::world::World;

#[test]
fn once_faults_stop_every_key_comes_to_rest() {
    for variant in [
        AT_MOST_ONCE.release(),
        AT_MOST_ONCE.timed(),
        AT_MOST_ONCE.with(Fault::Crash),
        AT_MOST_ONCE.with(Fault::HangUp),
        AT_MOST_ONCE.with(Fault::Eviction),
        AT_MOST_ONCE.with(Fault::Restart),
        AT_MOST_ONCE.with(Fault::FailOver(Durable::Begins)),
        AT_MOST_ONCE.in_transactions(),
        AT_LEAST_ONCE.release(),
        AT_LEAST_ONCE.with(Fault::Crash),
    ] {
        let (states, longest) = comes_to_rest(variant.of(2));
        println!("{} {:?}: {states} states rest in {longest}", variant.name, variant.fault);
    }
}

/// The number of states, and of the most calm steps from one of them.
fn comes_to_rest(variant: Variant) -> (usize, u32) {
    let world = World::new(variant);
    let mut states = vec![State::default()];
    let mut numbers = HashMap::from([(hash(&states[0]), 0)]);
    let mut calm: Vec<Vec<usize>> = Vec::new();
    let mut steps = Vec::new();
    while calm.len() < states.len() {
        let before = states[calm.len()];
        steps.clear();
        world.steps(&before, &mut steps);
        let mut next = Vec::new();
        for step in &steps {
            let number = *numbers.entry(hash(&step.after)).or_insert_with(|| {
                states.push(step.after);
                states.len() - 1
            });
            if step.after != before && is_calm(&before, step) {
                next.push(number);
            }
        }
        assert!(!next.is_empty() || is_at_rest(&before), "{}: stuck in {before:?}", variant.name);
        calm.push(next);
    }
    (states.len(), longest(&calm))
}

/// The length of the longest path. The graph is taken apart from where paths begin, which only
/// comes to its end if there is no cycle.
fn longest(edges: &[Vec<usize>]) -> u32 {
    let mut into = vec![0_u32; edges.len()];
    edges.iter().flatten().for_each(|to| into[*to] += 1);
    let mut free: Vec<usize> = (0..edges.len()).filter(|state| into[*state] == 0).collect();
    let mut lengths = vec![0_u32; edges.len()];
    let mut taken = 0;
    while let Some(state) = free.pop() {
        taken += 1;
        for to in &edges[state] {
            lengths[*to] = lengths[*to].max(lengths[state] + 1);
            into[*to] -= 1;
            if into[*to] == 0 {
                free.push(*to);
            }
        }
    }
    assert_eq!(taken, edges.len(), "calm steps go round in a circle");
    lengths.into_iter().max().unwrap_or_default()
}

/// Whether this still happens when nothing goes wrong any more: calls arrive once and are answered,
/// and only what was lost before is sent again.
fn is_calm(before: &State, step: &Step) -> bool {
    let item = |by: usize| &before.tries[by];
    match step.action {
        Action::Arrive(_)
        | Action::ArriveOdd(_)
        | Action::Reach(_)
        | Action::HangUp(_)
        | Action::Crash(_)
        | Action::LocalEnd(_)
        | Action::Evict
        | Action::Restart
        | Action::FailOver
        | Action::ClockBack
        // A handler that runs on and on is renewed on and on.
        | Action::Renew(_) => false,
        Action::Repeat(by) => match item(by).step {
            Stage::Asking => !item(by).begins,
            _ => true,
        },
        Action::Joint(by, deed) => deed.is_calm(item(by)),
        Action::Unstored(by) => !item(by).completes,
        Action::GiveUp(by) => item(by).step != Stage::Confirming || !item(by).renews,
        // Nobody waits for this copy any more.
        Action::Lose(by, call) => match item(by).step {
            Stage::Done => true,
            step => call == "renew" && step != Stage::Confirming,
        },
        _ => true,
    }
}

fn is_at_rest(state: &State) -> bool {
    state.tries.iter().all(|item| !item.step.is_active() && !item.is_sending())
        && state.slot.is_none_or(|kept| kept.phase != Phase::Live)
}
