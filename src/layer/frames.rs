use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// What was read of a body. Most bodies are one frame, which needs no memory of its own.
#[derive(Default)]
pub(super) struct Frames {
    /// Empty if nothing was read, or if it has been taken: no data frame is.
    first: Bytes,
    more: VecDeque<Bytes>,
    /// They come last. Rare, and large where they are not behind a pointer.
    trailers: Option<Box<HeaderMap>>,
}

impl Frames {
    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(chunk) if self.first.is_empty() && self.more.is_empty() => self.first = chunk,
            Ok(chunk) => self.more.push_back(chunk),
            Err(frame) => self.trailers = boxed_trailers(frame),
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Frame<Bytes>> {
        let chunk = match self.first.is_empty() {
            false => Some(std::mem::take(&mut self.first)),
            true => self.more.pop_front(),
        };
        let trailers = || Some(Frame::trailers(*self.trailers.take()?));
        chunk.map(Frame::data).or_else(trailers)
    }

    /// Bytes of data.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.more.iter().map(Bytes::len).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty() && self.trailers.is_none()
    }

    /// The data put together, and the trailers.
    pub(super) fn join(self) -> (Bytes, Option<Box<HeaderMap>>) {
        let mut data = Joined::of(self.len());
        data.push(self.first);
        self.more.into_iter().for_each(|chunk| data.push(chunk));
        (data.finish(), self.trailers)
    }
}

/// The trailers of a frame that has no data.
pub(super) fn boxed_trailers(frame: Frame<Bytes>) -> Option<Box<HeaderMap>> {
    frame.into_trailers().ok().map(Box::new)
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
