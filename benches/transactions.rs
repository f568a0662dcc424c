//! What it costs to claim and to store, beside a handler that writes one row; and what the handler's
//! transaction costs when the layer ends it, beside one that the handler ends itself.
//!
//! ```text
//! cargo bench --all-features --bench transactions
//! ```
//!
//! A private PostgreSQL on this machine, which waits for its disk as it does by default. Everything is in
//! this process: no sockets but those to PostgreSQL.

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
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::routing::post;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;
use tower_idempotency::{Guarantee, IdempotencyLayer, IdempotentTx, Policy, PostgresStore, Tenant};

use crate::support::postgres::{PostgresServer, Version};

const ROUNDS: usize = 11;
/// How long each is measured in a round.
const TIME: Duration = Duration::from_millis(500);
const MOST_CLIENTS: u32 = 16;

const TABLE: &str = "CREATE TABLE charges (id bigserial PRIMARY KEY, amount bigint NOT NULL);";
const INSERT: &str = "INSERT INTO charges (amount) VALUES (1999)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// The handler's INSERT, committed by itself.
    Insert,
    /// The same within the layer.
    InsertInLayer,
    /// The handler's BEGIN, INSERT and COMMIT.
    Transaction,
    /// The same INSERT in the transaction of the outcome, where the policy promises nothing else.
    Promised,
    /// The same where the policy promises nothing.
    TransactionOfLayer,
    /// The answer to the latter, again and again.
    Replay,
}

use Subject::{Insert, InsertInLayer, Promised, Replay, Transaction, TransactionOfLayer};

const ALL: [(Subject, &str); 6] = [
    (Insert, "INSERT alone"),
    (InsertInLayer, "INSERT, in the layer"),
    (Transaction, "BEGIN, INSERT, COMMIT alone"),
    (Promised, "INSERT by IdempotentTx"),
    (TransactionOfLayer, "the same, unpromised"),
    (Replay, "replay"),
];

/// What is compared with what.
const RATIOS: [(Subject, Subject); 5] = [
    (InsertInLayer, Insert),
    (Promised, Transaction),
    (TransactionOfLayer, Transaction),
    (TransactionOfLayer, InsertInLayer),
    (Replay, Insert),
];

#[tokio::main]
async fn main() {
    let postgres = PostgresServer::start(Version::Packaged, &["fsync=on", "shared_buffers=128MB"]);
    postgres.query(TABLE);
    let apps = apps(&postgres).await;
    for clients in [1, MOST_CLIENTS as usize] {
        // Connections and caches.
        for (subject, _) in ALL {
            measure(&apps, subject, clients, TIME / 5).await;
        }
        let mut samples = vec![Vec::new(); ALL.len()];
        for round in 0..ROUNDS {
            for number in 0..ALL.len() {
                let place = (number + round) % ALL.len();
                samples[place].push(measure(&apps, ALL[place].0, clients, TIME).await);
            }
        }
        report(clients, &samples);
    }
}

/// For each subject, the server that it is measured at.
async fn apps(postgres: &PostgresServer) -> [Router; 6] {
    let config = postgres.url().parse().expect("an address");
    let pool = Pool::builder(Manager::new(config, NoTls)).max_size(MOST_CLIENTS as usize);
    let pool = pool.build().expect("without timeouts a pool needs no runtime");
    let connections = NonZeroU32::new(MOST_CLIENTS).expect("some");
    let store = Arc::new(PostgresStore::new(pool.clone()).connections(connections));
    store.migrate().await.expect("the table is made");
    let layer = |guarantee| {
        IdempotencyLayer::builder(Arc::clone(&store), Tenant::single())
            .policy(Policy::new().guarantee(guarantee))
            .build()
            .expect("a valid policy")
    };
    let insert = Router::new().route("/", post(insert)).with_state(pool.clone());
    let transaction = Router::new().route("/", post(transaction)).with_state(pool);
    let shared = Router::new().route("/shared", post(shared));
    let promised = shared.clone().layer(layer(Guarantee::Transactional));
    let shared = shared.layer(layer(Guarantee::AtLeastOnce));
    let in_layer = insert.clone().layer(layer(Guarantee::AtLeastOnce));
    [insert, in_layer, transaction, promised, shared.clone(), shared]
}

