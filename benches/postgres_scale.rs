//! What the PostgreSQL store does with many live records: how fast claims, answers and replays are,
//! also while it purges; what they write; and whether the table stays as large as it is.
//!
//! ```text
//! cargo bench --all-features --bench postgres_scale -- --rows 10000000
//! ```
//!
//! A private PostgreSQL on this machine, which waits for its disk and vacuums by itself, as it does by
//! default. The first records are made by the server itself, all others by the store.

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "the tests need all of it"
)]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::protocol::{
    Attempt, Fields, Fingerprint, Found, Nonce, Outcome, Reply, Scheme, Slot, TakeOver,
};
use tower_idempotency::store::{PostgresStore, Store as _};

use crate::support::postgres::{PostgresServer, Version};

const CLIENTS: [u64; 2] = [1, 16];
const WITHIN: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the records of a day's turnover are kept.
const SHORT: Duration = Duration::from_secs(5);
/// Of so many records that the server makes, one has expired.
const ONE_EXPIRED_IN: u64 = 11;

const SETTINGS: [&str; 4] =
    ["fsync=on", "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=on"];

const HEADING: &str = "
                                   clients a second     begin p50, p99  complete p50, p99 WAL bytes";

#[derive(Parser)]
struct Arguments {
    /// Live records at the start.
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// How long each line is measured.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Keys of a day, a tenth of the rows otherwise.
    #[arg(long)]
    day: Option<u64>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let time = Duration::from_secs(arguments.seconds);
    let bench = Arc::new(Bench::start(arguments.rows).await);
    println!("{}\n{}", bench.text("SELECT version()"), SETTINGS.join(", "));
    bench.fill().await;
    println!("{HEADING}");
    for clients in CLIENTS {
        bench.load("new keys", Fresh(WEEK), clients, sleep(time)).await;
        bench.load("replay", Replay, clients, sleep(time)).await;
    }
    bench.set("SET full_page_writes = off");
    bench.load("new keys, no full pages in the WAL", Fresh(WEEK), 16, sleep(time)).await;
    bench.set("RESET full_page_writes");
    for (number, clients) in CLIENTS.into_iter().enumerate() {
        if number > 0 {
            bench.expire_again();
        }
        let walks = purge_for(&bench, time);
        bench.load("new keys, during purges", Fresh(WEEK), clients, walks).await;
    }
    let day = arguments.day.unwrap_or(arguments.rows / 10);
    for number in 1..=5 {
        bench.day(number, day).await;
    }
}

#[derive(Clone, Copy)]
enum Work {
    /// Claims a new key and completes it, to be kept so long.
    Fresh(Duration),
    /// Claims a key that is completed.
    Replay,
}

use Work::{Fresh, Replay};

struct Bench {
    postgres: PostgresServer,
    store: PostgresStore,
    rows: u64,
    outcome: Outcome,
    /// The number of the next request, of whatever work.
    next: AtomicU64,
}

/// How long one client's calls took.
#[derive(Default)]
struct Sample {
    begins: Vec<Duration>,
    completes: Vec<Duration>,
}

impl Bench {
    async fn start(rows: u64) -> Self {
        let postgres = PostgresServer::start(Version::Packaged, &SETTINGS);
        let store = PostgresStore::connect(&postgres.url()).expect("a valid address");
        let store = store.connections(NonZeroU32::new(16).expect("some"));
        store.migrate().await.expect("the table is made");
        let headers: Fields = [("content-type", "application/json")].into_iter().collect();
        let body = Bytes::from(vec![b'x'; 194]);
        let outcome = Outcome::Response { status: 201, headers, body, trailers: Fields::none() };
        Self { postgres, store, rows, outcome, next: AtomicU64::new(0) }
    }

    /// Makes the first records, all like one that the store has completed.
    async fn fill(&self) {
        self.request(Fresh(WEEK), &mut Sample::default()).await;
        let all = self.rows + self.rows / (ONE_EXPIRED_IN - 1);
        self.insert("live", "1", all);
        self.query("CHECKPOINT");
        self.query("VACUUM ANALYZE idempotency_records");
        println!("{}", self.size());
    }

    /// As many expired records once more, where the purged ones were.
    fn expire_again(&self) {
        self.query("VACUUM idempotency_records");
        self.insert("expired", &ONE_EXPIRED_IN.to_string(), self.rows / 10 * ONE_EXPIRED_IN);
        self.query("CHECKPOINT");
    }

    /// The records of each `step`th number.
    fn insert(&self, kind: &str, step: &str, last: u64) {
        let columns = "moment, fence, attempt, phase, waited, nonce, fingerprint, form, outcome";
        self.query(&format!(
            "INSERT INTO idempotency_records (slot, expires, {columns})
             SELECT sha256(('{kind} ' || n)::bytea),
                 CASE WHEN n % {ONE_EXPIRED_IN} = 0 THEN 1 ELSE expires END, {columns}
             FROM generate_series({step}, {last}, {step}) AS n,
                 (SELECT * FROM idempotency_records WHERE phase = 2 AND expires > 1 LIMIT 1) AS one"
        ));
    }

