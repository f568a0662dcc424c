use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::service::Idempotency;
use super::shared::Shared;
use crate::engine::Engine;

/// Protects the services that it wraps. See the [module](crate::layer) for what it does.
///
/// Cloning is cheap, and clones share the store, the settings and the count of running work.
#[derive(Clone)]
pub struct IdempotencyLayer(pub(super) Arc<Shared>);

impl IdempotencyLayer {
    /// A handle that waits for running work, for a graceful shutdown.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain(Arc::clone(&self.0.engine))
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Idempotency::new(inner, Arc::clone(&self.0))
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("engine", &self.0.engine)
            .field("tenant", &self.0.tenant)
            .field("policy", &self.0.policy)
            .finish_non_exhaustive()
    }
}

/// Waits for the work of a layer, for a graceful shutdown: stop accepting connections, then wait
/// here, then end the process.
///
/// A handler whose client has gone still runs and stores its outcome; the server's own graceful
/// shutdown does not know of it.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let layer = IdempotencyLayer::new(MemoryStore::new(), Tenant::single());
/// let drain = layer.drain();
/// // axum::serve(listener, router).with_graceful_shutdown(signal).await?;
/// let finished = drain.wait(Duration::from_secs(30)).await;
/// assert!(finished);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Drain(Arc<Engine>);

impl Drain {
    /// Waits until every running handler has ended and its outcome is stored, at most for `limit`.
    /// Returns whether that is so; what is left then is left to its lease.
    ///
    /// It does not keep new requests out: stop accepting them first.
    pub async fn wait(&self, limit: Duration) -> bool {
        let work = self.0.work();
        work.close();
        tokio::time::timeout(limit, work.wait()).await.is_ok()
    }

    /// How many requests and settlements are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.work().len()
    }
}
