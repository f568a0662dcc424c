//! The number of an attempt is exact enough to be relied on: it is larger than the number of earlier runs
//! that did not end with the word that nothing was executed.

use crate::history::{Ending, Run};
use crate::world::World;

use super::Violation;

pub fn check(world: &World) -> Option<Violation> {
    let runs = &world.history.runs;
    runs.iter().enumerate().find_map(|(number, run)| {
        let may_have_run = |it: &&Run| {
            it.key == run.key
                && (it.start, it.fence) < (run.start, run.fence)
                && !matches!(it.end, Some((_, Ending::NotExecuted(_))))
        };
        let earlier = runs.iter().filter(may_have_run).count();
        let text = format!("run {number} is attempt {}, after {earlier} others", run.attempt);
        let violation = Violation::of("honest attempt numbers", run.key, text);
        (usize::try_from(run.attempt).is_ok_and(|attempt| attempt <= earlier)).then_some(violation)
    })
}
