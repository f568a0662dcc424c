//! What it costs to wait for a replica: claims a second, one at a time and in a crowd, with and
//! without. Master and replica are on this machine, so the way between them costs nothing here.
//!
//! ```text
//! cargo bench --all-features --bench durability
//! ```

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "the tests need it all"
)]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::Duration;

use futures_util::future::join_all;
use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::redis::Durability;
use tower_idempotency::store::{RedisStore, Store as _};

use crate::support::attempt::attempt_of;
use crate::support::http::keyed;
use crate::support::launch::Kind;
use crate::support::replicated::replicated;

const ROUNDS: usize = 7;
const CLAIMS: usize = 4096;

#[tokio::main]
async fn main() {
    let (master, _replica) = replicated(Kind::Redis);
    let store = |durability| master.store().durability(durability);
    let (local, durable) = (store(Durability::local()), store(Durability::replicas(1)));
    for crowd in [1, 16, 64, 256] {
        let (mut plain, mut waited, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (one, other) = (rate(&local, crowd).await, rate(&durable, crowd).await);
            ratios.push(other / one);
            plain.push(one);
            waited.push(other);
        }
        let [plain, waited, ratio] = [plain, waited, ratios].map(median);
        println!(
            "{crowd:>3} at once: local {plain:.0}/s, replicas(1) {waited:.0}/s, ratio {ratio:.2}"
        );
    }
}

/// Claims a second, with so many under way.
async fn rate(store: &RedisStore, crowd: usize) -> f64 {
    let since = SystemClock.monotonic();
    let claimants = (0..crowd).map(|_| async {
        for _ in 0..CLAIMS / crowd {
            let key = uuid::Uuid::new_v4().to_string();
            let attempt = attempt_of(&keyed(&key), Duration::from_secs(30));
            let reply = store.begin(&attempt, Duration::from_secs(5)).await;
            assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
        }
    });
    join_all(claimants).await;
    CLAIMS as f64 / (SystemClock.monotonic() - since).as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
