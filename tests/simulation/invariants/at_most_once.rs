//! At most once: a key's handler runs again only if its last run said that nothing was executed, or
//! a hook said of that very run that it may.

use tower_idempotency::Guarantee;

use crate::history::{Ending, Run};
use crate::world::World;

use super::Violation;

pub fn check(world: &World) -> Option<Violation> {
    let runs = &world.history.runs;
    for (number, run) in runs.iter().enumerate() {
        if world.plan.keys[run.key].route.guarantee != Guarantee::AtMostOnce {
            continue;
        }
        let of_key = |(other, it): &(usize, &Run)| *other != number && it.key == run.key;
        for (other, earlier) in runs.iter().enumerate().filter(of_key) {
            let before = (earlier.start, other) < (run.start, number);
            if before && !may_run_after(world, earlier, run) {
                let text = format!("run {number} ran although run {other} had: {earlier:?}");
                return Some(Violation::of("at most once", run.key, text));
            }
        }
    }
    None
}

fn may_run_after(world: &World, earlier: &Run, run: &Run) -> bool {
    let freed = matches!(earlier.end, Some((at, Ending::NotExecuted(_))) if at <= run.start);
    freed
        || world.history.asked.iter().any(|asked| {
            asked.rerun
                && (asked.key, asked.fence) == (run.key, earlier.fence)
                && asked.at <= run.start
        })
}
