//! What a storm has seen, to be printed.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::history::{History, Meaning};

/// What was broken, and how often.
#[derive(Debug, Default)]
pub struct Damage {
    pub kills: usize,
    /// Servers that were frozen for a while.
    pub frozen: usize,
    pub terminated: usize,
    pub lost_commits: usize,
    pub lost_acknowledgements: usize,
    pub lost_others: usize,
    pub late_calls: usize,
    pub cuts: usize,
}

#[derive(Debug)]
pub struct Figures {
    pub damage: Damage,
    pub time: Duration,
    pub keys: usize,
    pub refused: usize,
    pub requests: usize,
    /// What clients heard of the operations' own answers, and how much of that twice.
    pub answers: usize,
    pub replays: usize,
    pub unstored: usize,
    /// Keys whose answer is that they failed, which at most once is stored.
    pub failed: usize,
    /// Keys of which nobody knows what became of them.
    pub unknown: usize,
    pub rows: usize,
    pub second_rows: usize,
    /// Keys with an answer that is neither a failure nor unknown.
    pub settled: usize,
}

impl Figures {
    pub fn of(history: &History, damage: Damage, time: Duration) -> Self {
        let mode = history.mode;
        let done = history.heard.iter().filter(|heard| heard.meaning(mode) == Meaning::Done);
        let failed = done.clone().filter(|heard| heard.content().is_some_and(|(it, _)| it == 500));
        let known: BTreeSet<_> = done.clone().map(|heard| &heard.key).collect();
        let failed: BTreeSet<_> = failed.map(|heard| &heard.key).collect();
        let unknown = history.heard.iter().filter(|heard| heard.meaning(mode) == Meaning::Unknown);
        let unknown: BTreeSet<_> = unknown.map(|heard| &heard.key).collect();
        let rows = history.entries.values().map(|entry| entry.rows.len());
        Self {
            damage,
            time,
            keys: history.entries.len(),
            refused: history.entries.values().filter(|entry| entry.refused).count(),
            requests: history.heard.len(),
            answers: done.clone().count(),
            replays: done.clone().filter(|heard| heard.is_replay()).count(),
            unstored: done.filter(|heard| heard.is_unstored()).count(),
            failed: failed.len(),
            unknown: unknown.difference(&known).count(),
            rows: rows.clone().sum(),
            second_rows: rows.map(|rows| rows.saturating_sub(1)).sum(),
            settled: known.difference(&failed).count(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { damage, keys, refused, requests, answers, replays, .. } = self;
        let Damage { kills, frozen, terminated, late_calls, cuts, .. } = damage;
        let Damage { lost_commits, lost_acknowledgements, lost_others, .. } = damage;
        writeln!(
            f,
            "  {:?}, servers killed {kills}, frozen {frozen}, backends terminated {terminated}",
            self.time
        )?;
        writeln!(
            f,
            "  commits lost {lost_commits}, acknowledgements of commits {lost_acknowledgements}, \
             other replies {lost_others}, late calls {late_calls}, times that all connections of a \
             server broke {cuts}"
        )?;
        writeln!(f, "  keys {keys}, of which to be refused {refused}; requests {requests}")?;
        writeln!(f, "  answers {answers}, replays {replays}, unstored {}", self.unstored)?;
        writeln!(
            f,
            "  keys charged or refused {}, failed {}, unknown {}",
            self.settled, self.failed, self.unknown
        )?;
        write!(f, "  rows {}, second rows {}", self.rows, self.second_rows)
    }
}
