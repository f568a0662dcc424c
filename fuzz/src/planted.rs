//! Defects that are planted at run time, in what a target judges: `FUZZ_DEFECT` names one. They show
//! that the target finds it; `scripts/fuzz-planted` plants all, one at a time.

use std::sync::OnceLock;

use tower_idempotency::protocol::{
    self, Found, Grant, Operation, Phase, Record, Reply, Timestamp, Verb,
};

/// Whether this defect is planted.
pub fn is(defect: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var("FUZZ_DEFECT").ok());
    planted.as_deref() == Some(defect)
}

/// [`protocol::apply`], or what is wrong with it.
pub fn apply(
    found: Option<Record>,
    operation: &Operation<'_>,
    now: Timestamp,
) -> (Option<Record>, Reply) {
    let before = found.as_ref().map(|record| record.attempt);
    let (mut next, reply) = protocol::apply(found, operation, now);
    match (&mut next, &reply, &operation.verb) {
        (Some(record), Reply::Fenced(Found::Busy { .. }), Verb::Complete(_, outcome))
            if is("no-fence-on-complete") =>
        {
            record.phase = Phase::Completed { at: now, outcome: (*outcome).clone() };
            (next, Reply::Applied)
        }
        (Some(record), Reply::Reclaimed(grant), _) if is("attempts-stand-still") => {
            let number = before.unwrap_or(1);
            record.attempt = number;
            let grant = Grant { number, ..*grant };
            (next, Reply::Reclaimed(grant))
        }
        _ => (next, reply),
    }
}
