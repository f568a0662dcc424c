//! What only a real Redis can show: lost replies, full memory, restarts, replicas, foreign values.

mod age;
mod check;
mod cluster;
mod cluster_durable;
mod connection;
mod cost;
mod durable;
mod emptied;
mod expiry;
mod foreign;
mod full;
mod ifeq;
mod outages;
mod sentinel;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::task::JoinHandle;
use tower_idempotency::clock::{Clock, SystemClock};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fields, Fingerprint, Found, Grant, Nonce, Outcome, Ran, Reply,
    Scheme, Slot, TakeOver,
};
use tower_idempotency::store::{Error, RedisStore, Seen, Store};

use crate::support::redis::{RedisServer, shared};
use crate::support::wire::Wire;

const WITHIN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

/// A store behind a proxy in front of the shared server.
async fn wired() -> (Wire, RedisStore) {
    let wire = Wire::to(shared().port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address");
    (wire, store)
}

/// Makes both connections and loads the scripts of begin and complete.
async fn warm_up(store: &RedisStore) {
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

fn response(body: &str) -> Outcome {
    let (headers, trailers) = (Fields::none(), Fields::none());
    Outcome::Response { status: 201, headers, body: body.to_owned().into(), trailers }
}

/// Claims a slot that nobody asks for again.
async fn begin_one(store: &RedisStore) {
    let _claim = start(store).await;
}

async fn start(store: &RedisStore) -> Claim {
    claimed(store, attempt(slot())).await
}

/// A claim whose lease has lapsed.
async fn lapsing(store: &RedisStore) -> Claim {
    let lease = Duration::from_millis(1);
    let claim = claimed(store, Attempt { lease, ..attempt(slot()) }).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    claim
}

/// Claims what nobody else asks for. A begin may have been sent twice, as a Cluster's client does
/// when a node is slow to answer: its repeat is told that the claim is its own.
async fn claimed(store: &RedisStore, attempt: Attempt) -> Claim {
    match store.begin(&attempt, WITHIN).await {
        Ok(Reply::Started(grant) | Reply::Mine(grant)) => attempt.claim(grant),
        reply => panic!("begin gave {reply:?}"),
    }
}

async fn complete(store: &RedisStore, claim: &Claim, body: &str) {
    let reply = store.complete(claim, &response(body), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Applied)), "complete gave {reply:?}");
}

/// Somebody who watches in the background.
type Watch = JoinHandle<Result<Seen, Error>>;

fn watch(store: &Arc<RedisStore>, claim: &Claim) -> Watch {
    let (store, slot, fence) = (Arc::clone(store), claim.attempt().slot, claim.grant().fence);
    tokio::spawn(async move { store.watch(slot, fence, WITHIN).await })
}

async fn end(watch: Watch) -> Seen {
    watch.await.expect("it ends").expect("the slot is read")
}

fn replayed(reply: Result<Reply, Error>) -> Outcome {
    match reply {
        Ok(Reply::Found(Found::Completed { outcome, .. })) => outcome,
        reply => panic!("begin gave {reply:?}"),
    }
}

/// What every verb says about a slot that none of them can read.
async fn all_verbs(store: &RedisStore, slot: Slot) -> Vec<Error> {
    let attempt = attempt(slot);
    let grant = Grant { number: 1, fence: FenceToken::from_number(1) };
    let (claim, outcome) = (attempt.clone().claim(grant), response("never stored"));
    let rerun = Attempt { take_over: TakeOver::Below(5), ..attempt.clone() };
    vec![
        store.begin(&attempt, WITHIN).await.unwrap_err(),
        store.begin(&rerun, WITHIN).await.unwrap_err(),
        store.renew(&claim, WITHIN).await.unwrap_err(),
        store.complete(&claim, &outcome, WITHIN).await.unwrap_err(),
        store.release(&attempt, Ran::No, HOUR, WITHIN).await.unwrap_err(),
        store.resolve(slot, grant.fence, &outcome, HOUR, WITHIN).await.unwrap_err(),
        store.look(slot, WITHIN).await.unwrap_err(),
    ]
}

/// A completed record as it lies in Redis.
async fn recorded_bytes() -> Vec<u8> {
    let store = shared().store();
    let claim = start(&store).await;
    complete(&store, &claim, "some answer").await;
    match shared().command(&[b"GET", &key("idempotency", claim.attempt().slot)]) {
        Ok(Value::BulkString(bytes)) => bytes,
        reply => panic!("{reply:?}"),
    }
}

fn key(prefix: &str, slot: Slot) -> Vec<u8> {
    [prefix.as_bytes(), b":", slot.as_bytes()].concat()
}

/// How often a server has run a command such as `get` or `client|tracking`.
fn runs(server: &RedisServer, command: &str) -> usize {
    count(server, command, "calls")
}

fn count(server: &RedisServer, command: &str, what: &str) -> usize {
    let statistics: String = server.query("INFO commandstats").expect("it answers");
    let line = statistics.lines().find_map(|line| {
        line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(':').map(str::to_owned)
    });
    let field = |line: &str| {
        line.split(',').find_map(|field| field.strip_prefix(what)?.strip_prefix('=')?.parse().ok())
    };
    line.and_then(|line| field(&line)).unwrap_or_default()
}

fn now() -> Duration {
    SystemClock.monotonic()
}
