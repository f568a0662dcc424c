mod default;

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};

use super::fingerprint::FingerprintPolicy;
use super::headers::StoredHeaders;
use super::invalid_config::InvalidConfig;
use super::options::{InFlight, Required, Scope, StoreFailure};
use super::recovery::{Hook, Recovery};
use crate::engine::{Abandoned, Terms, Verdict};
use crate::protocol::{Guarantee, KeySyntax, TakeOver};
use crate::store::Writes;

/// Everything that can differ from route to route. The policy of a route replaces that of the layer
/// whole; it inherits nothing.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::{Guarantee, Policy, Required, Scope};
///
/// let _policy = Policy::new()
///     .required(Required::always())
///     .scope(Scope::Tenant)
///     .guarantee(Guarantee::AtLeastOnce)
///     .retention(Duration::from_secs(72 * 3600));
/// ```
#[derive(Clone)]
pub struct Policy {
    pub(super) methods: Vec<Method>,
    pub(super) required: Required,
    pub(super) key_syntax: KeySyntax,
    pub(super) key_validator: Option<Arc<Accepts>>,
    pub(super) scope: Scope,
    pub(super) route: Option<Arc<NameOf>>,
    pub(super) fingerprint: FingerprintPolicy,
    verdict: Option<Arc<VerdictOf>>,
    pub(super) guarantee: Guarantee,
    pub(super) lease: Duration,
    pub(super) retention: Duration,
    max_run: Duration,
    pub(super) max_attempts: u32,
    completion_tries: u32,
    store_failure: StoreFailure,
    pub(super) in_flight: InFlight,
    pub(super) recover: Option<Arc<Hook>>,
    pub(super) request_limit: usize,
    pub(super) response_limit: usize,
    pub(super) buffer_time: Duration,
    pub(super) stream_types: Arc<[String]>,
    pub(super) stored_headers: StoredHeaders,
    refused_writes: Writes,
    pub(super) transaction_retries: u32,
}

type Accepts = dyn Fn(&str) -> bool + Send + Sync;
type NameOf = dyn Fn(&Parts) -> String + Send + Sync;
type VerdictOf = dyn Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync;

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        }
    )*};
}

