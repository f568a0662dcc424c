use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::invalid_config::InvalidConfig;
use super::layer::IdempotencyLayer;
use super::policy::Policy;
use super::problem::Problems;
use super::shared::Shared;
use super::tenant::Tenant;
use crate::clock::{Clock, SystemClock};
use crate::engine::{Engine, Limits, WaiterLimits};
use crate::protocol::Secret;
use crate::store::{BoxStore, Store};

/// Settings of a whole layer; what can differ from route to route is a [`Policy`]. [`build`](Self::build)
/// makes the layer. The store's type is gone here, so a program that chooses its store when it starts
/// makes a builder in each branch and goes on with one.
///
/// ```
/// use tower_idempotency::{Guarantee, IdempotencyLayer, MemoryStore, Policy, Required, Tenant};
///
/// let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::header("x-tenant"))
///     .policy(Policy::new().required(Required::always()))
///     .route_policy("/previews", Policy::new().guarantee(Guarantee::AtLeastOnce))
///     .header_names(["idempotency-key", "x-idempotency-key"])
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_idempotency::InvalidConfig>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    store: BoxStore,
    clock: Arc<dyn Clock>,
    store_timeout: Duration,
    limits: Limits,
    tenant: Tenant,
    policy: Policy,
    routes: HashMap<String, Policy>,
    names: Vec<&'static str>,
    marker: &'static str,
    secret: Option<Secret>,
    problems: Problems,
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
}

impl Builder {
    pub(super) fn new(store: impl Store, tenant: Tenant) -> Self {
        Self {
            store: BoxStore::new(store),
            clock: Arc::new(SystemClock),
            store_timeout: Duration::from_secs(1),
            limits: Limits {
                waiters: WaiterLimits { per_key: 1_000, total: 10_000 },
                in_flight: None,
                in_flight_per_tenant: None,
            },
            tenant,
            policy: Policy::new(),
            routes: HashMap::new(),
            names: vec!["idempotency-key"],
            marker: "idempotent-replayed",
            secret: None,
            problems: Problems::new(),
        }
    }

    /// The policy of every route without one of its own.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The policy of one route, named by the template that axum matches (`/accounts/{id}`, with the
    /// prefixes of nested routers); without axum by the path. It replaces the layer's policy whole. A
    /// template that never matches is not noticed.
    #[must_use]
    pub fn route_policy(mut self, route: impl Into<String>, policy: Policy) -> Self {
        self.routes.insert(route.into(), policy);
        self
    }

    /// The request headers that can carry the key, instead of `Idempotency-Key`. A request may have
    /// exactly one line of all of them together.
    #[must_use]
    pub fn header_names(mut self, names: impl IntoIterator<Item = &'static str>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    /// The response header that marks a replay, instead of `Idempotent-Replayed`.
    #[must_use]
    pub const fn marker(mut self, name: &'static str) -> Self {
        self.marker = name;
        self
    }

    /// Keys slots and fingerprints with a secret, so that a stolen store cannot be searched for
    /// guessed keys and bodies. All servers of a store need the same one.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// How long the store may take to answer, repeats included; the default is 1 second. A store that
    /// is down costs a request no more than that before the handler, and as much after it. A claim is
    /// given no more time than its lease, if that is shorter.
    #[must_use]
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// How many requests may wait for the answer of another one
    /// ([`InFlight::wait`](crate::InFlight::wait)), for one key and in all; the default is 1,000 and
    /// 10,000. The next one gets 503 `too-many-waiters` at once. Each holds its body, so this and
    /// [`Policy::request_limit`] bound the memory that they take.
    #[must_use]
    pub const fn max_waiters(mut self, per_key: usize, total: usize) -> Self {
        self.limits.waiters = WaiterLimits { per_key, total };
        self
    }

    /// How many keyed requests may run at once in this process; the default is no limit. The next
    /// one gets 503 `too-many-in-flight`, and replays still work. Handlers outlive their
    /// connections, so a limit outside the layer does not see all of them. A request counts from
    /// when it asks the store. A limit of 0 is refused.
    #[must_use]
    pub const fn max_in_flight(mut self, limit: usize) -> Self {
        self.limits.in_flight = Some(limit);
        self
    }

    /// The same for the requests of one tenant.
    #[must_use]
    pub const fn max_in_flight_per_tenant(mut self, limit: usize) -> Self {
        self.limits.in_flight_per_tenant = Some(limit);
        self
    }

    /// How refusals look.
    #[must_use]
    pub fn problems(mut self, problems: Problems) -> Self {
        self.problems = problems;
        self
    }

    /// The clock by which leases are renewed and runs limited, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// For settings that cannot keep what the layer promises.
    pub fn build(self) -> Result<IdempotencyLayer, InvalidConfig> {
        let transactions = self.store.transactions().is_some();
        self.policy.check(transactions)?;
        self.routes.values().try_for_each(|policy| policy.check(transactions))?;
        if self.store_timeout.is_zero() {
            return Err(InvalidConfig::NoTime);
        }
        if self.limits.in_flight == Some(0) || self.limits.in_flight_per_tenant == Some(0) {
            return Err(InvalidConfig::NoRoom);
        }
        let name = |name: &str| {
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidConfig::HeaderName)
        };
        let mut names = self.names.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.is_empty() {
            return Err(InvalidConfig::HeaderName);
        }
        let shared = Shared {
            engine: Arc::new(Engine::new(self.store, self.clock, self.store_timeout, &self.limits)),
            tenant: self.tenant,
            policy: Arc::new(self.policy),
            routes: self
                .routes
                .into_iter()
                .map(|(route, policy)| (route, Arc::new(policy)))
                .collect(),
            names,
            marker: name(self.marker)?,
            secret: self.secret,
            problems: self.problems,
            warned: std::sync::Once::new(),
        };
        Ok(IdempotencyLayer(Arc::new(shared)))
    }
}