    /// One request, as the engine would make its calls.
    async fn request(&self, work: Work, sample: &mut Sample) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (name, retention) = match work {
            Fresh(retention) => (format!("new {number}"), retention),
            Replay => (format!("live {}", self.some_live(number)), WEEK),
        };
        let attempt = Attempt {
            slot: Slot::from_bytes(Sha256::digest(name).into()),
            fingerprint: Fingerprint::new(Scheme::raw(), [7; 32]),
            nonce: Nonce::from_bytes(u128::from(number + 1).to_be_bytes()),
            lease: WITHIN,
            retention,
            take_over: TakeOver::Never,
            transactional: false,
        };
        let begun = SystemClock.monotonic();
        let reply = self.store.begin(&attempt, WITHIN).await.expect("the store answers");
        sample.begins.push(SystemClock.monotonic() - begun);
        match (work, reply) {
            (Fresh(_), Reply::Started(grant)) => {
                let claim = attempt.claim(grant);
                let begun = SystemClock.monotonic();
                let reply = self.store.complete(&claim, &self.outcome, WITHIN).await;
                sample.completes.push(SystemClock.monotonic() - begun);
                assert_eq!(reply.expect("the store answers"), Reply::Applied);
            }
            (Replay, Reply::Found(Found::Completed { .. })) => {}
            (_, other) => panic!("{other:?}"),
        }
    }

    /// The number of a live record, far from that of the request before.
    fn some_live(&self, number: u64) -> u64 {
        let some = number.wrapping_mul(2_654_435_761) % self.rows;
        some + u64::from(some.is_multiple_of(ONE_EXPIRED_IN))
    }

    /// Requests by so many clients until something is over, and a line about them.
    async fn load(self: &Arc<Self>, name: &str, work: Work, clients: u64, until: impl Future) {
        let over = Arc::new(AtomicBool::new(false));
        let (wal, since) = (self.wal(), SystemClock.monotonic());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (bench, over) = (self.clone(), over.clone());
            tasks.spawn(async move {
                let mut sample = Sample::default();
                while !over.load(Ordering::Relaxed) {
                    bench.request(work, &mut sample).await;
                }
                sample
            });
        }
        until.await;
        over.store(true, Ordering::Relaxed);
        let mut all = Sample::default();
        for sample in tasks.join_all().await {
            all.begins.extend(sample.begins);
            all.completes.extend(sample.completes);
        }
        let (took, wal) = (SystemClock.monotonic() - since, self.wal() - wal);
        let rate = all.begins.len() as f64 / took.as_secs_f64();
        let wal = wal / all.begins.len() as f64;
        let [begins, completes] = [all.begins, all.completes].map(quantiles);
        println!("{name:<38} {clients:>2} {rate:>8.0} {begins:>18} {completes:>18} {wal:>9.0}");
    }

    /// So many keys that expire soon, a purge and a vacuum.
    async fn day(self: &Arc<Self>, number: u32, keys: u64) {
        let last = self.next.load(Ordering::Relaxed) + keys;
        let written = async {
            while self.next.load(Ordering::Relaxed) < last {
                sleep(Duration::from_millis(1)).await;
            }
        };
        self.load(&format!("day {number}, {keys} new keys"), Fresh(SHORT), 16, written).await;
        sleep(SHORT).await;
        let purged = self.store.purge().await.expect("purged");
        self.query("VACUUM idempotency_records");
        println!("  {purged} purged, vacuumed; {}", self.size());
    }

    /// How large everything is.
    fn size(&self) -> String {
        self.text(
            "SELECT format('%s records, table %s MB, %s bytes each, index %s MB, %s bytes each',
                 count, t / 1000000, t / count, i / 1000000, i / count)
             FROM (SELECT count(*) FROM idempotency_records) AS records,
                 pg_table_size('idempotency_records') AS t,
                 pg_indexes_size('idempotency_records') AS i",
        )
    }

    /// How many bytes were ever written ahead.
    fn wal(&self) -> f64 {
        self.postgres.query("SELECT (pg_current_wal_insert_lsn() - '0/0')::float8")[0].get(0)
    }

    fn text(&self, select: &str) -> String {
        self.postgres.query(select)[0].get(0)
    }

    /// Changes a setting for everybody.
    fn set(&self, change: &str) {
        self.query(&format!("ALTER SYSTEM {change}"));
        self.query("SELECT pg_reload_conf()");
    }

    fn query(&self, text: &str) {
        self.postgres.query(text);
    }
}

/// Purges again and again for so long, and at least once.
async fn purge_for(bench: &Bench, time: Duration) {
    let since = SystemClock.monotonic();
    for walk in 1.. {
        let begun = SystemClock.monotonic();
        let purged = bench.store.purge().await.expect("purged");
        let took = SystemClock.monotonic() - begun;
        if walk <= 2 {
            let rate = purged as f64 / took.as_secs_f64();
            println!("  purge {walk} took {took:.1?} for {purged} records, {rate:.0}/s");
        }
        if SystemClock.monotonic() - since >= time {
            return;
        }
    }
}

fn quantiles(mut values: Vec<Duration>) -> String {
    values.sort_unstable();
    let at = |percent: usize| values.get(values.len().saturating_sub(1) * percent / 100);
    let [Some(half), Some(most)] = [50, 99].map(at) else { return "-".to_owned() };
    format!("{half:.1?}, {most:.1?}")
}
