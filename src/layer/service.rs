use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::arrived::{Arrived, Ready};
use super::body::{RequestBody, ResponseBody, Whole};
use super::future::ResponseFuture;
use super::run::{run, run_again};
use super::shared::Shared;
use super::tenant::Unresolved;
use crate::engine::{Rejection, Supervised, Supervision};

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
        // Cloned first: a call between its parts would have what is made here moved once more.
        let (shared, policy, inner) = (Arc::clone(shared), Arc::clone(policy), inner.clone());
        let ready = Box::new(Ready {
            arrived: Arrived { shared, policy, parts, key, tenant, content: Whole::default() },
            inner,
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

impl<S: fmt::Debug> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("inner", &self.inner).finish_non_exhaustive()
    }
}
