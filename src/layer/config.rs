use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::layer::{IdempotencyLayer, Shared};
use super::policy::Policy;
use super::problem::Problems;
use super::tenant::Tenant;
use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::protocol::Secret;
use crate::store::{ErasedStore, Store};

/// Settings of a whole layer; what can differ from route to route is a [`Policy`].
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
    store: Box<dyn ErasedStore>,
    clock: Arc<dyn Clock>,
    store_timeout: Duration,
    tenant: Tenant,
    policy: Policy,
    routes: HashMap<String, Policy>,
    names: Vec<&'static str>,
    marker: &'static str,
    secret: Option<Secret>,
    problems: Problems,
}

/// Settings that contradict each other or cannot keep what the layer promises.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// A safe method changes nothing, so there is nothing to protect.
    SafeMethod(Method),
    /// A record would be forgotten while its operation still runs.
    RetentionTooShort {
        /// The retention that was asked for.
        retention: Duration,
        /// The lease that was asked for.
        lease: Duration,
    },
    /// A lease, a time limit or a timeout is zero.
    NoTime,
    /// Not a header name, or none at all.
    HeaderName,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SafeMethod(method) => {
                write!(f, "{method} is a safe method and cannot be protected")
            }
            Self::RetentionTooShort { retention, lease } => write!(
                f,
                "a retention of {retention:?} is shorter than two leases of {lease:?}: a record \
                 could be forgotten while its operation still runs"
            ),
            Self::NoTime => f.write_str("lease, max_run and the store timeout must not be zero"),
            Self::HeaderName => f.write_str("at least one valid header name is needed"),
        }
    }
}

impl std::error::Error for InvalidConfig {}

impl Builder {
    pub(super) fn new(store: impl Store, tenant: Tenant) -> Self {
        Self {
            store: Box::new(store),
            clock: Arc::new(SystemClock),
            store_timeout: Duration::from_secs(1),
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

    /// The policy of one route, named by the template that axum matches (`/accounts/{id}`); without
    /// axum by the path.
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

    /// How long the store may take to answer, repeats included; the default is 1 second.
    #[must_use]
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
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
        self.policy.check()?;
        self.routes.values().try_for_each(Policy::check)?;
        if self.store_timeout.is_zero() {
            return Err(InvalidConfig::NoTime);
        }
        let name = |name: &str| {
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidConfig::HeaderName)
        };
        let names = self.names.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Err(InvalidConfig::HeaderName);
        }
        let shared = Shared {
            engine: Arc::new(Engine::new(self.store, self.clock, self.store_timeout)),
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
        Ok(IdempotencyLayer::from(shared))
    }
}
