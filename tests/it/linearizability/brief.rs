//! Calls and answers in a line each, for whoever reads a history.

use std::fmt::{Display, Formatter, Result};

use tower_idempotency::protocol::{Attempt, Outcome, Phase, Record};

use super::history::{Asked, Got};

impl Display for Asked {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Begin(attempt) => {
                let Attempt { lease, retention, take_over, .. } = attempt;
                write!(f, "begin {}, {lease:?} of {retention:?}, {take_over:?}", name(attempt))
            }
            Self::Renew(attempt, grant) => write!(f, "renew {} by {grant:?}", name(attempt)),
            Self::Complete(attempt, grant, outcome) => {
                write!(f, "complete {} by {grant:?} with {}", name(attempt), tag(outcome))
            }
            Self::Release(attempt, ran, tombstone) => {
                write!(f, "release {}, ran: {ran:?}, {tombstone:?}", name(attempt))
            }
            Self::Resolve(_, fence, outcome, _) => {
                write!(f, "resolve {fence} with {}", tag(outcome))
            }
            Self::Look(_) => write!(f, "look"),
            Self::Watch(_, fence) => write!(f, "watch {fence}"),
        }
    }
}

impl Display for Got {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Reply(reply) => write!(f, "{reply:?}"),
            Self::Seen(seen) => {
                let record = seen.record.as_ref().map_or("nothing".into(), Self::record);
                write!(f, "{record} at {:?}", seen.now)
            }
            Self::Unknown => write!(f, "no answer"),
            Self::Nothing => write!(f, "no effect"),
        }
    }
}

impl Got {
    pub fn record(record: &Record) -> String {
        let Record { nonce, fence, attempt, phase, expires, .. } = record;
        let phase = match phase {
            Phase::InProgress { lease_until } => format!("in progress until {lease_until:?}"),
            Phase::Completed { at, outcome } => format!("{} of {at:?}", tag(outcome)),
            Phase::Released => "released".to_owned(),
        };
        format!("{nonce:?} no. {attempt}, fence {fence}, {phase}, expires {expires:?}")
    }
}

fn name(attempt: &Attempt) -> String {
    format!("{:?}/{:02x}", attempt.nonce, attempt.fingerprint.digest()[0])
}

/// Enough of an outcome to tell it from others.
fn tag(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Response { body, .. } => {
            format!("{:02x?} ({} bytes)", &body[..body.len().min(4)], body.len())
        }
        _ => "a tombstone".to_owned(),
    }
}
