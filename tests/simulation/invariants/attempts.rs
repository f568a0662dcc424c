//! The number of an attempt is honest: a run that takes over from one that never ended is not told
//! that it is the first.

use crate::history::Run;
use crate::world::World;

use super::Violation;

pub fn check(world: &World) -> Option<Violation> {
    let runs = &world.history.runs;
    runs.iter().enumerate().filter(|(_, run)| run.attempt == 1).find_map(|(number, run)| {
        let of_key = |it: &&Run| it.key == run.key && it.start < run.start;
        let before = runs.iter().filter(of_key).max_by_key(|it| it.start)?;
        let ended = before.end.is_some_and(|(at, _)| at <= run.start);
        let text = format!("run {number} was told that it is the first, after {before:?}");
        let violation = Violation::of("honest attempt numbers", run.key, text);
        (!ended && !world.was_taken_back(run.key, before.start, run.start)).then_some(violation)
    })
}
