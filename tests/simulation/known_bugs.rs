//! Every bug of `defects.rs` is found.

use crate::defects::Defect;
use crate::seed::{Verdict, run_seed};

/// How many seeds it may take.
const SEEDS: u64 = 10_000;

#[test]
fn bugs_that_stores_and_layers_have_had_are_found() {
    crate::quiet_panics();
    let mut missed = Vec::new();
    for defect in Defect::ALL {
        let found = (0..SEEDS).find_map(|seed| match run_seed(seed, defect, false) {
            Verdict::Holds(_) => None,
            Verdict::Fails(report) => Some((seed + 1, report)),
        });
        match found {
            Some((seeds, report)) => {
                let line = report.lines().find(|line| line.starts_with("violated"));
                println!("{defect:?}: {seeds} seeds; {}", line.unwrap_or_default());
            }
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}
