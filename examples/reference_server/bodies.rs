//! Response bodies of every kind: sized, unsized, broken, endless, with trailers.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use rand::Rng as _;

/// This many bytes, with a length, and others at every execution.
pub(crate) fn different(length: usize, execution: u64) -> Body {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    for (byte, part) in bytes.iter_mut().zip(execution.to_le_bytes()) {
        *byte = part;
    }
    Body::from(bytes)
}

/// This many lines, a frame each, of unknown total length.
pub(crate) fn lines(count: u64, execution: u64) -> Body {
    let line = move |n| Ok::<_, Infallible>(format!("execution {execution} line {n}\n"));
    Body::from_stream(stream::iter((1..=count).map(line)))
}

/// One frame, then an error. The pause between them lets the frame out.
pub(crate) fn broken(execution: u64) -> Body {
    let frame = stream::once(async move { Ok(format!("execution {execution}\n")) });
    let error = stream::once(async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Err(io::Error::other("this body breaks off"))
    });
    Body::from_stream(frame.chain(error))
}

/// This many server-sent events, the first at once, the others at this distance.
pub(crate) fn events(count: u64, distance: Duration, execution: u64) -> Body {
    Body::from_stream(stream::unfold(1, move |n| async move {
        if n > count {
            return None;
        }
        if n > 1 {
            tokio::time::sleep(distance).await;
        }
        let event = format!("id: {n}\ndata: {{\"execution\":{execution},\"event\":{n}}}\n\n");
        Some((Ok::<_, Infallible>(event), n + 1))
    }))
}

/// A line, and the trailer `x-sum`.
pub(crate) fn with_trailer(execution: u64) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from(execution));
    Body::new(StreamBody::new(stream::iter([
        Ok::<_, Infallible>(Frame::data(Bytes::from(format!("execution {execution}\n")))),
        Ok(Frame::trailers(trailers)),
    ])))
}
