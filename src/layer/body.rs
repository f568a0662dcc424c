use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::frames::Frames;

/// A body broke off.
pub(super) struct BrokenBody;

/// The next frame with something in it.
pub(super) fn poll_frame<B: Body<Data = Bytes>>(
    body: Pin<&mut B>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
    let frame = ready!(body.poll_frame(context));
    if matches!(&frame, Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty)) {
        // A body could consist of empty frames without end, and never let a timer run.
        context.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokenBody)))
}

/// A body that is in memory as a whole.
#[derive(Clone, Default)]
pub(super) struct Whole {
    data: Bytes,
    /// Rare, and large where it is not behind a pointer.
    trailers: Option<Box<HeaderMap>>,
    /// A length of its own; a response without content has none.
    has_length: bool,
}

impl Whole {
    pub(super) const fn new(data: Bytes, trailers: Option<Box<HeaderMap>>) -> Self {
        Self { data, has_length: trailers.is_none(), trailers }
    }

    /// A body without trailers.
    pub(super) const fn of(data: Bytes) -> Self {
        Self { data, has_length: true, trailers: None }
    }

    pub(super) const fn data(&self) -> &Bytes {
        &self.data
    }

    pub(super) const fn len(&self) -> usize {
        self.data.len()
    }

    pub(super) const fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    pub(super) fn make_empty(&mut self) {
        *self = Self::default();
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        if self.data.is_empty() {
            self.trailers.take().map(|trailers| Frame::trailers(*trailers))
        } else {
            Some(Frame::data(std::mem::take(&mut self.data)))
        }
    }

    const fn is_end(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size(&self) -> SizeHint {
        if self.has_length {
            SizeHint::with_exact(self.data.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}

pin_project! {
    /// The body of a request that passed the layer: the client's own where the layer does not
    /// apply, and one that is in memory where it does.
    pub struct RequestBody<B> {
        #[pin]
        kind: RequestKind<B>,
    }
}

pin_project! {
    #[project = RequestKindProjection]
    enum RequestKind<B> {
        Original { #[pin] body: B },
        Whole { body: Whole },
    }
}

impl<B> RequestBody<B> {
    pub(super) const fn original(body: B) -> Self {
        Self { kind: RequestKind::Original { body } }
    }

    pub(super) const fn whole(body: Whole) -> Self {
        Self { kind: RequestKind::Whole { body } }
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            RequestKindProjection::Original { body } => body.poll_frame(context),
            RequestKindProjection::Whole { body } => Poll::Ready(body.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            RequestKind::Original { body } => body.is_end_stream(),
            RequestKind::Whole { body } => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            RequestKind::Original { body } => body.size_hint(),
            RequestKind::Whole { body } => body.size(),
        }
    }
}

pin_project! {
    /// The body of a response that passed the layer: the handler's own where the layer does not
    /// apply, one from memory for first answers, replays and refusals, and a mixture for a response
    /// that turned out to be too large or too slow to keep.
    pub struct ResponseBody<B> {
        #[pin]
        kind: ResponseKind<B>,
    }
}

pin_project! {
    #[project = ResponseKindProjection]
    enum ResponseKind<B> {
        Original { #[pin] body: B },
        Whole { body: Whole },
        // Boxed, since it is large and rare.
        Resumed { body: Box<Resumed<B>> },
    }
}

struct Resumed<B> {
    read: Frames,
    rest: Pin<Box<B>>,
}

impl<B> ResponseBody<B> {
    pub(super) const fn original(body: B) -> Self {
        Self { kind: ResponseKind::Original { body } }
    }

    pub(super) const fn whole(body: Whole) -> Self {
        Self { kind: ResponseKind::Whole { body } }
    }

    /// Frames that were read already, and the body that they came from.
    pub(super) fn resumed(read: Frames, rest: Pin<Box<B>>) -> Self {
        Self { kind: ResponseKind::Resumed { body: Box::new(Resumed { read, rest }) } }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            ResponseKindProjection::Original { body } => body.poll_frame(context),
            ResponseKindProjection::Whole { body } => Poll::Ready(body.next().map(Ok)),
            ResponseKindProjection::Resumed { body } => match body.read.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => body.rest.as_mut().poll_frame(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            ResponseKind::Original { body } => body.is_end_stream(),
            ResponseKind::Whole { body } => body.is_end(),
            ResponseKind::Resumed { body } => body.read.is_empty() && body.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            ResponseKind::Original { body } => body.size_hint(),
            ResponseKind::Whole { body } => body.size(),
            ResponseKind::Resumed { body } => {
                let read = body.read.len();
                let rest = body.rest.size_hint();
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + read as u64);
                }
                hint.set_lower(rest.lower() + read as u64);
                hint
            }
        }
    }
}

// Neither prints any content.

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            RequestKind::Original { .. } => "Original",
            RequestKind::Whole { .. } => "Whole",
        };
        f.debug_tuple("RequestBody").field(&format_args!("{kind}")).finish()
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            ResponseKind::Original { .. } => "Original",
            ResponseKind::Whole { .. } => "Whole",
            ResponseKind::Resumed { .. } => "Resumed",
        };
        f.debug_tuple("ResponseBody").field(&format_args!("{kind}")).finish()
    }
}
