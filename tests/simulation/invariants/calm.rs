//! Without faults nothing is refused for the store's sake, and runs do not overlap at all: leases are
//! renewed for as long as handlers run.

use tower_idempotency::Rejection;

use crate::world::World;

use super::Violation;

const NAME: &str = "all is well without faults";

pub fn check(world: &World) -> Option<Violation> {
    if !world.plan.is_calm() {
        return None;
    }
    let refused = world.history.requests.iter().enumerate().find_map(|(number, request)| {
        let (_, answer) = request.answer.as_ref()?;
        let in_vain = matches!(
            answer.rejection,
            Some(Rejection::OutcomeUnknown { .. } | Rejection::StoreUnavailable { .. })
        );
        let text = format!("request {number}: {answer:?}");
        (in_vain || answer.unstored).then(|| Violation::of(NAME, request.key, text))
    });
    refused.or_else(|| {
        let runs = &world.history.runs;
        runs.iter().enumerate().find_map(|(number, run)| {
            let end = run.end.map_or(u64::MAX, |(at, _)| at);
            let overlaps = |it: &&crate::history::Run| {
                it.key == run.key && it.start > run.start && it.start < end
            };
            let later = runs.iter().find(overlaps)?;
            let text = format!("run {number} still ran: {run:?}; {later:?}");
            Some(Violation::of(NAME, run.key, text))
        })
    })
}