impl Policy {
    /// The defaults: POST and PATCH, at most once, 24 hours.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Whether a key is required; the default is never.
        required: Required;
        /// Which values are keys; the default is either form and 1 to 255 octets.
        key_syntax: KeySyntax;
        /// Where a key names one operation; the default is one method and route.
        scope: Scope;
        /// What must not change between retries; the default is every byte of the body.
        fingerprint: FingerprintPolicy;
        /// What happens to ambiguous outcomes and abandoned claims; the default is at most once.
        /// [`Guarantee::Transactional`] is for handlers that write in the transaction of their outcome,
        /// and for stores that have one.
        guarantee: Guarantee;
        /// How long an unrenewed claim keeps others out; it is renewed at a third. The default is
        /// 30 seconds.
        lease: Duration;
        /// How long a completed record answers; the default is 24 hours. At least two leases.
        retention: Duration;
        /// How long a handler may run before it is stopped; the default is 10 minutes.
        max_run: Duration;
        /// How often an operation may be begun under at least once while no attempt leaves an
        /// answer; the default is 5. Then an abandoned claim is no longer taken over. A run that
        /// answered frees its key, a 500 at least once as well: it counts, and never ends the attempts
        /// by itself, but an attempt after it that dies may then have been the last.
        max_attempts: u32;
        /// How often storing an outcome is tried in the background while the store is down. The
        /// default is no limit but time: until the lease would lapse, then every lease until
        /// `max_run`.
        completion_tries: u32;
        /// What happens while the store is down; the default is to refuse.
        store_failure: StoreFailure;
        /// What a request gets whose first one is still running; the default is 409 at once.
        in_flight: InFlight;
        /// The largest request body in bytes; the default is 1 MiB. It is held in memory.
        request_limit: usize;
        /// The largest response body in bytes that is stored; the default is 1 MiB. A larger one
        /// is sent whole, once, and leaves a tombstone.
        response_limit: usize;
        /// How long a response body may take before it is sent as it comes and leaves a tombstone;
        /// the default is 5 seconds.
        buffer_time: Duration;
        /// What becomes of what a handler wrote in the transaction that it was lent when its answer
        /// is definitive and an error, a 4xx for the most part; the default is to undo it. The answer
        /// is stored either way. See [`store::Writes`](crate::store::Writes).
        refused_writes: Writes;
        /// How often a handler runs again, within its claim, because its transaction lost against
        /// others (a serialization failure or a deadlock); the default is never. What it does outside
        /// of its transaction, it does again.
        transaction_retries: u32;
    }

    /// The protected methods; the default is POST and PATCH. Safe methods cannot be protected.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// A further test that keys have to pass, on the value without quotes.
    #[must_use]
    pub fn key_validator(mut self, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.key_validator = Some(Arc::new(accepts));
        self
    }

    /// The name of the route in the slot, instead of the template that axum matched or the path.
    #[must_use]
    pub fn route(mut self, name: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.route = Some(Arc::new(name));
        self
    }

    /// Asks the application what became of a claim whose lease has lapsed without an outcome,
    /// instead of letting the guarantee decide: a look at its own books, at a payment provider.
    ///
    /// Of all requests and servers that meet the claim, one asks; the others find it in progress
    /// meanwhile. An answer stands for a lease, [`Recovery::StillUnknown`] too; then the next retry
    /// asks again. The hook is stopped after [`max_run`](Self::max_run); if it is, or panics, the
    /// claim is still unknown. It runs while the client waits, so it should be quick.
    ///
    /// Where the process of the claim was paused or cut off from the store, its handler may still be
    /// running, or have answered its client with `Idempotency-Status: unstored`. What the hook answers
    /// counts, and a handler that is run again runs beside it.
    ///
    /// ```
    /// use http::Response;
    /// use tower_idempotency::{Policy, Recovery};
    ///
    /// # async fn charge_of(_: &str) -> Result<Option<String>, std::io::Error> { Ok(None) }
    /// let policy = Policy::new().on_abandoned(async |abandoned| {
    ///     match charge_of(&abandoned.derived_key("card")).await {
    ///         Ok(Some(charge)) => Recovery::Response(Response::new(charge.into())),
    ///         Ok(None) => Recovery::Rerun,
    ///         Err(_) => Recovery::StillUnknown,
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn on_abandoned<F, A>(mut self, ask: F) -> Self
    where
        F: Fn(Abandoned) -> A + Send + Sync + 'static,
        A: Future<Output = Recovery> + Send + 'static,
    {
        self.recover = Some(Arc::new(Hook::new(ask)));
        self
    }

    /// What an answer says about the operation, instead of
    /// [`default_verdict`](Self::default_verdict). A [`Verdict`] in the extensions of the response
    /// still wins.
    #[must_use]
    pub fn verdict(
        mut self,
        of: impl Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.verdict = Some(Arc::new(of));
        self
    }

    /// Content types that are never buffered, instead of the default list. Only the essence counts.
    #[must_use]
    pub fn stream_types<T: AsRef<str>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.stream_types =
            types.into_iter().map(|kind| kind.as_ref().to_ascii_lowercase()).collect();
        self
    }

    /// Stores these response headers although they are on the list of those that are not. Fields
    /// of one connection and `Content-Length` are never stored.
    #[must_use]
    pub fn keep_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.stored_headers.kept.extend(names);
        self
    }

    /// Does not store these response headers.
    #[must_use]
    pub fn drop_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.stored_headers.dropped.extend(names);
        self
    }

    /// What a status says where nothing else was configured: 2xx, 3xx and most 4xx are definitive;
    /// 401, 403, 407, 421, 423, 425, 429 and a 503 with `Retry-After` did not execute; 408 and all
    /// other 5xx are ambiguous.
    #[must_use]
    pub fn default_verdict(status: StatusCode, headers: &HeaderMap) -> Verdict {
        match status.as_u16() {
            401 | 403 | 407 | 421 | 423 | 425 | 429 => Verdict::NotExecuted,
            503 if headers.contains_key(http::header::RETRY_AFTER) => Verdict::NotExecuted,
            408 | 500.. => Verdict::Ambiguous,
            _ => Verdict::Definitive,
        }
    }

    pub(super) fn verdict_of<B>(&self, response: &http::Response<B>) -> Verdict {
        let of = || match &self.verdict {
            Some(of) => of(response.status(), response.headers()),
            None => Self::default_verdict(response.status(), response.headers()),
        };
        response.extensions().get().copied().unwrap_or_else(of)
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            guarantee: self.guarantee,
            max_run: self.max_run,
            completion_tries: self.completion_tries,
            run_unprotected: self.store_failure == StoreFailure::RunUnprotected,
            wait: self.in_flight.max_wait(),
            recovers: self.recover.is_some(),
            refused_writes: self.refused_writes,
        }
    }

    /// What its attempts may take over without asking anybody.
    pub(super) fn take_over(&self) -> TakeOver {
        match self.guarantee {
            Guarantee::AtLeastOnce if self.recover.is_none() => TakeOver::Below(self.max_attempts),
            // What another policy let in may have done anything; what this one did is free by itself.
            _ => TakeOver::Never,
        }
    }

    /// Refuses what cannot keep its promises, on a store that has transactions or not.
    pub(super) fn check(&self, transactions: bool) -> Result<(), InvalidConfig> {
        if self.guarantee == Guarantee::Transactional && !transactions {
            return Err(InvalidConfig::NoTransactions);
        }
        if let Some(method) = self.methods.iter().find(|method| method.is_safe()) {
            return Err(InvalidConfig::SafeMethod(method.clone()));
        }
        if self.lease < Duration::from_millis(1)
            || self.max_run.is_zero()
            || self.in_flight == InFlight::wait(Duration::ZERO)
        {
            return Err(InvalidConfig::NoTime);
        }
        // An unfinished record lives for the retention from its last renewal, which may be a whole
        // lease away: a shorter retention would forget what still runs.
        if self.retention < self.lease.saturating_mul(2) {
            return Err(InvalidConfig::RetentionTooShort {
                retention: self.retention,
                lease: self.lease,
            });
        }
        Ok(())
    }
}
