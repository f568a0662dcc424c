//! What must hold of every run, one file each. Each reads the ledger and what clients saw, and says
//! in one sentence what it found.

mod at_most_once;
mod attempts;
mod calm;
mod healing;
mod mismatch;
mod one_answer;
mod overlap;
mod stored;
mod tenants;

use super::plan::{Plan, Profile};
use super::simulation::Leftover;
use super::world::World;

/// What is wrong, and with which key.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: &'static str,
    pub key: Option<usize>,
    pub text: String,
}

impl Violation {
    fn of(invariant: &'static str, key: usize, text: String) -> Self {
        Self { invariant, key: Some(key), text }
    }
}

type Check = fn(&World) -> Option<Violation>;

/// Every invariant, and the profiles in which it is promised.
const CHECKS: [(Check, &[Profile]); 8] = {
    use Profile::{Emptied, LostWrites, Ordinary, StoreClock};
    [
        (one_answer::check, &[Ordinary, StoreClock]),
        (at_most_once::check, &[Ordinary, StoreClock, LostWrites]),
        (overlap::check, &[Ordinary]),
        (attempts::check, &[Ordinary]),
        (tenants::check, &[Ordinary, StoreClock, LostWrites, Emptied]),
        (stored::check, &[Ordinary, StoreClock]),
        (calm::check, &[Ordinary]),
        (mismatch::check, &[Ordinary, StoreClock, LostWrites]),
    ]
};

/// The first violation, if there is one.
pub fn check(world: &World, leftovers: &[Leftover]) -> Option<Violation> {
    let Plan { profile, .. } = world.plan;
    let promised = CHECKS.iter().filter(|(_, profiles)| profiles.contains(&profile));
    promised
        .into_iter()
        .find_map(|(check, _)| check(world))
        .or_else(|| healing::check(world, leftovers))
}
