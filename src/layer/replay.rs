use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, EXPIRES, HeaderMap};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::Whole;
use super::headers::contains;
use crate::engine::Rejection;
use crate::protocol::{Fields, Outcome};

/// The response of a record; a tombstone has none.
pub(super) fn replay(
    outcome: Outcome,
    age: Duration,
    marker: &HeaderName,
) -> Result<Response<Whole>, Rejection> {
    match outcome {
        Outcome::Response { status, headers, body, trailers } => {
            let mut response = Response::new(Whole::new(body, map(&trailers)));
            *response.status_mut() = status_code(status);
            append(response.headers_mut(), &headers);
            finish(&mut response);
            add_age(response.headers_mut(), age);
            response.headers_mut().insert(marker.clone(), HeaderValue::from_static("true"));
            Ok(response)
        }
        Outcome::Tombstone { status, headers } => {
            Err(Rejection::ResultUnavailable { original_status: Some(status), headers })
        }
        #[allow(unreachable_patterns, reason = "outcomes of later releases")]
        _ => Err(Rejection::RecordUnsupported),
    }
}

/// Whether a response of this status has no content, so that neither it nor its length may be
/// invented (RFC 9110, sections 15.3.5, 15.3.6, 15.4.5).
pub(super) fn is_empty(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Adds stored fields, in order and with repeats, byte for byte. The values share the record's
/// buffer.
pub(super) fn append(headers: &mut HeaderMap, stored: &Fields) {
    for field in stored.iter() {
        let name = HeaderName::from_bytes(&field.name);
        let value = HeaderValue::from_maybe_shared(field.value);
        // They were a header map when they were stored.
        if let (Ok(name), Ok(mut value)) = (name, value) {
            value.set_sensitive(field.sensitive);
            headers.append(name, value);
        }
    }
}

/// Computes the length again, where the response has one.
fn finish(response: &mut Response<Whole>) {
    if is_empty(response.status()) {
        response.body_mut().make_empty();
    } else if response.body().has_trailers() {
        // Without a length HTTP/1.1 uses chunks, after which trailers can follow.
    } else {
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
}

/// A stored response with explicit freshness says how old it is (RFC 9111, section 5.1).
fn add_age(headers: &mut HeaderMap, age: Duration) {
    let names_max_age = |value: &HeaderValue| {
        let text = value.as_bytes().to_ascii_lowercase();
        text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|directive| {
            directive.starts_with(b"max-age=") || directive.starts_with(b"s-maxage=")
        })
    };
    let fresh = contains(headers, &EXPIRES)
        || contains(headers, &CACHE_CONTROL)
            && headers.get_all(CACHE_CONTROL).iter().any(names_max_age);
    if fresh {
        let before = headers
            .get(AGE)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
            .unwrap_or_default();
        headers.insert(AGE, HeaderValue::from(before.saturating_add(age.as_secs())));
    }
}

fn map(fields: &Fields) -> Option<Box<HeaderMap>> {
    (!fields.is_empty()).then(|| {
        let mut map = Box::new(HeaderMap::new());
        append(&mut map, fields);
        map
    })
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
