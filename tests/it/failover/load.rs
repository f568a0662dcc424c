//! Requests that claim keys without end, and what has become of their claims.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tower_idempotency::protocol::{Attempt, Fingerprint, Nonce, Reply, Scheme, Slot, TakeOver};
use tower_idempotency::store::redis::Durability;
use tower_idempotency::store::{RedisStore, Store as _};

/// How many claim at once.
const CLAIMANTS: usize = 8;

/// The default of the layer.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same with claims that wait for no replica and with those that wait for one, each on servers of
/// its own. Most of the time all wait for a fail-over, so they do so at once.
pub async fn with_and_without_waiting<F>(scene: fn(&'static str, Durability) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let local = tokio::spawn(scene("local", Durability::local()));
    let replicas = tokio::spawn(scene("replicas", Durability::replicas(1)));
    local.await.expect("claims that wait for no replica");
    replicas.await.expect("claims that wait for a replica");
}

/// Claims new keys until it is stopped.
pub struct Load {
    store: Arc<RedisStore>,
    stopped: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    claimants: Vec<JoinHandle<Vec<Attempt>>>,
}

/// What a load has brought.
#[derive(Debug)]
pub struct Claims {
    store: Arc<RedisStore>,
    pub acknowledged: Vec<Attempt>,
}

impl Load {
    pub fn on(store: RedisStore) -> Self {
        let (store, stopped) = (Arc::new(store), Arc::<AtomicBool>::default());
        let count = Arc::<AtomicUsize>::default();
        let claimants = (0..CLAIMANTS).map(|_| {
            let (store, stopped) = (Arc::clone(&store), Arc::clone(&stopped));
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let attempt = attempt();
                    match store.begin(&attempt, STORE_TIMEOUT).await {
                        Ok(Reply::Started(_) | Reply::Mine(_)) => {
                            claimed.push(attempt);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(reply) => panic!("a new key is claimed, not {reply:?}"),
                        Err(_) => {}
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                claimed
            })
        });
        Self { claimants: claimants.collect(), store, stopped, count }
    }

    /// Waits until so many more claims are acknowledged.
    pub async fn more(&self, claims: usize) {
        let enough = self.count.load(Ordering::Relaxed) + claims;
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while self.count.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("claims are acknowledged again");
    }

    pub async fn stop(self) -> Claims {
        self.stopped.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for claimant in self.claimants {
            acknowledged.extend(claimant.await.expect("nothing else is found in a new slot"));
        }
        Claims { store: self.store, acknowledged }
    }
}

impl Claims {
    /// How many of them nobody knows any more, also written down.
    pub async fn lost(&self, scene: &str) -> usize {
        let mut lost = 0;
        for attempt in &self.acknowledged {
            let record = self.record(attempt).await;
            assert!(record.as_ref().is_none_or(|record| record.nonce == attempt.nonce));
            lost += usize::from(record.is_none());
        }
        let all = self.acknowledged.len();
        let line = format!("{scene}: {lost} of {all} acknowledged claims lost\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error");
        lost
    }

    async fn record(&self, attempt: &Attempt) -> Option<tower_idempotency::protocol::Record> {
        for _ in 0..50 {
            match self.store.look(attempt.slot, STORE_TIMEOUT).await {
                Ok(seen) => return seen.record,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("the store answers again");
    }
}

fn attempt() -> Attempt {
    Attempt {
        slot: Slot::from_bytes(rand::random()),
        fingerprint: Fingerprint::new(Scheme::raw(), [7; 32]),
        nonce: Nonce::from_bytes(rand::random()),
        lease: Duration::from_secs(3600),
        retention: Duration::from_secs(3600),
        take_over: TakeOver::Never,
        transactional: false,
    }
}
