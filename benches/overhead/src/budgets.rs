//! What the layer may add to a request. `scripts/test` fails when it adds more.

use overhead::{Cost, Workload};

/// How much more or less than its budget something may cost: another compiler, or a change somewhere
/// else, moves the counts by as much.
const MARGIN: f64 = 0.02;
/// And how many instructions at least: some differ for a request that the layer does not touch, by the
/// folder in which it is built.
const LEAST_MARGIN: f64 = 30.0;

/// What the layer may add to one kind of request.
pub(crate) struct Budget {
    pub(crate) workload: Workload,
    /// Without those of the hash.
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
}

/// Goals: 300 and none where the layer does not apply, 6000 for a fresh request.
pub(crate) const ALL: [Budget; 7] = [
    budget(Workload::NotApplied, 300.0, 0.0),
    budget(Workload::NoKey, 2_027.0, 4.0),
    budget(Workload::Fresh, 15_360.0, 17.0),
    budget(Workload::Replay, 5_840.0, 2.0),
    budget(Workload::Mismatch, 18_770.0, 24.0),
    budget(Workload::Large(64 * 1024), 80_740.0, 19.0),
    budget(Workload::Large(1024 * 1024), 1_064_000.0, 20.0),
];

const fn budget(workload: Workload, instructions: f64, allocations: f64) -> Budget {
    Budget { workload, instructions, allocations }
}

/// How a cost compares with its budget, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Judgement {
    Kept,
    Generous,
    Exceeded,
}

impl Judgement {
    pub(crate) const fn remark(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Generous => "can be lowered",
            Self::Exceeded => "EXCEEDED",
        }
    }
}

impl Budget {
    /// Whether it is among these names, or there are none.
    pub(crate) fn is_one_of(&self, names: &[&str]) -> bool {
        names.is_empty() || names.contains(&self.workload.name())
    }

    pub(crate) fn judge(&self, added: Cost) -> Judgement {
        // A map that grows allocates once in a while.
        let allocations = added.allocations.round();
        let margin = (self.instructions * MARGIN).max(LEAST_MARGIN);
        if added.instructions > self.instructions + margin || allocations > self.allocations {
            Judgement::Exceeded
        } else if added.instructions < self.instructions - margin || allocations < self.allocations
        {
            Judgement::Generous
        } else {
            Judgement::Kept
        }
    }
}
