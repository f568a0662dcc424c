//! Many connections that ask one question after the other, from one thread.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, try_join, try_join_all};
use hdrhistogram::Histogram;
use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::check::{Refusal, refusal};
use crate::client::{Client, Question};
use crate::pace::Pace;

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Fresh,
    /// Those that have been stored before, in turn.
    Replay,
}

impl Keys {
    pub(crate) const BOTH: [Self; 2] = [Self::Fresh, Self::Replay];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Replay => "replay",
        }
    }
}

/// One server under load.
pub(crate) struct Load {
    address: SocketAddr,
    question: Question,
    /// Fresh keys go on from here.
    next: Cell<u64>,
    first: u64,
    /// So many, from the first, are stored.
    stored: u64,
    /// Whether the server marks replays.
    marks: bool,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Load {
    /// Stores the keys that will be replayed: so many, beginning with this number.
    pub(crate) async fn prepare(
        address: SocketAddr,
        question: Question,
        first: u64,
        stored: u64,
        marks: bool,
    ) -> Result<Self, Refusal> {
        let load = Self { address, question, next: Cell::new(first), first, stored, marks };
        let mut client = Client::connect(address).await.map_err(refusal)?;
        let mut question = load.question.clone();
        for _ in 0..stored {
            load.ask(&mut client, &mut question, load.fresh(), Keys::Fresh).await?;
        }
        Ok(load)
    }

    fn fresh(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Asks one question, whose answer has to be the right one.
    async fn ask(
        &self,
        client: &mut Client,
        question: &mut Question,
        number: u64,
        keys: Keys,
    ) -> Result<(), Refusal> {
        let answer = client.ask(question, number).await.map_err(refusal)?;
        if answer.status != 200 || answer.replayed != (self.marks && keys == Keys::Replay) {
            return Err(format!("status {}, marked: {}", answer.status, answer.replayed));
        }
        Ok(())
    }

    /// So many connections.
    async fn connected(&self, connections: usize) -> Result<Vec<Client>, Refusal> {
        let opened = (0..connections).map(|_| Client::connect(self.address));
        let clients = join_all(opened).await.into_iter().collect::<Result<_, _>>();
        clients.map_err(refusal)
    }

    /// Runs so many connections for so long, each of which asks one question after the other.
    pub(crate) async fn run(
        &self,
        keys: Keys,
        connections: usize,
        time: Duration,
    ) -> Result<Outcome, Refusal> {
        let clients = self.connected(connections).await?;
        let since = SystemClock.monotonic();
        let begun = Cell::new(0);
        let due = async || {
            let now = SystemClock.monotonic();
            // Each asks at least once, however short the time.
            let first = begun.replace(begun.get() + 1) < connections;
            (first || now - since < time).then_some(now)
        };
        self.ask_when_due(keys, clients, due).await
    }

    /// Runs so many requests a second for so long, over so many connections. Their latency counts from
    /// when they are due, even where no connection is free then.
    pub(crate) async fn run_at(
        &self,
        per_second: f64,
        keys: Keys,
        connections: usize,
        time: Duration,
    ) -> Result<Outcome, Refusal> {
        let clients = self.connected(connections).await?;
        let pace = Pace::new(per_second, time).map_err(refusal)?;
        let pacing = async { pace.run(connections).await.map_err(refusal) };
        let asking = self.ask_when_due(keys, clients, async || pace.next().await);
        Ok(try_join(asking, pacing).await?.0)
    }

    /// Has each connection ask whenever a question is due, until none is any more.
    async fn ask_when_due(
        &self,
        keys: Keys,
        clients: Vec<Client>,
        due: impl AsyncFn() -> Option<Duration>,
    ) -> Result<Outcome, Refusal> {
        let latencies = Histogram::new(3).expect("three digits are possible");
        let latencies = RefCell::new(latencies);
        let since = SystemClock.monotonic();
        let replays = Cell::new(0);
        let work = clients.into_iter().map(|client| async {
            let mut client = client;
            let mut question = self.question.clone();
            while let Some(due) = due().await {
                let number = match keys {
                    Keys::Fresh => self.fresh(),
                    Keys::Replay => self.first + replays.replace(replays.get() + 1) % self.stored,
                };
                self.ask(&mut client, &mut question, number, keys).await?;
                let latency = SystemClock.monotonic().saturating_sub(due);
                let latency = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
                latencies.borrow_mut().record(latency).expect("it grows as needed");
            }
            Ok::<_, Refusal>(())
        });
        try_join_all(work).await?;
        let elapsed = SystemClock.monotonic() - since;
        let latencies = latencies.into_inner();
        Ok(Outcome { requests: latencies.len(), elapsed, latencies })
    }
}
