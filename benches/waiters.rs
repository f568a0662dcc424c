//! How long after an answer is stored those who wait for it have it: 200 requests for one key, at
//! two servers on one Redis, whose first request runs at a third.
//!
//! ```text
//! cargo bench --all-features --bench waiters
//! ```

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "the tests need all of it"
)]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::protocol::{
    Attempt, Fingerprinter, IdempotencyKey, KeySyntax, Reply, RequestParts, Scheme, Slot,
};
use tower_idempotency::store::Store as _;

use crate::support::attempt::{attempt_of, response};
use crate::support::http::{Ask, post};
use crate::support::process::Process;
use crate::support::redis::RedisServer;

const ROUNDS: usize = 20;
const WAITERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let redis = RedisServer::start(&[]);
    let flags = ["--in-flight", "wait:20000", "--prefix", "bench"];
    let servers = [(); 2].map(|()| Process::start(&redis.url(), &flags));
    let store = redis.store().prefix("bench");
    let mut lags = Vec::new();
    for round in 0..ROUNDS {
        let request = post("/echo").key(format!("round-{round}"));
        let attempt = as_the_server_does(&request);
        let Ok(Reply::Started(grant)) = store.begin(&attempt, WITHIN).await else {
            panic!("the key is new")
        };
        let waiters: Vec<_> = servers
            .iter()
            .flat_map(|server| std::iter::repeat_n(server.http(), WAITERS))
            .map(|server| {
                let request = request.clone();
                tokio::spawn(async move {
                    let answer = server.send(&request).await;
                    assert!(answer.is_replay(), "{answer:?}");
                    SystemClock.monotonic()
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let claim = attempt.claim(grant);
        let stored = store.complete(&claim, &response(201, "the answer"), WITHIN).await;
        assert_eq!(stored.expect("the store answers"), Reply::Applied);
        let since = SystemClock.monotonic();
        for waiter in waiters {
            lags.push(waiter.await.expect("an answer").saturating_sub(since));
        }
    }
    lags.sort();
    let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
    println!(
        "{} waiters at two servers, {ROUNDS} rounds, after the answer was stored:",
        2 * WAITERS
    );
    println!("  median {:?}, p99 {:?}, last {:?}", at(50), at(99), at(100));
}

/// The attempt that the reference server makes of this request.
fn as_the_server_does(ask: &Ask) -> Attempt {
    let parts = RequestParts { method: "POST", path: &ask.target, ..RequestParts::default() };
    let key = IdempotencyKey::parse(&ask.lines[0].1, &KeySyntax::either()).expect("a key");
    Attempt {
        slot: Slot::derive(None, "default", "POST", Some(&ask.target), &key),
        fingerprint: Fingerprinter::new(Scheme::raw(), None, &parts, []).finish(),
        ..attempt_of(ask, Duration::from_secs(30))
    }
}
