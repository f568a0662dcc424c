//! No stored outcome is lost or changed: once a client was answered for good, every later request
//! gets that answer, or hears that it cannot be told now; and nothing runs any more.

use tower_idempotency::protocol::{Outcome as Stored, Phase, Slot};

use crate::meaning::{Meaning, Outcome, meaning};
use crate::world::World;

use super::Violation;

const NAME: &str = "no stored outcome is lost or changed";

pub fn check(world: &World) -> Option<Violation> {
    (0..world.plan.keys.len()).find_map(|key| of_key(world, key))
}

fn of_key(world: &World, key: usize) -> Option<Violation> {
    let mut answered: Vec<(u64, usize, Outcome)> = Vec::new();
    let requests = || world.history.requests.iter().enumerate().filter(|(_, it)| it.key == key);
    for (number, request) in requests() {
        let Some((at, answer)) = &request.answer else { continue };
        let meaning = meaning(&world.history, &world.plan, number, answer);
        if let Meaning::Final(outcome) = meaning {
            answered.push((*at, number, outcome));
        }
    }
    let (since, first, outcome) = answered.iter().min_by_key(|(at, ..)| *at)?.clone();
    let wrong = |text| Some(Violation::of(NAME, key, text));
    for (number, request) in requests() {
        let Some((_, answer)) = request.answer.as_ref().filter(|_| request.sent > since) else {
            continue;
        };
        let allowed = match meaning(&world.history, &world.plan, number, answer) {
            Meaning::Final(later) => later == outcome,
            // One that waits may not have heard of it yet.
            Meaning::Temporary("in-progress") => world.plan.keys[key].route.wait.is_some(),
            Meaning::Temporary(_) | Meaning::Reused => true,
            _ => false,
        };
        if !allowed {
            return wrong(format!(
                "request {first} was answered {outcome:?} at {since}; request {number}: {answer:?}"
            ));
        }
    }
    if let Some(run) = world.history.runs.iter().find(|run| run.key == key && run.start > since) {
        return wrong(format!("answered at {since}, and then ran: {run:?}"));
    }
    let held = held(world, key);
    (held.as_ref() != Some(&outcome))
        .then(|| format!("answered {outcome:?}, and the store holds {held:?}"))
        .and_then(wrong)
}

/// What the store holds for a key in the end.
fn held(world: &World, key: usize) -> Option<Outcome> {
    let slot: Slot = world.slot(key);
    match &world.store.records.get(slot.as_bytes())?.phase {
        Phase::Completed { outcome: Stored::Response { status, body, .. }, .. } => {
            Some(Outcome::Response(*status, body.clone()))
        }
        Phase::Completed { outcome, .. } => Some(Outcome::Tombstone(outcome.status())),
        _ => None,
    }
}
