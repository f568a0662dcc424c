use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use rand::RngExt as _;
use tower::Service;
use tower::util::Oneshot;

use super::body::{RequestBody, ResponseBody, Whole};
use super::future::ResponseFuture;
use super::options::Scope;
use super::policy::Policy;
use super::receive::{Received, receive};
use super::route;
use super::run::run;
use super::shared::{Shared, into_body};
use super::tenant::Unresolved;
use crate::engine::{Admission, Rejection, RunningClaim, Supervised};
use crate::protocol::{Attempt, Fingerprint, IdempotencyKey, Nonce, Slot};

/// A service under protection. Made by [`IdempotencyLayer`](super::IdempotencyLayer).
#[derive(Clone)]
pub struct Idempotency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Idempotency<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, B, R> Service<Request<B>> for Idempotency<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body<Data = Bytes> + Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    /// Always ready: replays and refusals must not hold a permit of the inner service, which is
    /// made ready once there is a claim.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let shared = &self.shared;
        let pass = |inner, request: Request<B>| {
            ResponseFuture::passed(Oneshot::new(inner, request.map(RequestBody::original)))
        };
        let refuse = |rejection| ResponseFuture::refused(shared.refuse(&rejection).map(into_body));
        let Some(policy) = shared.policy_for(&request) else { return pass(inner, request) };
        let line = match shared.line(&request) {
            Ok(Some(line)) => line,
            Ok(None) if policy.required.is_never() => return pass(inner, request),
            Ok(None) => {
                let (parts, body) = request.into_parts();
                if policy.required.of(&parts) {
                    return refuse(Rejection::KeyMissing);
                }
                return pass(inner, Request::from_parts(parts, body));
            }
            Err(invalid) => return refuse(Rejection::KeyInvalid(invalid)),
        };
        let key = match Shared::key(line, policy) {
            Ok(key) => key,
            Err(invalid) => return refuse(Rejection::KeyInvalid(invalid)),
        };
        let (parts, body) = request.into_parts();
        let tenant = match shared.tenant.of(&parts) {
            Ok(tenant) => tenant,
            Err(Unresolved(None)) => return refuse(Rejection::TenantUnresolved),
            Err(Unresolved(Some(answer))) => {
                return ResponseFuture::refused(answer.map(|body| into_body(body.into())));
            }
        };
        let arrived =
            Arrived { shared: Arc::clone(shared), policy: Arc::clone(policy), parts, key, tenant };
        ResponseFuture::protected(Box::pin(arrived.protect(inner, body)))
    }
}

/// A keyed request on its way through the layer.
struct Arrived {
    shared: Arc<Shared>,
    policy: Arc<Policy>,
    parts: Parts,
    key: IdempotencyKey,
    tenant: Arc<str>,
}

impl Arrived {
    /// Reads the body, then does the rest under supervision: from before `begin` is sent, a client
    /// that goes away no longer ends the work.
    async fn protect<S, B, R>(
        self,
        inner: S,
        body: B,
    ) -> Result<Response<ResponseBody<R>>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Body<Data = Bytes> + Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
    {
        let secret = self.shared.secret.as_ref();
        match receive(body, &self.parts, &self.policy, secret).await {
            Err(rejection) => Ok(self.shared.refuse(&rejection).map(into_body)),
            Ok(received) => {
                let engine = Arc::clone(&self.shared.engine);
                Supervised::new(engine.work(), self.admit(inner, received)).await
            }
        }
    }

    /// Asks the store, and does what it says.
    async fn admit<S, B, R>(
        self,
        inner: S,
        received: Received,
    ) -> Result<Response<ResponseBody<R>>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        B: Body<Data = Bytes>,
        R: Body<Data = Bytes>,
    {
        let Received { data, trailers, fingerprint } = received;
        let attempt = self.attempt(fingerprint);
        let slot = attempt.slot;
        let named = (self.key.clone(), Arc::clone(&self.tenant));
        let compare = |scheme: &_| {
            let secret = self.shared.secret.as_ref();
            self.policy.fingerprint.under(scheme, &self.parts, &data, secret)
        };
        let terms = self.policy.terms();
        let engine = &self.shared.engine;
        match engine.begin(attempt, terms, named, compare).await {
            Admission::Proceed(held) => {
                let Self { shared, policy, mut parts, .. } = self;
                parts.extensions.insert(RunningClaim(Arc::clone(&held)));
                let body = RequestBody::whole(Whole::new(data, trailers));
                run(&shared, &policy, held, inner, Request::from_parts(parts, body)).await
            }
            Admission::Answer(answer) => Ok(self.shared.answer(slot, answer)),
        }
    }

    fn attempt(&self, fingerprint: Fingerprint) -> Attempt {
        let policy = &self.policy;
        let named = policy.route.as_ref().map(|name| name(&self.parts));
        let route = named.as_deref().unwrap_or_else(|| {
            route::template(&self.parts.extensions).unwrap_or_else(|| {
                route::original_uri(&self.parts.extensions, &self.parts.uri).path()
            })
        });
        let slot = Slot::derive(
            self.shared.secret.as_ref(),
            &self.tenant,
            self.parts.method.as_str(),
            (policy.scope == Scope::Endpoint).then_some(route),
            &self.key,
        );
        Attempt {
            slot,
            fingerprint,
            nonce: Nonce::from_bytes(rand::rng().random()),
            lease: policy.lease,
            retention: policy.retention,
            guarantee: policy.guarantee,
            max_attempts: policy.max_attempts,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("inner", &self.inner).finish_non_exhaustive()
    }
}
