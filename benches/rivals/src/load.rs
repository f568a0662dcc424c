//! Many connections that ask one question after the other, from one thread.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::client::{Client, Question};

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
    ) -> Self {
        let load = Self { address, question, next: Cell::new(first), first, stored, marks };
        let mut client = Client::connect(address).await.expect("the server listens");
        let mut question = load.question.clone();
        for _ in 0..stored {
            let answer = client.ask(&mut question, load.fresh()).await.expect("an answer");
            assert_eq!(answer.status, 200);
        }
        load
    }

    fn fresh(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Runs so many connections for so long.
    pub(crate) async fn run(&self, keys: Keys, connections: usize, time: Duration) -> Outcome {
        let opened = (0..connections).map(|_| Client::connect(self.address));
        let clients: Vec<Client> =
            join_all(opened).await.into_iter().collect::<Result<_, _>>().expect("connections");
        let latencies = Histogram::new(3).expect("three digits are possible");
        let latencies = RefCell::new(latencies);
        let since = SystemClock.monotonic();
        let replays = Cell::new(0);
        let work = clients.into_iter().map(|client| async {
            let mut client = client;
            let mut question = self.question.clone();
            loop {
                let number = match keys {
                    Keys::Fresh => self.fresh(),
                    Keys::Replay => self.first + replays.replace(replays.get() + 1) % self.stored,
                };
                let sent = SystemClock.monotonic();
                let answer = client.ask(&mut question, number).await.expect("an answer");
                let received = SystemClock.monotonic();
                assert_eq!(answer.status, 200);
                assert_eq!(answer.replayed, self.marks && keys == Keys::Replay);
                let latency = u64::try_from((received - sent).as_nanos()).unwrap_or(u64::MAX);
                latencies.borrow_mut().record(latency).expect("it grows as needed");
                if received - since >= time {
                    return;
                }
            }
        });
        join_all(work).await;
        let elapsed = SystemClock.monotonic() - since;
        let latencies = latencies.into_inner();
        Outcome { requests: latencies.len(), elapsed, latencies }
    }
}
