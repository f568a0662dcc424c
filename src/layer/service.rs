use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
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
use crate::engine::{Admission, Asking, Rejection, RunningClaim, Supervised, Ticket, Turn};
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

/// A request that has been read, and who would handle it.
struct Ready<S> {
    arrived: Arrived,
    inner: S,
    attempt: Attempt,
    data: Bytes,
    trailers: Option<HeaderMap>,
}

/// What came of a request.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one match, and the large one is common"
)]
enum Done<S, R> {
    Answered(Response<ResponseBody<R>>),
    /// Somebody else runs it.
    Waiting(Box<Ready<S>>),
}

impl Arrived {
    /// Reads the body, then does the rest under supervision: from before `begin` is sent, a client
    /// that goes away no longer ends the work. Only while it waits for another's answer it does.
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
        let received = match receive(body, &self.parts, &self.policy, secret).await {
            Err(rejection) => return Ok(self.shared.refuse(&rejection).map(into_body)),
            Ok(received) => received,
        };
        let Received { data, trailers, fingerprint } = received;
        let attempt = self.attempt(fingerprint);
        let shared = Arc::clone(&self.shared);
        let mut place =
            self.policy.in_flight.max_wait().map(|max| {
                shared.engine.queue(attempt.slot, &attempt.fingerprint, attempt.lease, max)
            });
        let slot = attempt.slot;
        let mut ready = Box::new(Ready { arrived: self, inner, attempt, data, trailers });
        loop {
            let ticket = match &mut place {
                None => Ticket::none(),
                Some(place) => match place.turn().await {
                    Turn::Ask(ticket) => ticket,
                    Turn::Answer(answer) => return Ok(shared.answer(slot, answer)),
                },
            };
            match Supervised::new(shared.engine.work(), ready.admit(ticket)).await? {
                Done::Answered(response) => return Ok(response),
                Done::Waiting(again) => ready = again,
            }
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
            nonce: random_nonce(),
            lease: policy.lease,
            retention: policy.retention,
            guarantee: policy.guarantee,
            max_attempts: policy.max_attempts,
        }
    }
}

impl<S> Ready<S> {
    /// Asks the store, and does what it says.
    async fn admit<B, R>(mut self: Box<Self>, ticket: Ticket) -> Result<Done<S, R>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        B: Body<Data = Bytes>,
        R: Body<Data = Bytes>,
    {
        let Arrived { shared, policy, parts, key, tenant } = &self.arrived;
        let compare = |scheme: &_| {
            policy.fingerprint.under(scheme, parts, &self.data, shared.secret.as_ref())
        };
        let recover =
            policy.recover.as_ref().map(|hook| hook.bound(&policy.stored_headers, &shared.marker));
        let asking = Asking {
            attempt: self.attempt.clone(),
            terms: policy.terms(),
            key: key.clone(),
            tenant: Arc::clone(tenant),
            ticket,
            compare: &compare,
            recover: recover.as_deref(),
        };
        match shared.engine.begin(asking).await {
            Admission::Proceed(admitted) => {
                let Self { arrived, inner, data, trailers, .. } = *self;
                let Arrived { shared, policy, mut parts, .. } = arrived;
                parts.extensions.insert(RunningClaim(Arc::clone(&admitted.held)));
                let body = RequestBody::whole(Whole::new(data, trailers));
                let request = Request::from_parts(parts, body);
                run(&shared, &policy, admitted, inner, request).await.map(Done::Answered)
            }
            Admission::Answer(answer) => {
                Ok(Done::Answered(shared.answer(self.attempt.slot, answer)))
            }
            Admission::Wait => {
                // The next time it is another attempt: a copy of this one may still be under way.
                self.attempt.nonce = random_nonce();
                Ok(Done::Waiting(self))
            }
        }
    }
}

fn random_nonce() -> Nonce {
    Nonce::from_bytes(rand::rng().random())
}

impl<S: fmt::Debug> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("inner", &self.inner).finish_non_exhaustive()
    }
}
