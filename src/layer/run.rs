use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use tower::Service;
use tracing::Instrument as _;

use super::arrived::{Arrived, Ready};
use super::body::{BrokenBody, RequestBody, ResponseBody, Whole};
use super::capture::{Sorted, sort};
use super::headers::STATUS;
use super::policy::Policy;
use super::shared::Shared;
use crate::engine::{Admitted, Conclusion, Held, Rejection, Run, RunningClaim, Settled, Verdict};
use crate::protocol::{Fields, Outcome, Ran};

/// Runs the handler under its claim until its transaction does not lose against others, as often as
/// the policy says.
pub(super) async fn run_again<S, B, R>(
    mut ready: Box<Ready<S>>,
    admitted: &mut Admitted,
) -> Result<Response<ResponseBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    R: Body<Data = Bytes>,
{
    admitted.held.allow_tries(ready.arrived.policy.transaction_retries);
    loop {
        let again = ready.clone();
        if let Some(answer) = run(ready, admitted).await {
            return answer;
        }
        again.arrived.shared.engine.start_over(&admitted.held).await;
        ready = again;
    }
}

/// Runs the handler under its claim, stores what came of it, then answers; nothing, if it has to run
/// again and may.
pub(super) async fn run<S, B, R>(
    mut ready: Box<Ready<S>>,
    admitted: &mut Admitted,
) -> Option<Result<Response<ResponseBody<R>>, S::Error>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let (shared, policy) = (Arc::clone(&ready.arrived.shared), Arc::clone(&ready.arrived.policy));
    let Admitted { held, room, ticket } = admitted;
    let span = tracing::info_span!("idempotency", slot = %held.slot(), attempt = held.attempt());
    let (conclusion, answer) = {
        let mut called = false;
        let mut answered = Ok(Sorted::Failed);
        let ran = {
            // Only what the handler has made outlives its run, in a place outside of it.
            let work = async {
                if let Err(error) = poll_fn(|context| ready.inner.poll_ready(context)).await {
                    answered = Err(error);
                    return;
                }
                called = true;
                let Ok(response) = call(ready, held).await else { return };
                answered = Ok(sort(response, held, &policy, &shared.marker));
                if let Ok(Sorted::Unread(unread)) = &mut answered
                    && let Err(BrokenBody) = unread.read(&policy).await
                {
                    // Dropped here, where it may panic.
                    answered = Ok(Sorted::Failed);
                }
            };
            let mut work = pin!(Some(work.instrument(span)));
            shared.engine.run(held, ticket, work.as_mut()).await
        };
        match (&ran, &answered) {
            (Run::Finished(()), Ok(Sorted::Again)) => return None,
            (Run::Finished(()), _) => {}
            // What it leaves behind may panic as well, when it is dropped.
            _ => {
                let left = std::mem::replace(&mut answered, Ok(Sorted::Failed));
                drop(catch_unwind(AssertUnwindSafe(|| drop(left))));
            }
        }
        conclude(&ran, answered, called, held, &shared, &policy)
    };
    // What may run again keeps its room until that is settled.
    if policy.transaction_retries == 0 {
        room.leave();
    }
    Some(match shared.engine.settle(held, &conclusion, ticket).await {
        Settled::Answer => answer,
        Settled::Unstored => answer.map(|mut response| {
            response.headers_mut().insert(STATUS, HeaderValue::from_static("unstored"));
            response
        }),
        Settled::Instead(answer) => Ok(shared.answer(held.slot(), answer).map(ResponseBody::whole)),
        Settled::Again => return None,
    })
}

/// Hands the request to the handler. A function of its own, so that what it takes apart is not kept
/// as long as the handler runs.
#[expect(clippy::boxed_local, reason = "out of its box it would be moved once more")]
fn call<S, B>(mut ready: Box<Ready<S>>, held: &Arc<Held>) -> S::Future
where
    S: Service<Request<RequestBody<B>>>,
{
    ready.arrived.parts.extensions.insert(RunningClaim(Arc::clone(held)));
    let Ready { arrived: Arrived { parts, content, .. }, mut inner } = *ready;
    inner.call(Request::from_parts(parts, RequestBody::whole(content)))
}

/// What becomes of the slot, and what the first client is told.
fn conclude<R, E>(
    ran: &Run<()>,
    answered: Result<Sorted<R>, E>,
    called: bool,
    held: &Held,
    shared: &Shared,
    policy: &Policy,
) -> (Conclusion, Result<Response<ResponseBody<R>>, E>)
where
    R: Body<Data = Bytes>,
{
    match ran {
        Run::Finished(()) => match answered {
            Ok(Sorted::Captured(conclusion, response)) => return (conclusion, Ok(response)),
            Ok(Sorted::Unread(unread)) => {
                let (conclusion, response) = unread.capture(policy, &shared.marker);
                return (conclusion, Ok(response));
            }
            Err(error) => return (Conclusion::Free(Ran::No), Err(error)),
            Ok(Sorted::Again | Sorted::Failed) => {}
        },
        Run::Panicked => tracing::error!("the handler panicked"),
        Run::Stopped => tracing::error!("the handler exceeded max_run"),
    }
    // An inner service that never became ready has not executed anything.
    let verdict = if called { Verdict::Ambiguous } else { Verdict::NotExecuted };
    let freed = verdict.frees(held.guarantee());
    let rejection = Rejection::HandlerFailed { retryable: freed.is_some() };
    let problem = shared.problems.response(&rejection);
    let conclusion = freed.map_or_else(|| keep_problem(shared, policy, &problem), Conclusion::Free);
    (conclusion, Ok(problem.map(|body| ResponseBody::whole(Whole::of(body)))))
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
