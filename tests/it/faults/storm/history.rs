//! What happened: what clients heard, and what the tables hold in the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tower_idempotency::protocol::{IdempotencyKey, KeySyntax, Slot};

use crate::support::answer::Answer;
use crate::support::postgres::PostgresServer;

/// What handlers write in, and what is promised then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the transaction of their outcome, as the policy of their route promises.
    Transactional,
    /// The same, where the policy promises nothing, at most once.
    TransactionalAtMostOnce,
    /// On their own.
    AtMostOnce,
    AtLeastOnce,
}

impl Mode {
    pub const fn is_transactional(self) -> bool {
        matches!(self, Self::Transactional | Self::TransactionalAtMostOnce)
    }

    /// The route of the reference server, without its last part.
    pub const fn path(self) -> &'static str {
        if self.is_transactional() { "/charges-in-transaction" } else { "/charges" }
    }

    pub const fn guarantee(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::TransactionalAtMostOnce | Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }
}

/// What an answer means to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The operation's own answer.
    Done,
    /// Nobody knows what became of it.
    Unknown,
    /// Ask again.
    Passing,
    /// Nobody may hear this.
    Wrong,
}

/// A request, and what came of it.
#[derive(Clone)]
pub struct Heard {
    pub key: String,
    pub sent: Duration,
    pub heard: Duration,
    /// Whether it was sent when the storm was over.
    pub after: bool,
    /// `None` where the connection broke, or the client hung up.
    pub answer: Option<Answer>,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, sent, heard, .. } = self;
        write!(f, "{key} from {sent:?} to {heard:?}: ")?;
        let Some(answer) = &self.answer else { return f.write_str("nothing") };
        let body = String::from_utf8_lossy(&answer.body);
        write!(f, "{} {body:?}, replayed {}", answer.status, answer.is_replay())
    }
}

impl Heard {
    pub fn meaning(&self, mode: Mode) -> Meaning {
        let Some(answer) = &self.answer else { return Meaning::Passing };
        let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        match (answer.status, body["code"].as_str()) {
            (201, None) => Meaning::Done,
            (422, None) if body["error"] == "refused" => Meaning::Done,
            // Nobody can know more, at most once, so that is stored.
            (500, _) if mode == Mode::AtMostOnce => Meaning::Done,
            (409, Some("outcome-unknown")) => Meaning::Unknown,
            (500, None | Some("handler-failed"))
            | (409, Some("in-progress"))
            | (503, Some("store-unavailable")) => Meaning::Passing,
            _ => Meaning::Wrong,
        }
    }

    pub fn is_unstored(&self) -> bool {
        let status = self.answer.as_ref().and_then(|answer| answer.header("idempotency-status"));
        status == Some("unstored")
    }

    pub fn is_replay(&self) -> bool {
        self.answer.as_ref().is_some_and(Answer::is_replay)
    }

    /// The row that it names.
    pub fn row(&self) -> Option<i64> {
        let answer = self.answer.as_ref().filter(|answer| answer.status == 201)?;
        serde_json::from_slice::<Value>(&answer.body).ok()?["row"].as_i64()
    }

    /// What has to be the same in all answers.
    pub fn content(&self) -> Option<(u16, &[u8])> {
        self.answer.as_ref().map(|answer| (answer.status, &answer.body[..]))
    }
}

/// What was asked for, and what the tables hold of it.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Whether the handler refuses it, after it has written.
    pub refused: bool,
    /// The numbers of its rows in the business table.
    pub rows: Vec<i64>,
    /// Whether its record is completed, if there is one.
    pub completed: Option<bool>,
}

/// All that the checker looks at.
#[derive(Clone, Debug)]
pub struct History {
    pub mode: Mode,
    pub heard: Vec<Heard>,
    pub entries: BTreeMap<String, Entry>,
    /// Records that are no key's.
    pub strange_records: usize,
}

/// Reads the tables.
pub fn fill_in(history: &mut History, postgres: &PostgresServer, route: &str) {
    for row in postgres.query("SELECT key, id FROM charges_storm ORDER BY id") {
        let entry = history.entries.entry(row.get(0)).or_default();
        entry.rows.push(row.get(1));
    }
    let records = postgres.query("SELECT slot, phase FROM idempotency_storm");
    let phases = records.iter().map(|row| (row.get::<_, Vec<u8>>(0), row.get::<_, i16>(1)));
    let mut phases: BTreeMap<_, _> = phases.collect();
    for (key, entry) in &mut history.entries {
        let key = IdempotencyKey::parse(key.as_bytes(), &KeySyntax::either()).expect("a key");
        let slot = Slot::derive(None, "default", "POST", Some(route), &key);
        entry.completed = phases.remove(&slot.as_bytes()[..]).map(|phase| phase == 2);
    }
    history.strange_records = phases.len();
}
