//! What only a real PostgreSQL can show: what a statement locks and writes, other defaults of the
//! server, schemas and roles, lost replies, restarts, what is purged, a pooler, and transactions of the
//! caller's.

mod in_transaction;
mod listening;
mod outages;
mod pooler;
mod pools;
mod purge;
mod races;
mod schema;
mod statements;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tower_idempotency::protocol::{
    Attempt, Claim, Fields, Fingerprint, Found, Nonce, Outcome, Phase, Ran, Reply, Scheme, Slot,
    TakeOver,
};
use tower_idempotency::store::postgres::tokio_postgres::Client;
use tower_idempotency::store::{Error, PostgresStore, Seen, Store};

use crate::support::postgres::{PostgresServer, shared};
use crate::support::postgres_wire::PostgresWire;

const WITHIN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const A_MOMENT: Duration = Duration::from_millis(5);

/// A name for a table of a test's own.
fn table() -> String {
    format!("records_{:016x}", rand::random::<u64>())
}

/// A store behind a proxy in front of the shared server, with both connections made.
async fn wired() -> (PostgresWire, PostgresStore) {
    let wire = PostgresWire::to(shared().port()).await;
    let store = shared().store_at(&shared().url_at(wire.port()), &table());
    warm_up(&store).await;
    wire.reset();
    (wire, store)
}

/// Makes a connection for claims and one for finishing.
async fn warm_up(store: &PostgresStore) {
    let claim = start(store).await;
    complete(store, &claim, "warm").await;
}

fn slot() -> Slot {
    Slot::from_bytes(rand::random())
}

fn attempt(slot: Slot) -> Attempt {
    Attempt {
        slot,
        fingerprint: Fingerprint::new(Scheme::raw(), [7; 32]),
        nonce: Nonce::from_bytes(rand::random()),
        lease: HOUR,
        retention: HOUR,
        take_over: TakeOver::Never,
        transactional: false,
    }
}

/// The same for a slot whose abandoned claim may be taken over.
fn rerunning(slot: Slot) -> Attempt {
    Attempt { take_over: TakeOver::Below(3), ..attempt(slot) }
}

fn response(body: &str) -> Outcome {
    let (headers, trailers) = (Fields::none(), Fields::none());
    Outcome::Response { status: 201, headers, body: body.to_owned().into(), trailers }
}

async fn start(store: &PostgresStore) -> Claim {
    claimed(store, attempt(slot())).await
}

async fn claimed(store: &PostgresStore, attempt: Attempt) -> Claim {
    match store.begin(&attempt, WITHIN).await {
        Ok(Reply::Started(grant) | Reply::Reclaimed(grant)) => attempt.claim(grant),
        reply => panic!("begin gave {reply:?}"),
    }
}

/// A claim whose lease has lapsed.
async fn lapsed(store: &PostgresStore) -> Claim {
    let lease = Duration::from_millis(1);
    let claim = claimed(store, Attempt { lease, ..attempt(slot()) }).await;
    tokio::time::sleep(A_MOMENT).await;
    claim
}

async fn complete(store: &PostgresStore, claim: &Claim, body: &str) {
    let reply = store.complete(claim, &response(body), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Applied)), "complete gave {reply:?}");
}

async fn release(store: &PostgresStore, claim: &Claim) {
    let reply = store.release(claim.attempt(), Ran::Maybe, HOUR, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Applied)), "release gave {reply:?}");
}

fn replayed(reply: Result<Reply, Error>) -> Outcome {
    match reply {
        Ok(Reply::Found(Found::Completed { outcome, .. })) => outcome,
        reply => panic!("begin gave {reply:?}"),
    }
}

fn is_busy(reply: &Result<Reply, Error>) -> bool {
    matches!(reply, Ok(Reply::Found(Found::Busy { .. })))
}

/// Somebody who watches in the background.
type Watch = JoinHandle<Result<Seen, Error>>;

fn watch(store: &Arc<PostgresStore>, claim: &Claim) -> Watch {
    let (store, slot, fence) = (Arc::clone(store), claim.attempt().slot, claim.grant().fence);
    tokio::spawn(async move { store.watch(slot, fence, WITHIN).await })
}

async fn end(watch: Watch) -> Seen {
    watch.await.expect("it ends").expect("the slot is read")
}

fn is_completed(seen: &Seen) -> bool {
    seen.record.as_ref().is_some_and(|record| matches!(record.phase, Phase::Completed { .. }))
}

/// The first column of the first row.
async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.expect("an answer").get(0)
}

/// How many records a table has, expired ones included.
fn rows(server: &PostgresServer, table: &str) -> i64 {
    server.query(&format!("SELECT count(*) FROM {table}"))[0].get(0)
}
