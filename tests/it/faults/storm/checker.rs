//! Judges what happened by what was promised.

use std::collections::BTreeMap;

use super::history::{Entry, Heard, History, Meaning, Mode};

/// A promise that was broken.
#[derive(Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

pub const ONE_ANSWER: &str = "no key has two answers";
pub const FINAL: &str = "after an answer that is stored, nobody hears that it is unknown";
pub const SETTLES: &str = "every client is answered for good, after the storm by the record";
pub const ROW_EXISTS: &str = "a row that an answer names is there";
pub const ONE_ROW: &str =
    "in a transaction, an answered charge has one row, and nothing else has one";
pub const NEVER_UNKNOWN: &str = "where the policy promises a transaction, nothing is unknown";
pub const NEVER_UNSTORED: &str = "in a transaction, nothing is sent before it is stored";
pub const AT_MOST_ONE_ROW: &str = "at most once, a key has one row at most";
pub const AT_LEAST_ONE_ROW: &str = "at least once, a key that is answered has a row";
pub const ONE_OUTCOME: &str = "a key that is answered has one record, which is completed";
pub const STRANGE: &str = "nobody hears what the layer may not say, and no record is nobody's";

pub fn check(history: &History) -> Vec<Violation> {
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    for heard in &history.heard {
        by_key.entry(heard.key.as_str()).or_default().push(heard);
    }
    let mut violations = Vec::new();
    for (key, entry) in &history.entries {
        let heard = by_key.remove(key.as_str()).unwrap_or_default();
        let key = Key { mode: history.mode, entry, heard };
        for (rule, kept) in key.rules() {
            if !kept {
                let rows = &entry.rows;
                let what = format!("{key:?}: rows {rows:?}, completed {:?}", entry.completed);
                violations.push(Violation { rule, what });
            }
        }
    }
    if history.strange_records > 0 {
        let what = format!("{} records", history.strange_records);
        violations.push(Violation { rule: STRANGE, what });
    }
    violations
}

/// One key, what was heard of it, in the order of the answers, and what is left of it.
#[derive(Debug)]
struct Key<'a> {
    mode: Mode,
    entry: &'a Entry,
    heard: Vec<&'a Heard>,
}

impl Key<'_> {
    fn rules(&self) -> [(&'static str, bool); 11] {
        let (mode, rows) = (self.mode, self.entry.rows.len());
        let transactional = mode.is_transactional();
        let answered = self.stored().next().is_some();
        let named = || self.done().filter_map(Heard::row);
        let mut unstored = self.done().filter(|heard| heard.is_unstored());
        let unknown = self.with(Meaning::Unknown).next().is_some();
        [
            (ONE_ANSWER, self.has_one_answer()),
            (FINAL, self.is_final()),
            (SETTLES, self.is_settled()),
            (ROW_EXISTS, named().all(|row| self.entry.rows.contains(&row))),
            (ONE_ROW, !transactional || rows == usize::from(answered && !self.entry.refused)),
            (NEVER_UNKNOWN, mode != Mode::Transactional || !unknown),
            (NEVER_UNSTORED, !transactional || unstored.next().is_none()),
            (AT_MOST_ONE_ROW, mode != Mode::AtMostOnce || rows <= 1),
            (AT_LEAST_ONE_ROW, mode != Mode::AtLeastOnce || !answered || rows >= 1),
            (ONE_OUTCOME, !answered || self.entry.completed == Some(true)),
            (STRANGE, self.with(Meaning::Wrong).next().is_none()),
        ]
    }

    fn with(&self, meaning: Meaning) -> impl Iterator<Item = &Heard> {
        self.heard.iter().copied().filter(move |heard| heard.meaning(self.mode) == meaning)
    }

    fn done(&self) -> impl Iterator<Item = &Heard> {
        self.with(Meaning::Done)
    }

    fn stored(&self) -> impl Iterator<Item = &Heard> {
        self.done().filter(|heard| !heard.is_unstored())
    }

    /// What was sent unstored because the store was gone may be forgotten, at least once.
    fn has_one_answer(&self) -> bool {
        let counts = |heard: &&Heard| self.mode != Mode::AtLeastOnce || !heard.is_unstored();
        let mut answers = self.done().filter(counts).map(Heard::content);
        let Some(first) = answers.next() else { return true };
        answers.all(|answer| answer == first)
    }

    fn is_final(&self) -> bool {
        let Some(first) = self.stored().map(|heard| heard.heard).min() else { return true };
        self.with(Meaning::Unknown).all(|heard| heard.sent <= first)
    }

    /// A key that was unknown may be run after the storm: its worker may have given it back meanwhile.
    fn is_settled(&self) -> bool {
        let known = self.stored().any(|heard| !heard.after);
        let mut after = self.heard.iter().filter(|heard| heard.after).peekable();
        let settled = |heard: &&Heard| match heard.meaning(self.mode) {
            Meaning::Done => heard.is_replay() || !known,
            Meaning::Unknown => true,
            Meaning::Passing | Meaning::Wrong => false,
        };
        after.peek().is_some() && after.all(settled)
    }
}
