//! How often each fault and each rare path occurred: a run in which one never did has shown nothing
//! about it.

use std::collections::BTreeMap;
use std::fmt;

/// What a run of many seeds must have met.
pub const REQUIRED: [&str; 57] = [
    "answers given by waiting",
    "answers unstored",
    "begins cancelled",
    "begins late",
    "begins repeated, mine",
    "broken bodies",
    "claims never started, released",
    "client partitions",
    "clients that went away",
    "clock jumps of servers",
    "clock jumps of the store",
    "completions fenced",
    "completions repeated",
    "connections refused",
    "crashes",
    "crashes with a handler running",
    "errors of handlers",
    "fail-overs",
    "handler-failed answers",
    "handlers past their lease",
    "handlers stopped at max_run",
    "hooks asked",
    "hooks: rerun",
    "hooks: response",
    "hooks: unknown",
    "in-progress answers",
    "key-reused answers",
    "late deliveries",
    "lost replies of the store",
    "lost requests to the store",
    "lost answers to clients",
    "lost requests of clients",
    "messages sent twice",
    "not executed",
    "outcome-unknown answers",
    "panics of handlers",
    "parked workers",
    "partitions from the store",
    "partitions to the store",
    "records re-asserted by complete",
    "records re-asserted by renew",
    "refusals when full",
    "releases of runs",
    "renewals fenced",
    "replays",
    "requests",
    "resolves",
    "restarts empty",
    "result-unavailable answers",
    "servers with a near cache",
    "stalls",
    "stalls past a lease",
    "store frozen",
    "store not ready",
    "take-overs",
    "too-many-in-flight answers",
    "too-many-waiters answers",
];

#[derive(Clone, Debug, Default)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub fn add(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// What never occurred.
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.into_iter().filter(|name| self.get(name) == 0).collect()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "{count:>12}  {name}"))
    }
}
