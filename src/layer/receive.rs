use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use http_body::Body;

use super::body::{BrokenBody, next_frame};
use super::policy::Policy;
use crate::engine::Rejection;
use crate::protocol::{Fingerprint, Secret};

/// A request body, read to its end.
pub(super) struct Received {
    pub(super) data: Bytes,
    /// They count for nothing in the fingerprint; the handler gets them.
    pub(super) trailers: Option<HeaderMap>,
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
    if body.size_hint().lower() > policy.request_limit as u64 {
        return Err(too_large());
    }
    let mut fingerprinter = policy.fingerprint.begin(parts, secret);
    let mut data = Joined::default();
    let mut trailers = None;
    let mut body = pin!(body);
    while let Some(frame) = next_frame(body.as_mut()).await {
        match frame.map_err(|BrokenBody| Rejection::RequestIncomplete)?.into_data() {
            Ok(chunk) => {
                if data.len() + chunk.len() > policy.request_limit {
                    return Err(too_large());
                }
                if let Some(fingerprinter) = &mut fingerprinter {
                    fingerprinter.body(&chunk);
                }
                data.push(chunk);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let data = data.finish();
    let fingerprint = match fingerprinter {
        Some(fingerprinter) => fingerprinter.finish(),
        None => policy.fingerprint.of(parts, &data, secret),
    };
    Ok(Received { data, trailers, fingerprint })
}

/// Chunks put together; a single one is not copied.
#[derive(Default)]
pub(super) struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
        } else {
            if self.all.is_empty() {
                self.all.reserve(2 * (self.first.len() + chunk.len()));
                self.all.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.all.extend_from_slice(&chunk);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
