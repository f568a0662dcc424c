//! Compares a search with what is expected of it, to the step.

use crate::invariants::{INVARIANTS, Invariant, index};
use crate::search::{Report, Trace, explain, search};
use crate::variant::Variant;
use crate::world::World;

/// An invariant and the fewest steps that break it.
pub type Breach = (&'static str, usize);

/// Searches a variant to its end: these invariants break in so many steps, and all others hold.
pub fn check(variant: Variant, expected: &[Breach]) {
    let world = World::new(variant);
    let report = search(&world, None);
    let mut text = summary(&variant, &report);
    let mut breaches = Vec::new();
    for (invariant, trace) in INVARIANTS.iter().zip(&report.broken) {
        if let Some(trace) = trace {
            text += &breach(&world, invariant, trace);
            breaches.push((invariant.name, trace.len()));
        }
    }
    println!("{text}");
    assert_eq!(breaches, expected, "{}", variant.name);
}

/// Searches a variant with a seeded defect until this invariant breaks.
pub fn find(variant: Variant, expected: Breach) {
    let defect = variant.defect.expect("a defect is seeded");
    let world = World::new(variant);
    let (name, steps) = expected;
    let report = search(&world, Some(index(name)));
    let trace = report.broken[index(name)].as_ref();
    let trace = trace.unwrap_or_else(|| panic!("{defect:?} was not found by {name}"));
    let text = breach(&world, &INVARIANTS[index(name)], trace);
    println!("{defect:?} in {}:\n{text}", variant.name);
    assert_eq!(trace.len(), steps, "{defect:?} breaks {name}");
}

fn summary(variant: &Variant, report: &Report) -> String {
    format!(
        "{}, {} attempts: {} states, {} transitions, depth {}, {:.1?}\n",
        variant.name,
        variant.attempts,
        report.states,
        report.transitions,
        report.depth,
        report.time
    )
}

fn breach(world: &World, invariant: &Invariant, trace: &Trace) -> String {
    let Invariant { name, sentence, .. } = invariant;
    format!("{name} breaks ({sentence}):\n{}", explain(world, trace))
}
