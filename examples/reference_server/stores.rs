//! From the command line to the store.

use std::error::Error;
#[cfg(any(feature = "postgres", feature = "redis"))]
use std::sync::Arc;
#[cfg(feature = "postgres")]
use std::time::Duration;

use tower_idempotency::layer::Builder;
#[cfg(feature = "postgres")]
use tower_idempotency::store::PostgresStore;
use tower_idempotency::store::Store;
#[cfg(feature = "redis")]
use tower_idempotency::store::{RedisStore, redis::Durability};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

#[cfg(feature = "redis")]
use crate::options::DurabilityOption;
use crate::options::{Options, StoreOption};

/// A layer over the store that was asked for.
#[cfg_attr(not(feature = "postgres"), expect(clippy::unused_async))]
pub(crate) async fn builder(options: &Options, tenant: Tenant) -> Result<Builder, Box<dyn Error>> {
    match &options.store {
        StoreOption::Memory => {
            if options.durability.is_more_than_local() {
                return Err("the memory store has no replicas and no disk".into());
            }
            Ok(over(MemoryStore::new(), options, tenant))
        }
        #[cfg(feature = "postgres")]
        StoreOption::Postgres(url) => {
            if options.durability.is_more_than_local() {
                return Err("what a claim waits for is set in PostgreSQL itself".into());
            }
            let mut store =
                PostgresStore::connect(url)?.table(&table("idempotency", &options.prefix))?;
            if let Some(connections) = options.connections {
                store = store.connections(connections);
            }
            let store = Arc::new(store);
            migrate(&store).await;
            Ok(over(store, options, tenant))
        }
        #[cfg(feature = "redis")]
        StoreOption::Redis(url) => {
            let connections = options.connections.map_or(1, |number| number.get() as usize);
            let store = RedisStore::connect(url)?
                .prefix(&options.prefix)
                .connections(connections)
                .durability(durability(options.durability));
            let store = Arc::new(store);
            tokio::spawn(check(Arc::clone(&store)));
            Ok(over(store, options, tenant))
        }
    }
}

#[cfg(feature = "redis")]
fn durability(DurabilityOption { replicas, on_disk }: DurabilityOption) -> Durability {
    let durability = Durability::replicas(replicas);
    if on_disk { durability.on_disk() } else { durability }
}

/// A table of a namespace.
#[cfg(feature = "postgres")]
pub(crate) fn table(kind: &str, prefix: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("{kind}_{}", prefix.chars().map(plain).collect::<String>())
}

/// Creates the table. If PostgreSQL is not there yet, the server starts nevertheless, and creates it
/// later.
#[cfg(feature = "postgres")]
async fn migrate(store: &Arc<PostgresStore>) {
    let wait = Duration::from_secs(1);
    if let Ok(Ok(())) = tokio::time::timeout(wait, store.migrate()).await {
        return;
    }
    let store = Arc::clone(store);
    tokio::spawn(async move {
        while let Err(error) = store.migrate().await {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("warning: {error}{cause}");
            tokio::time::sleep(wait).await;
        }
    });
}

/// Says on standard error what Redis there is, and what is wrong with it. The server does not wait
/// for that, nor does it need it.
#[cfg(feature = "redis")]
async fn check(store: Arc<RedisStore>) {
    match store.verify().await {
        Ok(report) => eprintln!("{report}"),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("warning: the store cannot be checked: {error}{cause}");
        }
    }
}

/// A layer over this store, behind a near cache where there is to be one.
#[cfg(feature = "near-cache")]
fn over(store: impl Store, options: &Options, tenant: Tenant) -> Builder {
    if options.near_cache_bytes == 0 {
        return IdempotencyLayer::builder(store, tenant);
    }
    let mut near = tower_idempotency::NearCache::new(store).max_bytes(options.near_cache_bytes);
    if let Some(age) = options.near_cache_age_ms {
        near = near.max_age(age);
    }
    IdempotencyLayer::builder(near, tenant)
}

#[cfg(not(feature = "near-cache"))]
fn over(store: impl Store, _: &Options, tenant: Tenant) -> Builder {
    IdempotencyLayer::builder(store, tenant)
}
