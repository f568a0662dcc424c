use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

/// Whether a request needs a key.
#[derive(Clone)]
pub struct Required(Need);

#[derive(Clone)]
enum Need {
    Never,
    Always,
    If(Arc<Needs>),
}

type Needs = dyn Fn(&Parts) -> bool + Send + Sync;

impl Required {
    /// Requests without a key run unprotected: the default.
    #[must_use]
    pub const fn never() -> Self {
        Self(Need::Never)
    }

    /// Requests without a key are refused with 400 `key-missing`.
    #[must_use]
    pub const fn always() -> Self {
        Self(Need::Always)
    }

    /// A closure on the request's head decides.
    #[must_use]
    pub fn predicate(needs_key: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(Need::If(Arc::new(needs_key)))
    }

    /// Whether it takes the request's head to tell.
    pub(super) const fn is_never(&self) -> bool {
        matches!(self.0, Need::Never)
    }

    pub(super) fn of(&self, parts: &Parts) -> bool {
        match &self.0 {
            Need::Never => false,
            Need::Always => true,
            Need::If(needs_key) => needs_key(parts),
        }
    }
}

/// Where a key names one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// In the tenant, for one method and route: the default.
    #[default]
    Endpoint,
    /// In the tenant: one key on two routes is a reused key.
    Tenant,
}

/// What a request gets whose first one is still running.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::{InFlight, Policy};
///
/// let _policy = Policy::new().in_flight(InFlight::wait(Duration::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight(Option<Duration>);

impl InFlight {
    /// 409 `in-progress` at once: the default.
    #[must_use]
    pub const fn reject() -> Self {
        Self(None)
    }

    /// It waits for the answer of the first one and gets it as a replay, as soon as it is stored;
    /// after `max` it gets 409 `in-progress`. If the first one frees the key, one of those who wait
    /// runs next.
    ///
    /// One that waits keeps its connection, and its body in memory. How many may wait is limited
    /// ([`Builder::max_waiters`](crate::layer::Builder::max_waiters)); the next one gets 503
    /// `too-many-waiters` at once. A client that hangs up waits no longer.
    #[must_use]
    pub const fn wait(max: Duration) -> Self {
        Self(Some(max))
    }

    pub(super) const fn max_wait(self) -> Option<Duration> {
        self.0
    }
}

/// What happens to a request that the store cannot protect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreFailure {
    /// 503 `store-unavailable`, and the handler does not run: the default.
    #[default]
    Refuse,
    /// The handler runs, and a retry may run it again. For operations where being refused is worse
    /// than happening twice.
    RunUnprotected,
}

impl fmt::Debug for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Need::Never => "Required::never()",
            Need::Always => "Required::always()",
            Need::If(_) => "Required::predicate(..)",
        })
    }
}
