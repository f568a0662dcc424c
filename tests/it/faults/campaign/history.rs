//! What happened: what clients asked and heard, what ran, and what was broken meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;
use tower_idempotency::Guarantee;
use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::support::answer::Answer;

/// Milliseconds since the Unix epoch, as the ledger has them.
pub fn now() -> u64 {
    u64::try_from(SystemClock.unix().as_millis()).expect("a time before the year 584 million")
}

/// A tenant's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub tenant: String,
    pub key: String,
}

/// A request, and what came of it.
#[derive(Clone)]
pub struct Request {
    pub name: Name,
    pub body: String,
    /// The client that repeats it until it is answered for good.
    pub client: usize,
    pub sent: u64,
    pub heard: u64,
    /// `None` where the connection broke, or the client hung up.
    pub answer: Option<Answer>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, body, client, sent, heard, answer } = self;
        write!(f, "client {client} for {name:?} with {body:?}, from {sent} to {heard}: ")?;
        let Some(answer) = answer else { return write!(f, "nothing") };
        write!(f, "{} {:?}", answer.status, String::from_utf8_lossy(&answer.body))
    }
}

/// What an answer means to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The operation's own answer.
    Done,
    /// Nobody knows what became of it.
    Unknown,
    /// The key is another request's.
    Reused,
    /// Ask again.
    Passing,
    /// Nothing that the layer may say here.
    Wrong,
}

impl Request {
    pub fn meaning(&self) -> Meaning {
        let Some(answer) = &self.answer else { return Meaning::Passing };
        match answer.status {
            200 => return Meaning::Done,
            409 | 422 | 503 => {}
            _ => return Meaning::Wrong,
        }
        let problem = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        match problem["code"].as_str() {
            Some("outcome-unknown") => Meaning::Unknown,
            Some("key-reused") => Meaning::Reused,
            Some("in-progress" | "store-unavailable" | "too-many-waiters") => Meaning::Passing,
            _ => Meaning::Wrong,
        }
    }

    /// Whether it is the operation's answer, and in the store.
    pub fn is_stored(&self) -> bool {
        let unstored = |answer: &Answer| answer.header("idempotency-status") == Some("unstored");
        self.meaning() == Meaning::Done && !self.answer.as_ref().is_some_and(unstored)
    }

    /// What has to be the same in all answers: everything but what tells a replay from a first answer.
    pub fn bytes(&self) -> Option<Answer> {
        let mut answer = self.answer.clone()?;
        let varies = ["date", "idempotent-replayed", "idempotency-status", "connection"];
        answer.headers.retain(|(name, _)| !varies.contains(&name.as_str()));
        answer.headers.sort();
        Some(answer)
    }
}

/// One run of the handler, as the ledger has it.
#[derive(Clone, Debug)]
pub struct Run {
    pub name: Name,
    pub body: String,
    pub attempt: u64,
    pub fence: u64,
    pub pid: u64,
    /// With the process, its name.
    pub execution: u64,
    pub start: u64,
    pub end: Option<u64>,
    /// Whether its claim was still known to be live when it ended.
    pub live: bool,
}

impl Run {
    /// The runs of a ledger, in the order of their lines.
    pub fn all_in(ledger: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(ledger).expect("the ledger");
        let mut runs: Vec<Self> = Vec::new();
        let mut places = BTreeMap::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let number = |name: &str| line[name].as_u64().expect("a number");
            let text = |name: &str| line[name].as_str().expect("a text").to_owned();
            let id = (number("pid"), number("execution"));
            if line["event"] == "end" {
                let run: &mut Self = &mut runs[places[&id]];
                run.end = Some(number("t"));
                run.live = line["live"] == true;
                continue;
            }
            places.insert(id, runs.len());
            runs.push(Self {
                name: Name { tenant: text("tenant"), key: text("key") },
                body: text("body"),
                attempt: number("attempt"),
                fence: number("fence"),
                pid: id.0,
                execution: id.1,
                start: number("t"),
                end: None,
                live: false,
            });
        }
        runs
    }
}

/// Whom a fault keeps from working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harmed {
    /// Whoever needs the store.
    All,
    Process(u64),
}

/// Something that was broken for a while.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: &'static str,
    pub harmed: Harmed,
    pub from: u64,
    pub to: u64,
}

/// All that the checker looks at.
#[derive(Clone, Debug)]
pub struct History {
    pub guarantee: Guarantee,
    pub lease: u64,
    /// The keys that are used for one request only have one body here.
    pub bodies: BTreeMap<Name, Vec<String>>,
    pub requests: Vec<Request>,
    pub runs: Vec<Run>,
    pub faults: Vec<Fault>,
    /// Whether the store may lose with a master what was stored and not waited for.
    pub loses_answers: bool,
}

impl History {
    /// The runs of each key, by the time of their start.
    pub fn runs_by_key(&self) -> BTreeMap<&Name, Vec<&Run>> {
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for run in &self.runs {
            keys.entry(&run.name).or_default().push(run);
        }
        keys.values_mut().for_each(|runs| runs.sort_by_key(|run| run.start));
        keys
    }

    /// The requests of each key, by the time when they were sent.
    pub fn requests_by_key(&self) -> BTreeMap<&Name, Vec<&Request>> {
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for request in &self.requests {
            keys.entry(&request.name).or_default().push(request);
        }
        keys.values_mut().for_each(|requests| requests.sort_by_key(|request| request.sent));
        keys
    }
}
