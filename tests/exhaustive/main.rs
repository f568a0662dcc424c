//! Every state that a slot, its messages and a few attempts can reach, by the production `apply` and
//! the engine's rules. See the README.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]

mod defect;
mod engine;
mod invariants;
mod search;
mod state;
mod step;
mod store;
mod variant;
mod world;

use invariants::INVARIANTS;
use search::{explain, search};
use variant::{AT_LEAST_ONCE, AT_MOST_ONCE, Durable, Fault, Variant};
use world::World;

#[test]
fn probe() {
    let n: usize = std::env::var("N").map_or(2, |n| n.parse().unwrap());
    let all = [
        AT_MOST_ONCE,
        AT_MOST_ONCE.named("amo release").release(),
        AT_MOST_ONCE.named("amo timed").timed(),
        AT_MOST_ONCE.named("amo crash").with(Fault::Crash),
        AT_MOST_ONCE.named("amo hangup").with(Fault::HangUp),
        AT_MOST_ONCE.named("amo other").release().with(Fault::OtherBody),
        AT_MOST_ONCE.named("amo expiry").with(Fault::Expiry),
        AT_MOST_ONCE.named("amo expiry rel").release().with(Fault::Expiry),
        AT_MOST_ONCE.named("amo evict").with(Fault::Eviction),
        AT_MOST_ONCE.named("amo restart").with(Fault::Restart),
        AT_MOST_ONCE.named("amo fo all").with(Fault::FailOver(Durable::All)),
        AT_MOST_ONCE.named("amo fo begins").with(Fault::FailOver(Durable::Begins)),
        AT_MOST_ONCE.named("amo fo nothing").with(Fault::FailOver(Durable::Nothing)),
        AT_MOST_ONCE.named("amo back").release().with(Fault::ClockBack),
        AT_MOST_ONCE.named("amo hook").timed().with(Fault::Hook),
        AT_MOST_ONCE.named("amo hook rel").release().timed().with(Fault::Hook),
        AT_MOST_ONCE.named("amo hidden").release().with(Fault::HiddenCopies),
        AT_LEAST_ONCE,
        AT_LEAST_ONCE.named("alo release").release(),
        AT_LEAST_ONCE.named("alo timed").release().timed(),
        AT_LEAST_ONCE.named("alo crash").with(Fault::Crash),
        AT_LEAST_ONCE.named("alo evict").with(Fault::Eviction),
        AT_LEAST_ONCE.named("alo fo begins").with(Fault::FailOver(Durable::Begins)),
    ];
    let only = std::env::var("V").unwrap_or_default();
    for variant in all.into_iter().filter(|v| v.name.contains(&only)) {
        show(variant.of(n));
    }
}

fn show(variant: Variant) {
    let world = World::new(variant);
    let report = search(&world, None);
    println!(
        "{:16} N={} {:>9} states {:>9} transitions, depth {}, {:?}",
        variant.name, variant.attempts, report.states, report.transitions, report.depth, report.time
    );
    for (invariant, trace) in INVARIANTS.iter().zip(&report.broken) {
        if let Some(trace) = trace {
            println!("  {} ({}) in {} steps", invariant.name, invariant.sentence, trace.len());
            if std::env::var("T").is_ok() {
                println!("{}", explain(&world, trace));
            }
        }
    }
}
