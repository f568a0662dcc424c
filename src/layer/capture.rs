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
use crate::within::within;

/// A handler's response: what to conclude from it, and what to send.
pub(super) struct Captured<B> {
    pub(super) conclusion: Conclusion,
    pub(super) response: Response<ResponseBody<B>>,
}

/// What a look at the head of a response leads to.
pub(super) enum Sorted<B> {
    /// Its body need not be read.
    Captured(Captured<B>),
    /// Nothing: the handler is to run again.
    Again,
    /// Its body decides.
    Unread(Unread<B>),
}

/// A response whose body may fit into a record.
pub(super) struct Unread<B> {
    head: Parts,
    body: Pin<Box<B>>,
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
        // Nothing of it will be stored, so it need not be read.
        let response = response.map(ResponseBody::original);
        return Sorted::Captured(Captured { conclusion: Conclusion::Free(ran), response });
    }
    let (head, body) = response.into_parts();
    if is_empty(head.status) {
        let headers = &policy.stored_headers;
        let outcome = headers.response(head.status, &head.headers, marker, Bytes::new(), None);
        let response = Response::from_parts(head, ResponseBody::whole(Whole::default()));
        return Sorted::Captured(Captured { conclusion: Conclusion::Keep(outcome), response });
    }
    let unkeepable = head.status.is_informational()
        || is_stream(&head.headers, policy)
        || body.size_hint().lower() > policy.response_limit as u64;
    if unkeepable {
        let body = ResponseBody::original(body);
        return Sorted::Captured(not_kept(head, body, policy, marker));
    }
    Sorted::Unread(Unread { head, body: Box::pin(body), frames: Frames::default(), size: 0 })
}

/// What the first client gets of a response of which the record keeps only a tombstone.
fn not_kept<B>(
    head: Parts,
    body: ResponseBody<B>,
    policy: &Policy,
    marker: &HeaderName,
) -> Captured<B> {
    let tombstone = policy.stored_headers.tombstone(head.status, &head.headers, marker);
    Captured { conclusion: Conclusion::Keep(tombstone), response: Response::from_parts(head, body) }
}

impl<B: Body<Data = Bytes>> Unread<B> {
    /// Reads the body, as far as it is within the limits; whether that was all of it.
    pub(super) async fn read(&mut self, policy: &Policy) -> Result<bool, BrokenBody> {
        let reading = poll_fn(|context| self.poll(context, policy.response_limit));
        within(policy.buffer_time, reading).await.unwrap_or(Ok(false))
    }

    fn poll(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<Result<bool, BrokenBody>> {
        while let Some(frame) = ready!(poll_frame(self.body.as_mut(), context)) {
            let frame = frame?;
            self.size += frame.data_ref().map_or(0, Bytes::len);
            self.size += frame.trailers_ref().map_or(0, trailers_size);
            // Nothing comes after trailers (RFC 9110, section 6.5).
            let ends = frame.is_trailers() || self.body.is_end_stream();
            self.frames.push(frame);
            if ends || self.size > limit {
                return Poll::Ready(Ok(self.size <= limit));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// What a record keeps of a response that was read `complete`ly, or not.
    pub(super) fn capture(
        self,
        complete: bool,
        policy: &Policy,
        marker: &HeaderName,
    ) -> Captured<B> {
        let Self { head, body, frames, .. } = self;
        if !complete {
            return not_kept(head, ResponseBody::resumed(frames, body), policy, marker);
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
            trailers.as_ref(),
        );
        let body = ResponseBody::whole(Whole::new(data, trailers));
        let response = Response::from_parts(head, body);
        Captured { conclusion: Conclusion::Keep(outcome), response }
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
