//! Runs do not overlap under a live lease: a run that is told that its claim is live is the only one
//! with a claim, and a run starts only when the one before has ended or is told that it is not live.

use crate::history::Run;
use crate::world::World;

use super::Violation;

const NAME: &str = "no overlap under a live lease";

pub fn check(world: &World) -> Option<Violation> {
    if let Some(lie) = world.history.lies.first() {
        let text = format!("run {} was told at {} that its claim is live", lie.run, lie.at);
        return Some(Violation::of(NAME, lie.key, text));
    }
    let runs = &world.history.runs;
    // A process that stood still can bring its claim back after another took over, freed the key, and
    // was forgotten. Then its run is live once more, and its fence is the older one.
    let brought_back = |run: &Run| world.history.brought_back.contains(&(run.key, run.fence));
    for (number, run) in runs.iter().enumerate() {
        for (other, later) in runs.iter().enumerate() {
            if other == number || later.key != run.key || later.start < run.start {
                continue;
            }
            if run.live_at.is_some_and(|at| at > later.start) && !brought_back(run) {
                let text = format!("run {number} was live while run {other} ran: {later:?}");
                return Some(Violation::of(NAME, run.key, text));
            }
            if later.start > run.start && later.fence <= run.fence && !brought_back(later) {
                let text = format!("run {other} has a fence no larger than run {number}'s");
                return Some(Violation::of(NAME, run.key, text));
            }
        }
    }
    None
}
