//! What an answer says about an operation.

use bytes::Bytes;
use tower_idempotency::Rejection;

use super::history::{Answer, Ending, History};
use super::plan::Plan;

/// An answer for good, the same for everybody.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    Response(u16, Bytes),
    /// The operation was executed, and the response is not kept.
    Tombstone(u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Final(Outcome),
    /// The handler's answer, which may not be the answer for good.
    Unstored(Outcome),
    /// Nothing was executed, or it may be tried again.
    Freed,
    /// Not now.
    Temporary(&'static str),
    Unknown,
    /// The key was used for another request.
    Reused,
    /// An answer that must not be.
    Wrong(&'static str),
}

/// Where a response comes from, as its body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Run(usize),
    /// A hook, about this key.
    Hook(usize),
}

impl Source {
    pub fn of(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut words = text.split(' ');
        let kind = words.next()?;
        let number = words.next()?.parse().ok()?;
        match kind {
            "run" => Some(Self::Run(number)),
            "hook" => Some(Self::Hook(number)),
            _ => None,
        }
    }
}

impl Meaning {
    pub fn is_refused(&self, answer: &Answer) -> bool {
        matches!(self, Self::Final(Outcome::Tombstone(_)) if answer.rejection.is_some())
    }
}

pub fn meaning(history: &History, plan: &Plan, request: usize, answer: &Answer) -> Meaning {
    let kept = |outcome| {
        if answer.unstored { Meaning::Unstored(outcome) } else { Meaning::Final(outcome) }
    };
    let response = || Outcome::Response(answer.status, answer.body.clone());
    match &answer.rejection {
        None if answer.replayed => kept(response()),
        None => {
            let Some(Source::Run(run)) = Source::of(&answer.body) else {
                return Meaning::Wrong("a first answer that no run gave");
            };
            let Some(run) = history.runs.get(run) else { return Meaning::Wrong("of no run") };
            if run.request != request {
                return Meaning::Wrong("a first answer of another request's run");
            }
            let guarantee = plan.keys[run.key].route.guarantee;
            match run.end {
                Some((_, ending)) if ending.frees(guarantee) => Meaning::Freed,
                Some((_, Ending::Unkeepable(status))) => kept(Outcome::Tombstone(status)),
                Some(_) => kept(response()),
                None => Meaning::Wrong("an answer of a run that has not ended"),
            }
        }
        Some(Rejection::ResultUnavailable { original_status: Some(status), .. }) => {
            kept(Outcome::Tombstone(*status))
        }
        Some(Rejection::HandlerFailed { retryable: false }) => kept(response()),
        Some(Rejection::HandlerFailed { retryable: true }) => Meaning::Freed,
        Some(Rejection::KeyReused) => Meaning::Reused,
        Some(Rejection::OutcomeUnknown { .. }) => Meaning::Unknown,
        Some(
            rejection @ (Rejection::InProgress { .. }
            | Rejection::StoreUnavailable { .. }
            | Rejection::TooManyWaiters { .. }
            | Rejection::TooManyInFlight { .. }),
        ) => Meaning::Temporary(rejection.code()),
        Some(_) => Meaning::Wrong("a refusal without reason"),
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Response(status, body) => {
                let start = &body[..body.len().min(24)];
                write!(f, "{status} {:?}", String::from_utf8_lossy(start))
            }
            Self::Tombstone(status) => write!(f, "a tombstone of {status}"),
        }
    }
}
