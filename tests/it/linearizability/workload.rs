//! Makes histories and has them checked, until the time is over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tower_idempotency::protocol::{Found, Reply, Slot};
use tower_idempotency::store::Store;

use super::checker::{self, Event, Violation};
use super::clients::{Client, Style};
use super::history::{Asked, Call, Got, Recorder, WITHIN, now};
use super::proxy::Proxy;
use super::span::{Span, micros};
use super::spec::Precision;

/// How long the histories of one store take, where nothing else is asked for.
const SECONDS: u64 = 3;

/// How many histories are made at once: most of their time is spent waiting.
const BATCH: usize = 4;

/// How far a server's clock may drift from this machine's within one history, in microseconds: as
/// much as the wall clock is slewed.
const DRIFT: u64 = 1000;

pub const MEMORY: Precision =
    Precision { drift: 0, expiry: 0, stored: 0, ages: 0, younger: 0, looks: true, stays: false };

/// Redis expires by the millisecond, and is told by its caller when an outcome was stored. How old that
/// is the caller tells by what it knows of Redis's clock, which may be older by as much as a reply took.
pub const REDIS: Precision = Precision {
    drift: DRIFT,
    expiry: 3000,
    stored: 2_000_000,
    younger: 1_000_000,
    looks: false,
    ..MEMORY
};

/// PostgreSQL commits a while after it has read its clock.
pub const POSTGRES: Precision = Precision { drift: DRIFT, stays: true, ..MEMORY };

impl Precision {
    /// The same behind a near cache, which counts the age of an outcome from before it asked.
    pub const fn near(self) -> Self {
        Self { ages: 250_000, ..self }
    }
}

/// The ways to one store, of which each client takes one.
#[derive(Debug)]
pub struct Stores<S> {
    ways: Vec<Arc<S>>,
    /// What breaks the connections of the first of them, one each.
    proxies: Vec<Proxy>,
}

impl<S: Store> Stores<S> {
    pub fn one(store: S) -> Self {
        Self::new([store])
    }

    pub fn new(stores: impl IntoIterator<Item = S>) -> Self {
        Self { ways: stores.into_iter().map(Arc::new).collect(), proxies: vec![] }
    }

    pub fn behind(self, proxies: Vec<Proxy>) -> Self {
        Self { proxies, ..self }
    }

    /// The same with something around each way.
    pub fn map<T: Store>(self, around: impl Fn(S) -> T) -> Stores<T> {
        let inner = |store| Arc::into_inner(store).expect("nobody else has it");
        Stores::new(self.ways.into_iter().map(|store| around(inner(store))))
    }
}

/// How often things were seen that make a history worth looking at.
#[derive(Debug, Default)]
struct Seen {
    histories: usize,
    calls: usize,
    started: usize,
    reclaimed: usize,
    mine: usize,
    cancelled: usize,
    completed: usize,
    fenced: usize,
    busy: usize,
    unknown_outcome: usize,
    unanswered: usize,
    /// Calls that may have been sent twice.
    copies: usize,
    /// Histories that nobody searches to the end.
    endless: usize,
}

/// Histories on fresh stores until the time is over.
pub async fn histories<S: Store>(precision: Precision, stores: impl Fn(u64) -> Stores<S>) {
    let seconds = std::env::var("LINEARIZABILITY_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let first = std::env::var("LINEARIZABILITY_SEED").ok();
    let first: u64 = first.map_or_else(rand::random, |text| text.parse().expect("a seed"));
    let mut seen = Seen::default();
    // The first one may have to start a server.
    let mut until = u64::MAX;
    while now() < until {
        let batch = (0..BATCH).map(|number| {
            let seed = first.wrapping_add((seen.histories + number) as u64);
            let stores = stores(seed);
            async move { (seed, history(&stores, seed, style(seed)).await) }
        });
        for (seed, history) in futures_util::future::join_all(batch).await {
            seen.count(&history);
            match history.check(precision) {
                Ok(()) => {}
                Err(Violation::Endless) => seen.endless += 1,
                Err(Violation::NoOrder(text)) => panic!("LINEARIZABILITY_SEED={seed}: {text}"),
            }
        }
        until = until.min(now() + seconds * 1_000_000);
    }
    eprintln!("from seed {first}: {seen:?}");
    seen.assert_all();
    let faults = stores(first).proxies.is_empty() || seen.unanswered > 0 && seen.copies > 0;
    assert!(faults, "nothing was lost: {seen:?}");
}

/// How the history of this seed is made.
pub fn style(seed: u64) -> Style {
    let mut random = StdRng::seed_from_u64(seed);
    Style {
        pause: [100, 2000, 6000][random.random_range(0..3)],
        leases: (2, 20),
        retention: [50, 10_000][random.random_range(0..2)],
    }
}

/// Everything that was called on the slots of one history.
pub struct History {
    pub calls: Vec<Call>,
    /// What to add to this machine's clock for the store's, within bounds.
    offset: (i128, i128),
    /// When connections were broken, for each way to the store.
    broken: Vec<Vec<u64>>,
}

pub async fn history<S: Store>(stores: &Stores<S>, seed: u64, style: Style) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let offset = offset(&**stores.ways.last().expect("a store"), random.random()).await;
    let slots: Vec<_> = (0..3).map(|_| Slot::from_bytes(random.random())).collect();
    let calls = Arc::new(Mutex::new(vec![]));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let store = Arc::clone(&stores.ways[client % stores.ways.len()]);
            let client = Client {
                store: Recorder { client, store, calls: Arc::clone(&calls) },
                impatient: !stores.proxies.is_empty(),
                slots: slots.clone(),
                style,
                random: StdRng::seed_from_u64(random.random()),
                mine: vec![],
                seen: vec![],
            };
            tokio::spawn(client.run(20))
        })
        .collect();
    for client in clients {
        client.await.expect("a client does not panic");
    }
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    let broken = stores.proxies.iter().map(Proxy::broken);
    let broken = broken.chain(std::iter::repeat(vec![])).take(stores.ways.len()).collect();
    History { calls, offset, broken }
}

