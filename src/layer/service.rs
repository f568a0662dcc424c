use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use rand::RngExt as _;
use tower::Service;

use super::body::{RequestBody, ResponseBody, Whole};
use super::future::ResponseFuture;
use super::options::Scope;
use super::policy::Policy;
use super::receive::{Received, receive};
use super::route;
use super::run::{run, run_again};
use super::shared::Shared;
use super::tenant::Unresolved;
use crate::engine::{
    Admission, Admitted, Asking, Rejection, Supervised, Supervising, Supervision, Ticket, Turn,
};
use crate::protocol::{Attempt, Fingerprint, Guarantee, IdempotencyKey, Nonce, Slot};

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

    /// Short, so that it becomes a part of the caller: most requests have a method that no policy
    /// protects.
    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method().is_safe() {
            ResponseFuture::passed(&mut self.inner, request)
        } else {
            self.answer(request)
        }
    }
}

impl<S> Idempotency<S> {
    /// Refuses a request, lets it pass or protects it.
    fn answer<B, R>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Body<Data = Bytes> + Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
    {
        let Self { inner, shared } = self;
        let refuse =
            |rejection| ResponseFuture::refused(shared.refuse(&rejection).map(ResponseBody::whole));
        let Some(policy) = shared.policy_for(&request) else {
            return ResponseFuture::passed(inner, request);
        };
        let line = match shared.line(&request) {
            Ok(Some(line)) => line,
            Ok(None) if policy.required.is_never() => {
                return ResponseFuture::passed(inner, request);
            }
            Ok(None) => {
                let (parts, body) = request.into_parts();
                if policy.required.of(&parts) {
                    return refuse(Rejection::KeyMissing);
                }
                return ResponseFuture::passed(inner, Request::from_parts(parts, body));
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
                return ResponseFuture::refused(
                    answer.map(|body| ResponseBody::whole(Whole::of(body.into()))),
                );
            }
        };
        let (shared, policy) = (Arc::clone(shared), Arc::clone(policy));
        let ready = Box::new(Ready {
            arrived: Arrived { shared, policy, parts, key, tenant, content: Whole::default() },
            inner: inner.clone(),
        });
        ResponseFuture::protected(Supervised::new(|supervision| protect(ready, body, supervision)))
    }
}

/// Reads the body, then does the rest under supervision: from before `begin` is sent, a client that
/// goes away no longer ends the work. Only while it waits for another's answer it does.
async fn protect<S, B, R>(
    mut ready: Box<Ready<S>>,
    body: B,
    supervision: Supervision,
) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send,
    S::Future: Send,
    S::Error: Send,
    B: Body<Data = Bytes> + Send,
    R: Body<Data = Bytes> + Send,
{
    let (mut admitted, _supervising) = match ready.arrived.admit(body, &supervision).await {
        Ok(admitted) => admitted,
        Err(response) => return Ok(response.map(ResponseBody::whole)),
    };
    if ready.arrived.policy.transaction_retries > 0 {
        return Box::pin(run_again(ready, &mut admitted)).await;
    }
    run(ready, &mut admitted).await.expect("without retries it does not run again")
}

/// A keyed request on its way through the layer.
#[derive(Clone)]
pub(super) struct Arrived {
    pub(super) shared: Arc<Shared>,
    pub(super) policy: Arc<Policy>,
    pub(super) parts: Parts,
    key: IdempotencyKey,
    tenant: Arc<str>,
    /// The body, once it has been read.
    pub(super) content: Whole,
}

/// A keyed request, and who would handle it.
#[derive(Clone)]
pub(super) struct Ready<S> {
    pub(super) arrived: Arrived,
    pub(super) inner: S,
}

impl Arrived {
    /// Reads the body and asks the store, under supervision if that lets the handler run. Where
    /// somebody else runs it, and the policy says so, it waits for that. The error is the answer to
    /// a request that does not run.
    async fn admit<'a, B>(
        &mut self,
        body: B,
        supervision: &'a Supervision,
    ) -> Result<(Admitted, Supervising<'a>), Response<Whole>>
    where
        B: Body<Data = Bytes>,
    {
        let secret = self.shared.secret.as_ref();
        let mut attempt = match receive(body, &self.parts, &self.policy, secret).await {
            Err(rejection) => return Err(self.shared.refuse(&rejection)),
            Ok(Received { content, fingerprint }) => {
                self.content = content;
                self.attempt(fingerprint)
            }
        };
        let mut place = self.policy.in_flight.max_wait().map(|max| {
            let Attempt { slot, fingerprint, lease, .. } = &attempt;
            Box::new(self.shared.engine.queue(*slot, fingerprint, *lease, max))
        });
        loop {
            let mut ticket = match &mut place {
                None => Ticket::none(),
                Some(place) => match Box::pin(place.turn()).await {
                    Turn::Ask(ticket) => ticket,
                    Turn::Answer(answer) => return Err(self.shared.answer(attempt.slot, answer)),
                },
            };
            let supervising = supervision.begin(self.shared.engine.work());
            match self.ask(&mut attempt, &mut ticket).await {
                Admission::Proceed(admitted) => return Ok((admitted, supervising)),
                Admission::Answer(answer) => return Err(self.shared.answer(attempt.slot, answer)),
                // The next time it is another attempt: a copy of this one may still be under way.
                Admission::Wait => attempt.nonce = random_nonce(),
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
            take_over: policy.take_over(),
            transactional: policy.guarantee == Guarantee::Transactional,
        }
    }

    /// Asks the store.
    async fn ask(&self, attempt: &mut Attempt, ticket: &mut Ticket) -> Admission {
        let Self { shared, policy, parts, key, tenant, content } = self;
        let compare = |scheme: &_| {
            policy.fingerprint.under(scheme, parts, content.data(), shared.secret.as_ref())
        };
        let recover =
            policy.recover.as_ref().map(|hook| hook.bound(&policy.stored_headers, &shared.marker));
        let mut asking = Asking {
            attempt,
            terms: policy.terms(),
            key,
            tenant,
            ticket,
            compare: &compare,
            recover: recover.as_deref(),
        };
        shared.engine.begin(&mut asking).await
    }
}

fn random_nonce() -> Nonce {
    // An array is drawn octet by octet, from four times as much of the generator's output.
    Nonce::from_bytes(rand::rng().random::<u128>().to_ne_bytes())
}

impl<S: fmt::Debug> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("inner", &self.inner).finish_non_exhaustive()
    }
}
