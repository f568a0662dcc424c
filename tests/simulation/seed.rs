//! One seed: run, judged, run again and compared.

use crate::counters::Counters;
use crate::defects::Defect;
use crate::invariants;
use crate::many_seeds::setting;
use crate::plan::Plan;
use crate::simulation::Simulation;

pub enum Verdict {
    Holds(Counters),
    Fails(String),
}

/// Runs a seed, twice if it is to be compared with itself.
pub fn run_seed(seed: u64, defect: Defect, twice: bool) -> Verdict {
    let (world, leftovers) = Simulation::run(Plan::of(seed, defect));
    let lines = setting("LINES").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(80);
    if let Some(violation) = invariants::check(&world, &leftovers) {
        let trace = world.trace.tail(violation.key, lines);
        return Verdict::Fails(format!(
            "{}\n{:?}\n{trace}\nviolated: {}: {}\nprofile {:?}, {} servers\n\
             SEED={seed} cargo test --profile proof -p proof --test simulation one_seed -- \
             --nocapture",
            violation.key.map_or_else(String::new, |key| format!("{:?}", world.plan.keys[key])),
            defect,
            violation.invariant,
            violation.text,
            world.plan.profile,
            world.plan.servers,
        ));
    }
    if twice {
        let (again, _) = Simulation::run(Plan::of(seed, defect));
        if again.trace.hash() != world.trace.hash() {
            return Verdict::Fails(difference(
                seed,
                &world.trace.tail(None, usize::MAX),
                &again.trace.tail(None, usize::MAX),
            ));
        }
    }
    Verdict::Holds(world.counters)
}

fn difference(seed: u64, first: &str, second: &str) -> String {
    let differ = first.lines().zip(second.lines()).find(|(one, other)| one != other);
    format!("seed {seed} runs in two ways, first here: {differ:?}")
}

/// For measuring how many seeds it takes to find a bug that was put into `src/`.
#[test]
fn seeds_until_one_fails() {
    let Some(seeds) = setting("SEEDS") else { return };
    crate::quiet_panics();
    for seed in 0..seeds {
        if let Verdict::Fails(report) = run_seed(seed, Defect::None, false) {
            panic!("{report}\n{} seeds", seed + 1);
        }
    }
    println!("{seeds} seeds hold");
}

#[test]
fn one_seed() {
    let Some(seed) = setting("SEED") else { return };
    crate::quiet_panics();
    match run_seed(seed, Defect::None, true) {
        Verdict::Holds(counters) => println!("seed {seed} holds\n{counters}"),
        Verdict::Fails(report) => panic!("{report}"),
    }
}
