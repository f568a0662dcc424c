//! Runs do not overlap under a live lease: a run that is told that its claim is live is the only one
//! with a claim, and a run starts only when the one before has ended or is told that it is not live.

use crate::world::World;

use super::Violation;

const NAME: &str = "no overlap under a live lease";

pub fn check(world: &World) -> Option<Violation> {
    if let Some(lie) = world.history.lies.first() {
        let text = format!("run {} was told at {} that its claim is live", lie.run, lie.at);
        return Some(Violation::of(NAME, lie.key, text));
    }
    let runs = &world.history.runs;
    for (number, run) in runs.iter().enumerate() {
        for (other, later) in runs.iter().enumerate() {
            if other == number || later.key != run.key || later.start < run.start {
                continue;
            }
            if run.live_at.is_some_and(|at| at > later.start) {
                let text = format!("run {number} was live while run {other} ran: {later:?}");
                return Some(Violation::of(NAME, run.key, text));
            }
            if later.start > run.start && later.fence <= run.fence {
                let text = format!("run {other} has a fence no larger than run {number}'s");
                return Some(Violation::of(NAME, run.key, text));
            }
        }
    }
    None
}
