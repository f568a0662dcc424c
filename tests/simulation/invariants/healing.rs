//! Everything heals once faults stop: every key is answered for good within a lease and one attempt,
//! no claim is left to an attempt that will not run, and no work, task or place is left over.

use tower_idempotency::protocol::{Phase, Record};

use crate::meaning::{Meaning, meaning};
use crate::plan::{ANSWERED, FAULTS_END, MAX_RUN, Profile, ROOMS};
use crate::simulation::Leftover;
use crate::world::{Sender, World};

use super::Violation;

const NAME: &str = "everything heals once faults stop";

pub fn check(world: &World, leftovers: &[Leftover]) -> Option<Violation> {
    if let Some(left) = leftovers.iter().find(|left| left.work + left.tasks > 0) {
        return Some(Violation { invariant: NAME, key: None, text: format!("left: {left:?}") });
    }
    // When the store's clock is set back, leases last longer by as much, and so does all this.
    if world.plan.profile == Profile::StoreClock {
        return None;
    }
    unanswered(world).or_else(|| crowded_out(world)).or_else(|| orphan(world))
}

/// A key whose probe was not answered for good in time.
fn unanswered(world: &World) -> Option<Violation> {
    world.clients.iter().enumerate().filter(|(_, client)| client.probe).find_map(
        |(number, client)| {
            let mut requests = world.history.requests.iter().enumerate();
            let answered = requests.any(|(request, log)| {
                log.client == number
                    && log.answer.as_ref().is_some_and(|(at, answer)| {
                        let limit = if log.sent >= ROOMS { u64::MAX } else { ANSWERED };
                        let meaning = meaning(&world.history, &world.plan, request, answer);
                        let good = matches!(
                            meaning,
                            Meaning::Final(_) | Meaning::Unknown | Meaning::Reused
                        );
                        *at <= limit && good
                    })
            });
            (!answered)
                .then(|| Violation::of(NAME, client.key, "its probe was not answered".into()))
        },
    )
}

/// A request that found no place to run or to wait, although there must be one.
fn crowded_out(world: &World) -> Option<Violation> {
    world.history.requests.iter().enumerate().filter(|(_, log)| log.sent >= ROOMS).find_map(
        |(number, log)| {
            let (_, answer) = log.answer.as_ref()?;
            let rejection = answer.rejection.as_ref()?;
            let text = format!("request {number} was refused: {}", rejection.code());
            matches!(rejection.code(), "too-many-in-flight" | "too-many-waiters")
                .then(|| Violation::of(NAME, log.key, text))
        },
    )
}

/// A running claim whose process neither died nor gave up because the store was away for too long.
fn orphan(world: &World) -> Option<Violation> {
    // A claim that was restored by a fail-over, or came under another clock, is nobody's fault.
    if world.plan.profile != Profile::Ordinary {
        return None;
    }
    world.store.records.values().find_map(|record| {
        let sender = world.attempts.get(record.nonce.as_bytes())?;
        let there = world.store.clock.at(world.now) < record.expires;
        let running = there && matches!(record.phase, Phase::InProgress { .. });
        let alive = world.servers[sender.server] == (sender.incarnation, true);
        if !running || !alive || gave_up(world, record, *sender) {
            return None;
        }
        let text = format!("the claim of attempt {} is left, of a living server", sender.name);
        Some(Violation { invariant: NAME, key: sender.key, text })
    })
}

/// Whether the outcome of this claim was there so early that storing it was given up.
fn gave_up(world: &World, record: &Record, sender: Sender) -> bool {
    world.history.runs.iter().any(|run| {
        Some(run.key) == sender.key
            && run.fence == record.fence.number()
            && run.end.is_some_and(|(at, _)| at + MAX_RUN < FAULTS_END)
    })
}
