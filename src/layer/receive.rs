use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;

use super::body::{BrokenBody, Whole, poll_frame};
use super::frames::{Joined, boxed_trailers};
use super::policy::Policy;
use crate::engine::Rejection;
use crate::protocol::{Fingerprint, Secret};

/// A request body, read to its end.
pub(super) struct Received {
    /// Its trailers count for nothing in the fingerprint; the handler gets them.
    pub(super) content: Whole,
    pub(super) fingerprint: Fingerprint,
}

/// Reads a request body up to the limit and fingerprints it as it comes.
pub(super) async fn receive<B>(
    body: B,
    parts: &Parts,
    policy: &Policy,
    secret: Option<&Secret>,
) -> Result<Received, Rejection>
where
    B: Body<Data = Bytes>,
{
    let too_large = || Rejection::RequestTooLarge { limit: policy.request_limit };
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > policy.request_limit {
        return Err(too_large());
    }
    let mut fingerprinter = policy.fingerprint.begin(parts, secret);
    let mut data = Joined::of(expected);
    let mut trailers = None;
    let mut body = pin!(body);
    while let Some(frame) = poll_fn(|context| poll_frame(body.as_mut(), context)).await {
        match frame.map_err(|BrokenBody| Rejection::RequestIncomplete)?.into_data() {
            Ok(chunk) => {
                if data.len() + chunk.len() > policy.request_limit {
                    return Err(too_large());
                }
                if let Some(fingerprinter) = &mut fingerprinter {
                    fingerprinter.body(&chunk);
                }
                data.push(chunk);
                // Saves another poll, which most bodies need only to say that this was all.
                if body.is_end_stream() {
                    break;
                }
            }
            Err(frame) => trailers = boxed_trailers(frame),
        }
    }
    let data = data.finish();
    let fingerprint = match fingerprinter {
        Some(fingerprinter) => fingerprinter.finish(),
        None => policy.fingerprint.of(parts, &data, secret),
    };
    Ok(Received { content: Whole::new(data, trailers), fingerprint })
}
