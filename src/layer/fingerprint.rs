use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::request::Parts;

use super::route;
use crate::protocol::{Fingerprint, Fingerprinter, RequestParts, Scheme, Secret};

/// What must not change between retries.
///
/// Always included: the method, the original path, the raw query, the essence of the content type,
/// the content encoding.
///
/// ```
/// use tower_idempotency::FingerprintPolicy;
///
/// let _bytes_and_version = FingerprintPolicy::raw().headers(["api-version"]);
/// let _only_the_amount = FingerprintPolicy::custom(1, |_parts, body| {
///     let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
///     value["amount"].to_string().into_bytes()
/// });
/// ```
#[derive(Clone)]
pub struct FingerprintPolicy {
    scheme: Scheme,
    custom: Option<Arc<Custom>>,
}

type Custom = dyn Fn(&Parts, &[u8]) -> Vec<u8> + Send + Sync;

impl FingerprintPolicy {
    /// The body byte for byte: the default.
    #[must_use]
    pub const fn raw() -> Self {
        Self { scheme: Scheme::raw(), custom: None }
    }

    /// A JSON body in its canonical form (RFC 8785), so that white space, the order of members and
    /// the spelling of numbers and strings do not matter.
    ///
    /// A body that is not JSON, names a member of an object twice, or holds an integer beyond ±2^53
    /// that the canonical form would round, counts byte for byte.
    #[cfg(feature = "json")]
    #[must_use]
    pub const fn json() -> Self {
        Self { scheme: Scheme::json(), custom: None }
    }

    /// What a closure makes of the request's head and body, instead of the body. Raise `version`
    /// whenever the closure changes: records of another version cannot be compared, and their
    /// retries are answered with 409 `result-unavailable`.
    #[must_use]
    pub fn custom<F>(version: u8, of: F) -> Self
    where
        F: Fn(&Parts, &[u8]) -> Vec<u8> + Send + Sync + 'static,
    {
        Self { scheme: Scheme::custom(version), custom: Some(Arc::new(of)) }
    }

    /// Includes these request headers, with all their values.
    #[must_use]
    pub fn headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.scheme = self.scheme.with_headers(names);
        self
    }

    /// A fingerprinter that takes the body chunk by chunk, where the body is used as it comes.
    pub(super) fn begin(&self, parts: &Parts, secret: Option<&Secret>) -> Option<Fingerprinter> {
        self.scheme.is_raw().then(|| fingerprinter(&self.scheme, parts, secret))
    }

    /// The fingerprint of a whole request.
    pub(super) fn of(&self, parts: &Parts, body: &Bytes, secret: Option<&Secret>) -> Fingerprint {
        self.under(&self.scheme, parts, body, secret)
            .unwrap_or_else(|| Fingerprint::new(self.scheme.clone(), [0; 32]))
    }

    /// The fingerprint of a request under the scheme of a record, if this policy can compute it.
    pub(super) fn under(
        &self,
        scheme: &Scheme,
        parts: &Parts,
        body: &Bytes,
        secret: Option<&Secret>,
    ) -> Option<Fingerprint> {
        let mut fingerprinter = fingerprinter(scheme, parts, secret);
        match &self.custom {
            Some(custom) if scheme.is_same_kind(&self.scheme) => {
                fingerprinter.body(&custom(parts, body));
            }
            _ if !scheme.is_known() => return None,
            _ if scheme.is_raw() => fingerprinter.body(body),
            _ => fingerprinter.body(&canonical(body)?),
        }
        Some(fingerprinter.finish())
    }
}

impl fmt::Debug for FingerprintPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FingerprintPolicy").field(&self.scheme).finish()
    }
}

fn fingerprinter(scheme: &Scheme, parts: &Parts, secret: Option<&Secret>) -> Fingerprinter {
    // Two lines are one list (RFC 9110, section 5.3).
    let value = |name| {
        let mut lines = parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let first = lines.next().unwrap_or_default();
        lines.fold(Cow::Borrowed(first), |list, line| [&list, line].join(&b", "[..]).into())
    };
    let uri = route::original_uri(&parts.extensions, &parts.uri);
    let input = RequestParts {
        method: parts.method.as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        content_type: &value(CONTENT_TYPE),
        content_encoding: &value(CONTENT_ENCODING),
    };
    let selected = scheme.headers().flat_map(|name| {
        parts.headers.get_all(name).iter().map(move |value| (name, value.as_bytes()))
    });
    Fingerprinter::new(scheme.clone(), secret, &input, selected)
}

/// The canonical form with a mark in front, or the body as it is with another mark.
#[cfg(feature = "json")]
fn canonical(body: &[u8]) -> Option<Vec<u8>> {
    let is_kept = |value: &_| is_exact(value) && members(value) == colons(body);
    let value = serde_json::from_slice(body).ok().filter(is_kept);
    Some(match value.and_then(|value| serde_json_canonicalizer::to_vec(&value).ok()) {
        Some(canonical) => [b"json ", canonical.as_slice()].concat(),
        None => [b"bytes ", body].concat(),
    })
}

#[cfg(not(feature = "json"))]
const fn canonical(_body: &[u8]) -> Option<Vec<u8>> {
    None
}

/// Whether no integer would be rounded: RFC 8785 writes all numbers as doubles.
#[cfg(feature = "json")]
fn is_exact(value: &serde_json::Value) -> bool {
    use serde_json::Value;

    const LARGEST: u64 = 1 << 53;
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number <= LARGEST,
            (None, Some(number)) => number.unsigned_abs() <= LARGEST,
            // A double, or an integer beyond 64 bits that was rounded to one.
            (None, None) => number.as_f64().is_some_and(|number| number.abs() < LARGEST as f64),
        },
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// How many members all objects have together. Of two with one name only the last is counted.
#[cfg(feature = "json")]
fn members(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(values) => values.iter().map(members).sum(),
        serde_json::Value::Object(object) => {
            object.len() + object.values().map(members).sum::<usize>()
        }
        _ => 0,
    }
}

/// How many colons are outside of strings: one for each member that was written down.
#[cfg(feature = "json")]
fn colons(json: &[u8]) -> usize {
    let (mut colons, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons
}
