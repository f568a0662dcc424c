//! From the command line to the store.

use std::error::Error;
#[cfg(feature = "redis")]
use std::sync::Arc;

use tower_idempotency::layer::Builder;
use tower_idempotency::store::Store;
#[cfg(feature = "redis")]
use tower_idempotency::store::{RedisStore, redis::Durability};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

use crate::options::{DurabilityOption, Options, StoreOption};

/// A layer over the store that was asked for.
pub(crate) fn builder(options: &Options, tenant: Tenant) -> Result<Builder, Box<dyn Error>> {
    match &options.store {
        StoreOption::Memory => {
            let DurabilityOption { replicas, on_disk } = options.durability;
            if replicas > 0 || on_disk {
                return Err("the memory store has no replicas and no disk".into());
            }
            Ok(over(MemoryStore::new(), options, tenant))
        }
        #[cfg(feature = "redis")]
        StoreOption::Redis(url) => {
            let store = RedisStore::connect(url)?
                .prefix(&options.prefix)
                .connections(options.connections)
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
