//! Calls that take effect when nobody waits for them any more.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Outcome, Ran, Slot, Timestamp, Verb,
};

/// So long after it was given up, a call arrives.
const UNDER_WAY: Duration = Duration::from_millis(70);

#[derive(Debug)]
pub struct Late {
    pub slot: Slot,
    due: Timestamp,
    call: Call,
}

#[derive(Debug)]
enum Call {
    Begin(Attempt),
    Renew(Claim),
    Release(Attempt, Ran, Duration),
    Resolve(FenceToken, Outcome, Duration),
}

impl Late {
    /// A call that is sent now; only an outcome may arrive at any time.
    pub fn new(slot: Slot, verb: &Verb<'_>, now: Timestamp) -> Option<Self> {
        let call = match verb {
            Verb::Begin(attempt) => Call::Begin((*attempt).clone()),
            Verb::Renew(claim) => Call::Renew(claim.attempt().clone().claim(claim.grant())),
            Verb::Complete(..) => return None,
            Verb::Release { attempt, ran, tombstone } => {
                Call::Release((*attempt).clone(), *ran, *tombstone)
            }
            Verb::Resolve { fence, outcome, retention } => {
                Call::Resolve(*fence, (*outcome).clone(), *retention)
            }
        };
        Some(Self { slot, due: now.after(UNDER_WAY), call })
    }

    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now
    }

    pub fn verb(&self) -> Verb<'_> {
        match &self.call {
            Call::Begin(attempt) => Verb::Begin(attempt),
            Call::Renew(claim) => Verb::Renew(claim),
            Call::Release(attempt, ran, tombstone) => {
                Verb::Release { attempt, ran: *ran, tombstone: *tombstone }
            }
            Call::Resolve(fence, outcome, retention) => {
                Verb::Resolve { fence: *fence, outcome, retention: *retention }
            }
        }
    }
}
