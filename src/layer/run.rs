use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use tower::Service;
use tracing::Instrument as _;

use super::body::{RequestBody, ResponseBody};
use super::capture::{Captured, capture};
use super::headers::STATUS;
use super::policy::Policy;
use super::shared::{Shared, into_body};
use crate::engine::{Admitted, Conclusion, Rejection, Run, Settled, Verdict};
use crate::protocol::{Fields, Outcome, Ran};

/// How the inner service ended, if it did.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one match, and the large one is common"
)]
enum Answered<R, E> {
    Response(Captured<R>),
    NotReady(E),
    Failed,
}

/// Runs the handler under its claim, stores what came of it, then answers.
pub(super) async fn run<S, B, R>(
    shared: &Shared,
    policy: &Policy,
    admitted: Admitted,
    mut inner: S,
    request: Request<RequestBody<B>>,
) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let Admitted { held, room, mut ticket } = admitted;
    let slot = held.slot();
    let span = tracing::info_span!("idempotency", %slot, attempt = held.attempt());
    let called = AtomicBool::new(false);
    let work = async {
        if let Err(error) = poll_fn(|context| inner.poll_ready(context)).await {
            return Answered::NotReady(error);
        }
        called.store(true, Ordering::Relaxed);
        let Ok(response) = inner.call(request).await else { return Answered::Failed };
        match capture(response, policy, &shared.marker).await {
            Ok(captured) => Answered::Response(captured),
            Err(_broken_body) => Answered::Failed,
        }
    };
    let engine = &shared.engine;
    let ran = engine.run(&held, &mut ticket, work.instrument(span)).await;
    drop(room);
    let (conclusion, answer) = match ran {
        Run::Finished(Answered::Response(Captured { conclusion, response })) => {
            (conclusion, Ok(response))
        }
        Run::Finished(Answered::NotReady(error)) => (Conclusion::Free(Ran::No), Err(error)),
        Run::Finished(Answered::Failed) | Run::Panicked | Run::Stopped => {
            // An inner service that never became ready has not executed anything.
            let verdict = if called.load(Ordering::Relaxed) {
                Verdict::Ambiguous
            } else {
                Verdict::NotExecuted
            };
            let freed = verdict.frees(policy.guarantee);
            let rejection = Rejection::HandlerFailed { retryable: freed.is_some() };
            let problem = shared.problems.response(&rejection);
            let conclusion =
                freed.map_or_else(|| keep_problem(shared, policy, &problem), Conclusion::Free);
            (conclusion, Ok(problem.map(into_body)))
        }
    };
    match engine.settle(held, conclusion, ticket).await {
        Settled::Answer => answer,
        Settled::Unstored => answer.map(|mut response| {
            response.headers_mut().insert(STATUS, HeaderValue::from_static("unstored"));
            response
        }),
        Settled::Instead(answer) => Ok(shared.answer(slot, answer)),
    }
}

/// A record of a problem document, without what a formatter may have added for one message.
fn keep_problem(shared: &Shared, policy: &Policy, problem: &Response<Bytes>) -> Conclusion {
    Conclusion::Keep(Outcome::Response {
        status: problem.status().as_u16(),
        headers: policy.stored_headers.of(problem.headers(), &shared.marker),
        body: problem.body().clone(),
        trailers: Fields::none(),
    })
}
