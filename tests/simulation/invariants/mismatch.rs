//! A mismatch never runs: a key that was used for one request runs another only after the first was
//! freed, and a client gets no answer to another request than its own.

use crate::history::Run;
use crate::meaning::Source;
use crate::world::World;

use super::Violation;

const NAME: &str = "a mismatch never runs";

pub fn check(world: &World) -> Option<Violation> {
    let runs = &world.history.runs;
    for (number, run) in runs.iter().enumerate() {
        let guarantee = world.plan.keys[run.key].route.guarantee;
        let of_key = |(_, it): &(usize, &Run)| it.key == run.key && it.start < run.start;
        let before = runs.iter().enumerate().filter(of_key).max_by_key(|(_, it)| it.start);
        let Some((other, before)) = before else { continue };
        let freed = before.end.is_some_and(|(at, end)| at <= run.start && end.frees(guarantee));
        // One that had taken the key over and never ran gave it back.
        let taken_back = world.was_taken_back(run.key, before.start, run.start);
        if before.variant != run.variant && !freed && !taken_back {
            let text = format!("run {number} is of another request than run {other}");
            return Some(Violation::of(NAME, run.key, text));
        }
    }
    world.history.requests.iter().enumerate().find_map(|(number, request)| {
        let (_, answer) = request.answer.as_ref()?;
        let Some(Source::Run(run)) = Source::of(&answer.body) else { return None };
        let run = runs.get(run)?;
        (run.variant != request.variant).then(|| {
            let text = format!("request {number} was answered with another request's response");
            Violation::of(NAME, request.key, text)
        })
    })
}
