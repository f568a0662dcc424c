use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::body::{RequestBody, ResponseBody};
use crate::engine::Supervised;

type Protected<R, E> = Supervised<Result<Response<ResponseBody<R>>, E>>;

pin_project! {
    /// The future of [`Idempotency`](super::Idempotency).
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<RequestBody<B>>>,
        S: 'static,
        B: 'static,
        R: 'static,
    {
        #[pin]
        kind: Kind<S, B, R>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<S, B, R>
    where
        S: Service<Request<RequestBody<B>>>,
        S: 'static,
        B: 'static,
        R: 'static,
    {
        /// The layer does not apply: once the inner service is ready, it gets the request.
        Passing { inner: S, request: Option<Request<B>> },
        Passed { #[pin] response: S::Future },
        /// Refused before anything was read.
        Refused { response: Option<Box<Response<ResponseBody<R>>>> },
        Protected { #[pin] work: Protected<R, S::Error> },
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>> + 'static,
    B: 'static,
    R: 'static,
{
    pub(super) const fn passed(inner: S, request: Request<B>) -> Self {
        Self { kind: Kind::Passing { inner, request: Some(request) } }
    }

    pub(super) fn refused(response: Response<ResponseBody<R>>) -> Self {
        Self { kind: Kind::Refused { response: Some(Box::new(response)) } }
    }

    pub(super) const fn protected(work: Protected<R, S::Error>) -> Self {
        Self { kind: Kind::Protected { work } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + 'static,
    B: 'static,
    R: 'static,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        if let KindProjection::Passing { inner, request } = kind.as_mut().project() {
            ready!(inner.poll_ready(context))?;
            let request = request.take().expect("a future is not polled after its end");
            let response = inner.call(request.map(RequestBody::original));
            kind.set(Kind::Passed { response });
        }
        match kind.project() {
            KindProjection::Passed { response } => {
                response.poll(context).map_ok(|response| response.map(ResponseBody::original))
            }
            KindProjection::Passing { .. } => unreachable!("it has been passed above"),
            KindProjection::Refused { response } => {
                Poll::Ready(Ok(*response.take().expect("a future is not polled after its end")))
            }
            KindProjection::Protected { work } => work.poll(context),
        }
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>> + 'static,
    B: 'static,
    R: 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
