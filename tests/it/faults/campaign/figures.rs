//! What a campaign has seen, to be printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::chaos::{Damage, STANDSTILL};
use super::checker::{all_settle, forgotten, one_answer};
use super::history::{History, Meaning};
use super::workload::Scene;
use crate::support::answer::Answer;

#[derive(Debug)]
pub struct Figures {
    pub keys: usize,
    pub requests: usize,
    pub replays: usize,
    /// By kind, those that had an effect.
    pub faults: BTreeMap<&'static str, usize>,
    pub hung_up: usize,
    pub runs: usize,
    pub second_runs: usize,
    pub different_answers: usize,
    pub unsettled: usize,
    /// Requests that were told otherwise after an answer was stored.
    pub forgotten: usize,
    /// Keys whose last answer is that nobody knows.
    pub unknown: usize,
    pub unstored: usize,
    pub refused_as_another: usize,
    /// How often the machine did not go on for half a second.
    pub standstills: usize,
    /// How long after the last fault the last client was answered.
    pub settled: Duration,
}

impl Figures {
    pub fn of(history: &History, damage: &Damage, scene: &Scene, settled: Duration) -> Self {
        let requests = history.requests_by_key();
        let count = |meaning| {
            history.requests.iter().filter(|request| request.meaning() == meaning).count()
        };
        let done = history.requests.iter().filter(|request| request.meaning() == Meaning::Done);
        let replays =
            done.clone().filter(|request| request.answer.as_ref().is_some_and(Answer::is_replay));
        let known: BTreeSet<_> = done.clone().map(|request| &request.name).collect();
        let runs = history.runs_by_key();
        Self {
            keys: requests.len(),
            requests: history.requests.len(),
            replays: replays.count(),
            faults: damage.effects.lock().unwrap().clone(),
            hung_up: scene.hung_up.load(Ordering::SeqCst),
            runs: history.runs.len(),
            second_runs: runs.values().map(|runs| runs.len() - 1).sum(),
            different_answers: one_answer(history).len(),
            unsettled: all_settle(history).len(),
            forgotten: forgotten(history).len(),
            unknown: requests.keys().filter(|name| !known.contains(**name)).count(),
            unstored: done.filter(|request| !request.is_stored()).count(),
            refused_as_another: count(Meaning::Reused),
            standstills: history.faults.iter().filter(|fault| fault.kind == STANDSTILL).count(),
            settled,
        }
    }

    pub fn unknown_share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share of some thousand keys")]
        let share = self.unknown as f64 / self.keys.max(1) as f64;
        share
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.faults.values().sum();
        writeln!(f, "  keys {}, requests {}, replays {}", self.keys, self.requests, self.replays)?;
        writeln!(f, "  runs {}, second runs {}", self.runs, self.second_runs)?;
        writeln!(
            f,
            "  different answers {}, unsettled {}, forgotten {}, unknown {} ({:.1} %), sent unstored {}",
            self.different_answers,
            self.unsettled,
            self.forgotten,
            self.unknown,
            self.unknown_share() * 100.0,
            self.unstored
        )?;
        writeln!(f, "  refused as another request {}", self.refused_as_another)?;
        writeln!(
            f,
            "  clients that hung up {}, settled {:?} after the last fault, machine stood still {}",
            self.hung_up, self.settled, self.standstills
        )?;
        write!(f, "  faults {faults}:")?;
        for (kind, count) in &self.faults {
            write!(f, " {kind} {count},")?;
        }
        Ok(())
    }
}
