use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// What was read of a body. Most bodies are one frame, which needs no memory of its own.
#[derive(Default)]
pub(super) struct Frames {
    first: Option<Frame<Bytes>>,
    more: VecDeque<Frame<Bytes>>,
    len: usize,
}

impl Frames {
    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        self.len += frame.data_ref().map_or(0, Bytes::len);
        if self.first.is_none() && self.more.is_empty() {
            self.first = Some(frame);
        } else {
            self.more.push_back(frame);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.first.take().or_else(|| self.more.pop_front())?;
        self.len -= frame.data_ref().map_or(0, Bytes::len);
        Some(frame)
    }

    /// Bytes of data.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    /// The data put together, and the trailers.
    pub(super) fn join(mut self) -> (Bytes, Option<HeaderMap>) {
        let mut data = Joined::of(self.len);
        let mut trailers = None;
        while let Some(frame) = self.pop_front() {
            match frame.into_data() {
                Ok(chunk) => data.push(chunk),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (data.finish(), trailers)
    }
}

/// Chunks put together; a single one is not copied.
pub(super) struct Joined {
    first: Bytes,
    all: BytesMut,
    expected: usize,
}

impl Joined {
    /// So many bytes are expected, or more: memory for them is taken once there is a second chunk.
    pub(super) fn of(expected: usize) -> Self {
        Self { first: Bytes::new(), all: BytesMut::new(), expected }
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
        } else {
            if self.all.is_empty() {
                self.all.reserve(self.expected.max(self.first.len() + chunk.len()));
                self.all.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.all.extend_from_slice(&chunk);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
