use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderName, Response};
use http_body::{Body, Frame};

use super::body::{BrokenBody, ResponseBody, Whole, next_frame};
use super::headers::STATUS;
use super::policy::Policy;
use super::receive::Joined;
use super::replay::is_empty;
use crate::engine::Conclusion;

/// A handler's response: what to conclude from it, and what to send.
pub(super) struct Captured<B> {
    pub(super) conclusion: Conclusion,
    pub(super) response: Response<ResponseBody<B>>,
}

/// Takes a handler's response apart: into what a record keeps, and what the first client gets.
pub(super) async fn capture<B>(
    mut response: Response<B>,
    policy: &Policy,
    marker: &HeaderName,
) -> Result<Captured<B>, BrokenBody>
where
    B: Body<Data = Bytes>,
{
    response.headers_mut().remove(marker);
    response.headers_mut().remove(STATUS);
    let verdict = policy.verdict_of(&response);
    if let Some(ran) = verdict.frees(policy.guarantee) {
        // Nothing of it will be stored, so it need not be read.
        let response = response.map(ResponseBody::original);
        return Ok(Captured { conclusion: Conclusion::Free(ran), response });
    }
    let (parts, body) = response.into_parts();
    if is_empty(parts.status) {
        let headers = &policy.stored_headers;
        let outcome = headers.response(parts.status, &parts.headers, marker, Bytes::new(), None);
        let response = Response::from_parts(parts, ResponseBody::whole(Whole::default()));
        return Ok(Captured { conclusion: Conclusion::Keep(outcome), response });
    }
    let unkeepable = parts.status.is_informational()
        || is_stream(&parts.headers, policy)
        || body.size_hint().lower() > policy.response_limit as u64;
    if unkeepable {
        let headers = &policy.stored_headers;
        let tombstone = headers.tombstone(parts.status, &parts.headers, marker);
        let response = Response::from_parts(parts, ResponseBody::original(body));
        return Ok(Captured { conclusion: Conclusion::Keep(tombstone), response });
    }
    match read(body, policy.response_limit, policy.buffer_time).await? {
        Read::Whole { data, mut trailers } => {
            if let Some(trailers) = &mut trailers {
                trailers.remove(marker);
                trailers.remove(STATUS);
            }
            let outcome = policy.stored_headers.response(
                parts.status,
                &parts.headers,
                marker,
                data.clone(),
                trailers.as_ref(),
            );
            let body = ResponseBody::whole(Whole::new(data, trailers));
            let response = Response::from_parts(parts, body);
            Ok(Captured { conclusion: Conclusion::Keep(outcome), response })
        }
        Read::Partly { frames, rest } => {
            let headers = &policy.stored_headers;
            let tombstone = headers.tombstone(parts.status, &parts.headers, marker);
            let response = Response::from_parts(parts, ResponseBody::resumed(frames, rest));
            Ok(Captured { conclusion: Conclusion::Keep(tombstone), response })
        }
    }
}

enum Read<B> {
    Whole { data: Bytes, trailers: Option<HeaderMap> },
    Partly { frames: VecDeque<Frame<Bytes>>, rest: Pin<Box<B>> },
}

/// Reads a body that is within the limits; gives back what was read of any other.
async fn read<B>(body: B, limit: usize, time: Duration) -> Result<Read<B>, BrokenBody>
where
    B: Body<Data = Bytes>,
{
    let mut body = Box::pin(body);
    let mut frames = VecDeque::new();
    let within_time = tokio::time::timeout(time, async {
        let mut size = 0;
        while let Some(frame) = next_frame(body.as_mut()).await {
            let frame = frame?;
            size += frame.data_ref().map_or(0, Bytes::len);
            size += frame.trailers_ref().map_or(0, trailers_size);
            // Nothing comes after trailers (RFC 9110, section 6.5).
            let ends = frame.is_trailers();
            frames.push_back(frame);
            if ends {
                return Ok(size <= limit);
            }
            if size > limit {
                return Ok(false);
            }
        }
        Ok(true)
    });
    let complete = within_time.await.unwrap_or(Ok(false))?;
    if !complete {
        return Ok(Read::Partly { frames, rest: body });
    }
    let mut data = Joined::default();
    let mut trailers = None;
    for frame in frames {
        match frame.into_data() {
            Ok(chunk) => data.push(chunk),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Read::Whole { data: data.finish(), trailers })
}

fn trailers_size(trailers: &HeaderMap) -> usize {
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn is_stream(headers: &HeaderMap, policy: &Policy) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii();
    policy.stream_types.iter().any(|kind| {
        // `application/grpc` stands for `application/grpc+proto` too.
        essence.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind.as_bytes()))
            && matches!(essence.get(kind.len()), None | Some(b'+'))
    })
}
