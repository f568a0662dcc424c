use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};
use tower::Layer;

use super::config::Builder;
use super::policy::Policy;
use super::problem::Problems;
use super::route;
use super::service::Idempotency;
use super::tenant::Tenant;
use crate::engine::{Engine, RunningClaim};
use crate::protocol::{IdempotencyKey, InvalidKey, Secret};
use crate::store::Store;

/// Protects the services that it wraps. See the [module](crate::layer) for what it does.
///
/// Cloning is cheap, and clones share the store, the settings and the count of running work.
#[derive(Clone)]
pub struct IdempotencyLayer(pub(super) Arc<Shared>);

/// What all services of one layer share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) tenant: Tenant,
    pub(super) policy: Arc<Policy>,
    pub(super) routes: HashMap<String, Arc<Policy>>,
    pub(super) names: Vec<HeaderName>,
    pub(super) marker: HeaderName,
    pub(super) secret: Option<Secret>,
    pub(super) problems: Problems,
    pub(super) warned: Once,
}

impl IdempotencyLayer {
    /// A layer with the defaults of [`Policy`]: it protects POST and PATCH requests that carry a
    /// key, at most once, for 24 hours.
    ///
    /// ```
    /// use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};
    ///
    /// let layer = IdempotencyLayer::new(MemoryStore::new(), Tenant::single());
    /// # let _ = layer;
    /// ```
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the defaults are valid")]
    pub fn new(store: impl Store, tenant: Tenant) -> Self {
        Self::builder(store, tenant).build().expect("the defaults are valid")
    }

    /// A layer with other settings.
    #[must_use]
    pub fn builder(store: impl Store, tenant: Tenant) -> Builder {
        Builder::new(store, tenant)
    }

    /// A handle that waits for running work, for a graceful shutdown.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain(Arc::clone(&self.0.engine))
    }
}

impl From<Shared> for IdempotencyLayer {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Idempotency::new(inner, Arc::clone(&self.0))
    }
}

impl Shared {
    /// The policy that applies to a request, if any does.
    pub(super) fn policy_for<B>(&self, request: &Request<B>) -> Option<&Arc<Policy>> {
        let policy = if self.routes.is_empty() {
            &self.policy
        } else {
            let route = route::template(request.extensions()).unwrap_or(request.uri().path());
            self.routes.get(route).unwrap_or(&self.policy)
        };
        if !policy.methods.contains(request.method()) {
            return None;
        }
        if request.extensions().get::<RunningClaim>().is_some() {
            self.warned.call_once(|| {
                tracing::warn!(
                    "two idempotency layers around one handler: only the outer one acts"
                );
            });
            return None;
        }
        Some(policy)
    }

    /// The one header line that carries a key.
    pub(super) fn line<'a, B>(
        &self,
        request: &'a Request<B>,
    ) -> Result<Option<&'a HeaderValue>, InvalidKey> {
        let mut lines = self.names.iter().flat_map(|name| request.headers().get_all(name));
        match (lines.next(), lines.next()) {
            (line, None) => Ok(line),
            (_, Some(_)) => Err(InvalidKey::Repeated),
        }
    }

    pub(super) fn key(line: &HeaderValue, policy: &Policy) -> Result<IdempotencyKey, InvalidKey> {
        let key = IdempotencyKey::parse(line.as_bytes(), &policy.key_syntax)?;
        match &policy.key_validator {
            Some(accepts) if !accepts(key.as_str()) => Err(InvalidKey::Refused),
            _ => Ok(key),
        }
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