async fn insert(State(pool): State<Pool>) -> StatusCode {
    let client = pool.get().await.expect("a connection");
    let insert = client.prepare_cached(INSERT).await.expect("prepared");
    client.execute(&insert, &[]).await.expect("a row");
    StatusCode::CREATED
}

async fn transaction(State(pool): State<Pool>) -> StatusCode {
    let mut client = pool.get().await.expect("a connection");
    let insert = client.prepare_cached(INSERT).await.expect("prepared");
    let transaction = client.transaction().await.expect("begun");
    transaction.execute(&insert, &[]).await.expect("a row");
    transaction.commit().await.expect("committed");
    StatusCode::CREATED
}

async fn shared(tx: IdempotentTx) -> StatusCode {
    let insert = tx.prepare_cached(INSERT).await.expect("prepared");
    tx.execute(&insert, &[]).await.expect("a row");
    StatusCode::CREATED
}

/// What so many clients measured in one round.
#[derive(Clone)]
struct Sample {
    /// Requests a second of all together.
    rate: f64,
    latencies: Vec<Duration>,
}

async fn measure(apps: &[Router; 6], subject: Subject, clients: usize, time: Duration) -> Sample {
    let place = ALL.iter().position(|(it, _)| *it == subject).expect("it is one of them");
    let since = SystemClock.monotonic();
    let work = (0..clients).map(|client| {
        let app = apps[place].clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let key = match subject {
                    Replay => format!("replayed-{client}"),
                    _ => uuid::Uuid::new_v4().to_string(),
                };
                let begun = SystemClock.monotonic();
                ask(&app, subject, &key).await;
                let now = SystemClock.monotonic();
                latencies.push(now - begun);
                if now - since >= time {
                    return latencies;
                }
            }
        })
    });
    let work: Vec<_> = work.collect();
    let latencies = join_all(work).await.into_iter().flat_map(|it| it.expect("no panic"));
    let latencies: Vec<_> = latencies.collect();
    let took = SystemClock.monotonic() - since;
    Sample { rate: latencies.len() as f64 / took.as_secs_f64(), latencies }
}

async fn ask(app: &Router, subject: Subject, key: &str) {
    let path = match subject {
        Promised | TransactionOfLayer | Replay => "/shared",
        _ => "/",
    };
    let request = Request::post(path).header("idempotency-key", key).body(Body::empty());
    let response = app.clone().oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    to_bytes(response.into_body(), 1024).await.expect("its body");
}

fn report(clients: usize, samples: &[Vec<Sample>]) {
    println!("\n{clients} at once, {ROUNDS} rounds:");
    for ((_, name), samples) in ALL.iter().zip(samples) {
        let [_, rate, _] = quartiles(samples.iter().map(|sample| sample.rate).collect());
        let mut latencies: Vec<_> = samples.iter().flat_map(|it| it.latencies.clone()).collect();
        latencies.sort();
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        println!("  {name:<28} {rate:>8.0}/s, p50 {:>9.1?}, p99 {:>9.1?}", at(50), at(99));
    }
    println!("  throughput over throughput, in each round (quartiles):");
    for (one, other) in RATIOS {
        let find = |subject| ALL.iter().position(|(it, _)| *it == subject).expect("one of them");
        let (one, other) = (find(one), find(other));
        let pairs = samples[one].iter().zip(&samples[other]);
        let [low, middle, high] =
            quartiles(pairs.map(|(one, other)| one.rate / other.rate).collect());
        let (one, other) = (ALL[one].1, ALL[other].1);
        println!("  {middle:.2} ({low:.2} to {high:.2}): {one}, over {other}");
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