/// How much the store's clock is ahead of this machine's, at least and at most.
async fn offset<S: Store>(store: &S, slot: [u8; 32]) -> (i128, i128) {
    let (mut least, mut most) = (i128::MIN, i128::MAX);
    for _ in 0..20 {
        let before = now();
        let seen = store.look(Slot::from_bytes(slot), 20 * WITHIN).await;
        let after = now();
        let there = i128::from(seen.expect("the store answers").now.as_micros());
        least = least.max(there - i128::from(after));
        most = most.min(there - i128::from(before));
    }
    // The clocks are read by the microsecond.
    (least - 1, most + 1)
}

impl History {
    pub fn check(&self, precision: Precision) -> Result<(), Violation> {
        let mut slots: Vec<_> = self.calls.iter().map(|call| call.asked.slot()).collect();
        slots.sort_unstable_by_key(|slot| *slot.as_bytes());
        slots.dedup();
        slots.into_iter().try_for_each(|slot| {
            let calls = self.calls.iter().filter(|call| call.asked.slot() == slot);
            let copies = calls.clone().filter_map(|call| self.copy(call));
            let calls: Vec<_> = calls.cloned().chain(copies).collect();
            checker::check(
                calls.iter().map(|call| self.event(call, precision)).collect(),
                precision,
            )
        })
    }

    /// The same call as it may have been sent before, on a connection that broke.
    fn copy(&self, call: &Call) -> Option<Call> {
        let again = matches!(call.got, Got::Reply(_) | Got::Unknown) && !call.asked.reads();
        let broke = |at: &u64| (call.called.saturating_sub(5000)..=call.returned).contains(at);
        let copied = again && self.broken[call.client % self.broken.len()].iter().any(broke);
        copied.then(|| Call { got: Got::Unknown, ..call.clone() })
    }

    fn event(&self, call: &Call, precision: Precision) -> Event {
        let Call { client, asked, mut got, called, returned } = call.clone();
        if let Got::Reply(Reply::Found(Found::Completed { age, .. })) = &mut got {
            // The near cache counts by the nanosecond.
            *age = Duration::from_micros(micros(*age));
        }
        let there = |here: u64, offset: i128| {
            u64::try_from(i128::from(here) + offset).expect("after the epoch")
        };
        let mut ends = there(returned, self.offset.1) + precision.drift;
        if got == Got::Unknown {
            ends = ends.max(there(called + micros(WITHIN), self.offset.1) + precision.drift);
        }
        let from = there(called, self.offset.0) - precision.drift;
        Event { client, asked, got, called, returned, window: Span { from, to: ends } }
    }
}

impl Seen {
    fn count(&mut self, history: &History) {
        self.histories += 1;
        self.calls += history.calls.len();
        self.copies += history.calls.iter().filter_map(|call| history.copy(call)).count();
        for Call { asked, got, .. } in &history.calls {
            match (asked, got) {
                (_, Got::Reply(Reply::Started(_))) => self.started += 1,
                (_, Got::Reply(Reply::Reclaimed(_))) => self.reclaimed += 1,
                (_, Got::Reply(Reply::Mine(_))) => self.mine += 1,
                (_, Got::Reply(Reply::Cancelled)) => self.cancelled += 1,
                (_, Got::Reply(Reply::Fenced(_))) => self.fenced += 1,
                (_, Got::Reply(Reply::Found(Found::Busy { .. }))) => self.busy += 1,
                (_, Got::Reply(Reply::Found(Found::Unknown { .. }))) => self.unknown_outcome += 1,
                (Asked::Complete(..), Got::Reply(Reply::Applied)) => self.completed += 1,
                (_, Got::Unknown) => self.unanswered += 1,
                _ => {}
            }
        }
    }

    /// A run in which one of these never happened has shown too little.
    fn assert_all(&self) {
        let counts = [
            self.started,
            self.reclaimed,
            self.mine,
            self.cancelled,
            self.completed,
            self.fenced,
            self.busy,
            self.unknown_outcome,
        ];
        // One is no sign of anything, however few there were.
        assert!(self.endless * 20 <= self.histories.max(20), "too many are undecided: {self:?}");
        assert!(counts.iter().all(|count| *count > 0), "something was never seen: {self:?}");
    }
}
