//! One answer per key: all clients that are answered for good get the same answer, and it is the one
//! that a run or a hook gave.

use tower_idempotency::Guarantee;
use tower_idempotency::protocol::{Phase, Slot};

use crate::history::{Answer, Ending, Run};
use crate::meaning::{Meaning, Outcome, Source, meaning};
use crate::plan::Profile;
use crate::world::World;

use super::Violation;

const NAME: &str = "one answer per key";

pub fn check(world: &World) -> Option<Violation> {
    let mut answers: Vec<Option<(usize, Outcome)>> = vec![None; world.plan.keys.len()];
    for (number, request) in world.history.requests.iter().enumerate() {
        let Some((_, answer)) = &request.answer else { continue };
        let key = request.key;
        let of = |text| Some(Violation::of(NAME, key, text));
        match meaning(&world.history, &world.plan, number, answer) {
            Meaning::Wrong(why) => return of(format!("request {number}: {why}: {answer:?}")),
            Meaning::Final(outcome) => {
                if !was_given(world, key, &outcome) {
                    return of(format!("request {number}: nobody gave {outcome:?}"));
                }
                match &answers[key] {
                    Some((earlier, first)) if *first != outcome => {
                        return of(format!(
                            "request {earlier} was answered {first:?}, request {number} {outcome:?}"
                        ));
                    }
                    Some(_) => {}
                    None => answers[key] = Some((number, outcome)),
                }
            }
            Meaning::Unstored(_) => {
                if let Some(text) = overtaken(world, number, answer) {
                    return of(text);
                }
            }
            _ => {}
        }
    }
    None
}

/// An answer that is not stored yet is given only while nobody else can give another one: the lease is
/// live, or the outcome there. (When the store's clock jumps, a server cannot know.)
fn overtaken(world: &World, request: usize, answer: &Answer) -> Option<String> {
    let own = world.history.runs.iter().find(|run| run.request == request)?;
    let route = &world.plan.keys[own.key].route;
    if route.guarantee == Guarantee::AtMostOnce && !route.hook
        || world.plan.profile != Profile::Ordinary
    {
        return None;
    }
    let mut slots = world.slots.iter().filter(|(_, key)| **key == own.key);
    let held = slots.any(|(slot, _)| {
        let record = world.store.before(answer.sent, Slot::from_bytes(*slot));
        record.is_some_and(|record| {
            let unlapsed = match record.phase {
                Phase::InProgress { lease_until } => {
                    world.store.clock.at(answer.sent) < lease_until
                }
                Phase::Completed { .. } => true,
                Phase::Released => false,
            };
            unlapsed && record.fence.number() == own.fence
        })
    });
    (!held).then(|| format!("request {request} was answered without being stored, too late"))
}

/// Whether the ledger has a run of this key that ended so.
fn was_given(world: &World, key: usize, outcome: &Outcome) -> bool {
    let guarantee = world.plan.keys[key].route.guarantee;
    let mut runs = world.history.runs.iter().filter(|run| run.key == key);
    let kept = |run: &Run| run.end.filter(|(_, ending)| !ending.frees(guarantee));
    match outcome {
        Outcome::Tombstone(status) => {
            runs.any(|run| kept(run).is_some_and(|(_, end)| end == Ending::Unkeepable(*status)))
        }
        Outcome::Response(status, body) => match Source::of(body) {
            Some(Source::Hook(of)) => of == key && *status == 200,
            Some(Source::Run(run)) => {
                let run = world.history.runs.get(run).filter(|run| run.key == key);
                run.and_then(kept).is_some_and(|(_, ending)| match ending {
                    Ending::Done(own) | Ending::Ambiguous(own) => own == *status,
                    _ => false,
                })
            }
            // The problem document of a handler that gave no response.
            None => runs.any(|run| {
                kept(run).is_some_and(|(_, ending)| {
                    let silent =
                        [Ending::Panicked, Ending::Failed, Ending::Broken, Ending::Stopped];
                    *status == 500 && silent.contains(&ending)
                })
            }),
        },
    }
}
