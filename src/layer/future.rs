use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::body::{RequestBody, ResponseBody};
use crate::engine::Supervised;

const ENDED: &str = "a future is not polled after its end";

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
        /// The layer does not apply, and the inner service has the request.
        Passed { #[pin] response: S::Future },
        /// It gets the request once it is ready. Boxed, since that is rare.
        Passing { waiting: Option<Box<(S, Request<B>)>> },
        /// Refused before anything was read, or the inner service cannot take a request.
        Ended { response: Option<Result<Box<Response<ResponseBody<R>>>, S::Error>> },
        Protected { #[pin] work: Protected<R, S::Error> },
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>> + 'static,
    B: 'static,
    R: 'static,
{
    /// Hands a request to which the layer does not apply to the inner service: at once if that is
    /// ready, as most are.
    pub(super) fn passed(inner: &mut S, request: Request<B>) -> Self
    where
        S: Clone,
    {
        // If it is not, `poll` asks again, with a waker that wakes somebody.
        let kind = match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                Kind::Passed { response: inner.call(request.map(RequestBody::original)) }
            }
            Poll::Ready(Err(error)) => Kind::Ended { response: Some(Err(error)) },
            Poll::Pending => {
                // The one that was asked, since it may stand in a queue.
                let another = inner.clone();
                let asked = std::mem::replace(inner, another);
                Kind::Passing { waiting: Some(Box::new((asked, request))) }
            }
        };
        Self { kind }
    }

    pub(super) fn refused(response: Response<ResponseBody<R>>) -> Self {
        Self { kind: Kind::Ended { response: Some(Ok(Box::new(response))) } }
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

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        if let KindProjection::Passing { waiting } = kind.as_mut().project() {
            let (inner, _) = waiting.as_deref_mut().expect(ENDED);
            ready!(inner.poll_ready(context))?;
            let (mut inner, request) = *waiting.take().expect(ENDED);
            let response = inner.call(request.map(RequestBody::original));
            kind.set(Kind::Passed { response });
        }
        match kind.project() {
            KindProjection::Passed { response } => {
                response.poll(context).map_ok(|response| response.map(ResponseBody::original))
            }
            KindProjection::Passing { .. } => unreachable!("it has been passed above"),
            KindProjection::Ended { response } => {
                Poll::Ready(response.take().expect(ENDED).map(|response| *response))
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::time::timeout;
    use tower::limit::ConcurrencyLimit;
    use tower::service_fn;

    use super::*;

    type Content = Full<Bytes>;

    /// With a waker that wakes nobody, a request that is forgotten in the queue for a permit would
    /// keep the permit for good.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_passes_keeps_its_place_in_the_queue_of_the_inner_service() {
        let answer = |_: Request<RequestBody<Content>>| async {
            Ok::<_, Infallible>(Response::new(Content::default()))
        };
        let mut inner = ConcurrencyLimit::new(service_fn(answer), 1);
        let mut pass = || ResponseFuture::passed(&mut inner, Request::new(Content::default()));
        let [first, second, third] = [pass(), pass(), pass()];
        assert!(matches!(first.kind, Kind::Passed { .. }));
        assert!(matches!(second.kind, Kind::Passing { .. }));
        let second = tokio::spawn(second);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        let answered = timeout(Duration::from_secs(1), async { (second.await, third.await) }).await;
        assert!(matches!(answered, Ok((Ok(Ok(_)), Ok(_)))));
        assert!(pass().await.is_ok());
    }
}
