use bytes::Bytes;
use http::StatusCode;
use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION,
    PROXY_AUTHENTICATE, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};

use crate::protocol::{Fields, Outcome};

/// Names that are never replayed besides the standard ones below: they belong to one message, one
/// connection or one client.
const DROPPED: &[&str] = &[
    "authentication-info",
    "keep-alive",
    "proxy-authentication-info",
    "proxy-connection",
    "request-id",
    "server-timing",
    "set-cookie2",
    "traceparent",
    "traceresponse",
    "tracestate",
    "uber-trace-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-request-id",
    "x-trace-id",
];

/// Families of names, dropped likewise.
const DROPPED_PREFIXES: &[&str] =
    &["ratelimit", "x-b3-", "x-datadog-", "x-rate-limit", "x-ratelimit"];

/// Says that a response may not be replayed yet: the store did not take it.
pub(super) const STATUS: HeaderName = HeaderName::from_static("idempotency-status");

/// Which response headers a record keeps: everything but a list, which the application can change.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredHeaders {
    pub(super) kept: Vec<HeaderName>,
    pub(super) dropped: Vec<HeaderName>,
}

impl StoredHeaders {
    /// The headers to store, in order and with repeats.
    pub(super) fn of(&self, headers: &HeaderMap, marker: &HeaderName) -> Fields {
        self.stored(headers, &named(headers), marker).collect()
    }

    /// What a record keeps of a response.
    pub(super) fn response(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        marker: &HeaderName,
        body: Bytes,
        trailers: Option<&HeaderMap>,
    ) -> Outcome {
        let named = named(headers);
        let stored = |fields| self.stored(fields, &named, marker).collect();
        Outcome::Response {
            status: status.as_u16(),
            headers: stored(headers),
            body,
            trailers: trailers.map_or(Fields::none(), stored),
        }
    }

    /// The mark of a response that is not kept, with what helps a client to find the result.
    pub(super) fn tombstone(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        marker: &HeaderName,
    ) -> Outcome {
        let named = named(headers);
        let stored = self.stored(headers, &named, marker);
        let headers = stored.filter(|(name, ..)| [&LOCATION, &ETAG].contains(name)).collect();
        Outcome::Tombstone { status: status.as_u16(), headers }
    }

    fn stored<'a>(
        &'a self,
        fields: &'a HeaderMap,
        named: &'a [HeaderName],
        marker: &'a HeaderName,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue, bool)> {
        fields
            .iter()
            .filter(move |(name, _)| *name != marker && !named.contains(name) && self.keeps(name))
            .map(|(name, value)| (name, value, value.is_sensitive()))
    }

    fn keeps(&self, name: &HeaderName) -> bool {
        // What frames or routes one message is out of reach of any setting.
        !is_hop_by_hop(name)
            && (self.kept.contains(name)
                || !(self.dropped.contains(name) || is_of_one_message(name)))
    }
}

/// The fields, trailers too, that a message's `Connection` makes its own (RFC 9110, section 7.6.1).
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    if !contains(headers, &CONNECTION) {
        return Vec::new();
    }
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Whether there is such a field. A response has few, so to look at all costs less than the hash
/// of a name.
pub(super) fn contains(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|each| each == name)
}

/// Fields of one connection (RFC 9110, section 7.6.1), and the length, which is computed again.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn is_of_one_message(name: &HeaderName) -> bool {
    [ALT_SVC, DATE, PROXY_AUTHENTICATE, SET_COOKIE, WWW_AUTHENTICATE].contains(name)
        || DROPPED.contains(&name.as_str())
        || DROPPED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}
