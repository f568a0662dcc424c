//! One step of the model, and how it is printed.

use std::fmt;

use crate::state::{OutcomeId, Phase, State};
use crate::store::{Answer, Call, Called};
use crate::transaction::Deed;

/// What happens in one step. The number is that of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Arrive(usize),
    ArriveOdd(usize),
    Repeat(usize),
    Deadline(usize),
    /// A copy of a call reaches the store; its answer is lost.
    Reach(usize),
    /// A copy of a call reaches the store, and the attempt gets the answer.
    Answered(usize),
    Lose(usize, &'static str),
    GiveUp(usize),
    Start(usize),
    Confirm(usize),
    Effect(usize),
    Finish(usize),
    NotExecuted(usize),
    Ambiguous(usize),
    Renew(usize),
    Release(usize),
    Unstored(usize),
    HookUnknown(usize),
    HookOutcome(usize),
    HookRerun(usize),
    HangUp(usize),
    Crash(usize),
    LocalEnd(usize),
    Lapse,
    Expire,
    Purge,
    Evict,
    Restart,
    Replicate,
    FailOver,
    ClockBack,
    Joint(usize, Deed),
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub action: Action,
    pub after: State,
    pub called: Option<Called>,
    /// A client is told this outcome.
    pub told: Option<(usize, OutcomeId)>,
    /// Whether a fenced resource accepted the effect, and whether it was its turn.
    pub effect: Option<(bool, bool)>,
}

impl Step {
    pub const fn new(action: Action, after: State) -> Self {
        Self { action, after, called: None, told: None, effect: None }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Named(self.action))?;
        if let Some(called) = &self.called {
            write!(f, ": {} of {}: {:?}", verb(called.call), letter(called.by), called.answer)?;
        }
        if let Some((by, outcome)) = self.told {
            write!(f, "; the client of {} is told outcome {outcome}", letter(by))?;
        }
        if let Some(slot) = self.after.slot {
            let owner = letter(slot.owner.into());
            let phase = match slot.phase {
                Phase::Live => "live claim".to_owned(),
                Phase::Lapsed => "lapsed claim".to_owned(),
                Phase::Completed(outcome) => format!("outcome {outcome}"),
                Phase::Released => "tombstone".to_owned(),
            };
            let expired = if slot.expired { ", expired" } else { "" };
            write!(f, "  [{phase} of {owner}, token {}, no. {}{expired}]", slot.token, slot.number)
        } else {
            f.write_str("  [nothing]")
        }
    }
}

struct Named(Action);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, what) = match self.0 {
            Action::Arrive(i) => (i, "arrives and sends begin"),
            Action::ArriveOdd(i) => (i, "arrives with another body and sends begin"),
            Action::Repeat(i) => (i, "has no answer and sends begin again"),
            Action::Deadline(i) => (i, "has its deadline of begin pass"),
            Action::Reach(i) => (i, "has a call arrive, and its answer lost"),
            Action::Answered(i) => (i, "has a call answered"),
            Action::Lose(i, call) => return write!(f, "{} loses its {call}", letter(i)),
            Action::GiveUp(i) => (i, "gives up waiting for the store"),
            Action::Start(i) => (i, "starts its handler"),
            Action::Confirm(i) => (i, "sends renew before it starts"),
            Action::Effect(i) => (i, "has its effect"),
            Action::Finish(i) => (i, "has its answer and sends complete"),
            Action::NotExecuted(i) => (i, "has executed nothing"),
            Action::Ambiguous(i) => (i, "fails, and nobody knows with what effect"),
            Action::Renew(i) => (i, "sends renew"),
            Action::Release(i) => (i, "sends release"),
            Action::Unstored(i) => (i, "answers before its outcome is stored"),
            Action::HookUnknown(i) => (i, "is told by the hook that nobody knows"),
            Action::HookOutcome(i) => (i, "is told an outcome by the hook"),
            Action::HookRerun(i) => (i, "is told by the hook to run"),
            Action::HangUp(i) => (i, "loses its client"),
            Action::Crash(i) => (i, "crashes"),
            Action::LocalEnd(i) => (i, "no longer counts its claim as live"),
            Action::Lapse => return f.write_str("the lease lapses"),
            Action::Expire => return f.write_str("the record expires"),
            Action::Purge => return f.write_str("the record is purged"),
            Action::Evict => return f.write_str("the store drops the record"),
            Action::Restart => return f.write_str("the store restarts empty"),
            Action::Replicate => return f.write_str("the replica catches up"),
            Action::FailOver => return f.write_str("the replica takes over"),
            Action::ClockBack => return f.write_str("the store's clock is set back"),
            Action::Joint(i, deed) => (i, deed.text()),
        };
        write!(f, "{} {what}", letter(who))
    }
}

const fn verb(call: Call) -> &'static str {
    match call {
        Call::Begin => "begin",
        Call::Renew => "renew",
        Call::Complete => "complete",
        Call::Release => "release",
        Call::Resolve(_) => "resolve",
    }
}

fn letter(attempt: usize) -> char {
    ['A', 'B', 'C', 'D'].get(attempt).copied().unwrap_or('?')
}

impl Answer {
    /// The claim, where one was granted.
    pub const fn grant(self) -> Option<(u8, u8)> {
        match self {
            Self::New { token, number } | Self::Mine { token, number } => Some((token, number)),
            _ => None,
        }
    }
}
