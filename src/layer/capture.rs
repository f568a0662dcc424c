use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::response::Parts;
use http::{HeaderName, Response};
use http_body::Body;

use super::body::{BrokenBody, ResponseBody, Whole, poll_frame};
use super::frames::Frames;
use super::headers::{STATUS, contains};
use super::policy::Policy;
use super::replay::is_empty;
use super::transaction::SerializationFailure;
use crate::engine::{Conclusion, Held};
use crate::protocol::Ran;
use crate::within::within;

/// What to conclude from a handler's response, and what to send.
type Captured<B> = (Conclusion, Response<ResponseBody<B>>);

/// What a look at the head of a response leads to.
pub(super) enum Sorted<B> {
    /// Its body need not be read.
    Captured(Conclusion, Response<ResponseBody<B>>),
    /// Nothing: the handler is to run again.
    Again,
    /// Nothing: there is no response, or it says of a success that it may be none, and what was
    /// written is rolled back.
    Failed,
    /// Its body decides.
    Unread(Unread<B>),
}

/// A response whose body may fit into a record.
pub(super) struct Unread<B> {
    head: Parts,
    /// What has not been read of it; nothing, once it has come to its end.
    rest: Option<Pin<Box<B>>>,
    frames: Frames,
    /// Bytes that were read, with trailers.
    size: usize,
}

/// Decides by the head of a handler's response what a record keeps of it.
pub(super) fn sort<B>(
    mut response: Response<B>,
    held: &Held,
    policy: &Policy,
    marker: &HeaderName,
) -> Sorted<B>
where
    B: Body<Data = Bytes>,
{
    if SerializationFailure::is_in(&response) && held.may_try_again() {
        return Sorted::Again;
    }
    for ours in [marker, &STATUS] {
        if contains(response.headers(), ours) {
            response.headers_mut().remove(ours);
        }
    }
    let verdict = policy.verdict_of(&response);
    if let Some(ran) = verdict.frees(held.guarantee()) {
        if ran == Ran::Maybe && held.is_joined() && response.status().as_u16() < 400 {
            tracing::error!(
                "the answer is a success and ambiguous, so the transaction is rolled back"
            );
            return Sorted::Failed;
        }
        // Nothing of it will be stored, so it need not be read.
        let response = response.map(ResponseBody::original);
        return Sorted::Captured(Conclusion::Free(ran), response);
    }
    let (head, body) = response.into_parts();
    if is_empty(head.status) {
        let headers = &policy.stored_headers;
        let outcome = headers.response(head.status, &head.headers, marker, Bytes::new(), None);
        let response = Response::from_parts(head, ResponseBody::whole(Whole::default()));
        return Sorted::Captured(Conclusion::Keep(outcome), response);
    }
    let unkeepable = head.status.is_informational()
        || is_stream(&head.headers, policy)
        || body.size_hint().lower() > policy.response_limit as u64;
    if unkeepable {
        let (conclusion, response) = not_kept(head, ResponseBody::original(body), policy, marker);
        return Sorted::Captured(conclusion, response);
    }
    let (rest, frames) = (Some(Box::pin(body)), Frames::default());
    Sorted::Unread(Unread { head, rest, frames, size: 0 })
}

/// What the first client gets of a response of which the record keeps only a tombstone.
fn not_kept<B>(
    head: Parts,
    body: ResponseBody<B>,
    policy: &Policy,
    marker: &HeaderName,
) -> Captured<B> {
    let tombstone = policy.stored_headers.tombstone(head.status, &head.headers, marker);
    (Conclusion::Keep(tombstone), Response::from_parts(head, body))
}

impl<B: Body<Data = Bytes>> Unread<B> {
    /// Reads the body, as far as it is within the limits.
    pub(super) async fn read(&mut self, policy: &Policy) -> Result<(), BrokenBody> {
        let reading = poll_fn(|context| self.poll(context, policy.response_limit));
        if within(policy.buffer_time, reading).await.unwrap_or(Ok(false))? {
            // Dropped here, where it may panic.
            self.rest = None;
        }
        Ok(())
    }

    /// Whether that was all of it.
    fn poll(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<Result<bool, BrokenBody>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(true)) };
        while let Some(frame) = ready!(poll_frame(rest.as_mut(), context)) {
            let frame = frame?;
            self.size += frame.data_ref().map_or(0, Bytes::len);
            self.size += frame.trailers_ref().map_or(0, trailers_size);
            // Nothing comes after trailers (RFC 9110, section 6.5).
            let ends = frame.is_trailers() || rest.is_end_stream();
            self.frames.push(frame);
            if ends || self.size > limit {
                return Poll::Ready(Ok(self.size <= limit));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// What a record keeps of the response, and what is sent.
    pub(super) fn capture(self, policy: &Policy, marker: &HeaderName) -> Captured<B> {
        let Self { head, rest, frames, .. } = self;
        if let Some(rest) = rest {
            return not_kept(head, ResponseBody::resumed(frames, rest), policy, marker);
        }
        let (data, mut trailers) = frames.join();
        if let Some(trailers) = &mut trailers {
            trailers.remove(marker);
            trailers.remove(STATUS);
        }
        let outcome = policy.stored_headers.response(
            head.status,
            &head.headers,
            marker,
            data.clone(),
            trailers.as_deref(),
        );
        let body = ResponseBody::whole(Whole::new(data, trailers));
        let response = Response::from_parts(head, body);
        (Conclusion::Keep(outcome), response)
    }
}

fn trailers_size(trailers: &HeaderMap) -> usize {
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn is_stream(headers: &HeaderMap, policy: &Policy) -> bool {
    let Some((_, value)) = headers.iter().find(|(name, _)| *name == CONTENT_TYPE) else {
        return false;
    };
    let value = value.as_bytes().trim_ascii_start();
    policy.stream_types.iter().any(|kind| {
        value.split_at_checked(kind.len()).is_some_and(|(start, rest)| {
            // `application/grpc` stands for `application/grpc+proto` too.
            (rest.starts_with(b"+") || matches!(rest.trim_ascii_start().first(), None | Some(b';')))
                && start.eq_ignore_ascii_case(kind.as_bytes())
        })
    })
}
