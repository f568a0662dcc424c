use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::digest::{FieldHasher, Hash, Secret};

/// How a fingerprint was made: two fingerprints can be compared only within one scheme.
///
/// A record keeps the scheme it was made under, so that a new release that fingerprints requests
/// in another way can still recognise the retries of requests that the old one began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    pub(super) kind: u8,
    pub(super) version: u8,
    pub(super) headers: Option<Arc<[Box<str>]>>,
}

impl Scheme {
    const RAW: u8 = 1;
    const JSON: u8 = 2;
    const CUSTOM: u8 = 3;

    /// The body byte for byte, version 1.
    #[must_use]
    pub const fn raw() -> Self {
        Self { kind: Self::RAW, version: 1, headers: None }
    }

    /// The body as canonical JSON (RFC 8785) where it is JSON, version 1.
    #[must_use]
    pub const fn json() -> Self {
        Self { kind: Self::JSON, version: 1, headers: None }
    }

    /// What a closure of the application returns; raise `version` whenever the closure changes.
    #[must_use]
    pub const fn custom(version: u8) -> Self {
        Self { kind: Self::CUSTOM, version, headers: None }
    }

    /// Makes these request headers a part of what must not change. Names are compared in lower
    /// case; their order does not matter.
    #[must_use]
    pub fn with_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<Box<str>> =
            names.into_iter().map(|name| name.as_ref().to_ascii_lowercase().into()).collect();
        names.sort_unstable();
        names.dedup();
        self.headers = (!names.is_empty()).then(|| names.into());
        self
    }

    /// The selected request headers, in lower case and in order.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().flat_map(|names| names.iter().map(AsRef::as_ref))
    }

    /// Whether this is the raw scheme, whatever its headers and version.
    #[must_use]
    pub const fn is_raw(&self) -> bool {
        self.kind == Self::RAW
    }

    /// Whether both are of one kind and version, whatever their headers.
    #[must_use]
    pub const fn is_same_kind(&self, other: &Self) -> bool {
        self.kind == other.kind && self.version == other.version
    }

    /// Whether this release can compute a fingerprint of this kind and version without help of the
    /// application.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!((self.kind, self.version), (Self::RAW | Self::JSON, 1))
    }

    /// Whether a record may name this scheme; anything else is a record from the future.
    pub(super) const fn is_readable(kind: u8) -> bool {
        matches!(kind, Self::RAW | Self::JSON | Self::CUSTOM)
    }
}

/// A digest of everything in a request that must not change between retries.
///
/// ```
/// use tower_idempotency::protocol::{Fingerprinter, RequestParts, Scheme};
///
/// let parts = RequestParts { method: "POST", path: "/charges", ..RequestParts::default() };
/// let of = |body: &[u8]| {
///     let mut fingerprinter = Fingerprinter::new(Scheme::raw(), None, &parts, []);
///     fingerprinter.body(body);
///     fingerprinter.finish()
/// };
/// assert_eq!(of(b"{}"), of(b"{}"));
/// assert_ne!(of(b"{}"), of(b"{ }"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    pub(super) scheme: Scheme,
    pub(super) digest: [u8; 32],
}

impl Fingerprint {
    /// A fingerprint from its parts, as a store keeps them.
    #[must_use]
    pub const fn new(scheme: Scheme, digest: [u8; 32]) -> Self {
        Self { scheme, digest }
    }

    /// How it was made.
    #[must_use]
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The 32 bytes of the digest. The scheme is a part of what was digested, so equal digests mean
    /// equal schemes.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// What a fingerprint covers besides the body; absent and empty are equal.
#[derive(Clone, Copy, Default)]
pub struct RequestParts<'a> {
    /// The request method.
    pub method: &'a str,
    /// The path as the client sent it, before any router stripped a prefix.
    pub path: &'a str,
    /// The raw query, without the question mark.
    pub query: &'a str,
    /// The `Content-Type`; its essence is what counts, without parameters and in lower case.
    pub content_type: &'a [u8],
    /// The `Content-Encoding`.
    pub content_encoding: &'a [u8],
}

impl fmt::Debug for RequestParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestParts").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Makes a [`Fingerprint`], chunk by chunk while the body is read.
pub struct Fingerprinter {
    scheme: Scheme,
    hash: Hash,
}

impl Fingerprinter {
    /// Begins with everything but the body. `selected` are the values of the scheme's
    /// [`headers`](Scheme::headers) in the scheme's order: every value of the first name, of the
    /// second, and so on, each with its name.
    #[must_use]
    pub fn new<'a>(
        scheme: Scheme,
        secret: Option<&Secret>,
        parts: &RequestParts<'_>,
        selected: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let mut hasher = FieldHasher::new(secret, "fingerprint 1");
        hasher.field(&[scheme.kind, scheme.version]);
        hasher.field(parts.method.as_bytes());
        hasher.field(parts.path.as_bytes());
        hasher.field(parts.query.as_bytes());
        hasher.field(&essence(parts.content_type));
        hasher.field(parts.content_encoding);
        for name in scheme.headers() {
            hasher.field(b"selected");
            hasher.field(name.as_bytes());
        }
        for (name, value) in selected {
            hasher.field(b"value");
            hasher.field(name.as_bytes());
            hasher.field(value);
        }
        hasher.field(b"body");
        Self { scheme, hash: hasher.hash() }
    }

    /// Adds the next bytes of the body; where they are split does not matter.
    pub fn body(&mut self, chunk: &[u8]) {
        self.hash.update(chunk);
    }

    /// The fingerprint of what was added.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        Fingerprint { scheme: self.scheme, digest: self.hash.finish() }
    }
}

/// A content type without parameters, in lower case. Most are that already.
fn essence(content_type: &[u8]) -> Cow<'_, [u8]> {
    let changes = |octet: u8| matches!(octet, b';' | b' ' | b'\t'..=b'\r' | b'A'..=b'Z');
    if !content_type.iter().fold(false, |any, octet| any | changes(*octet)) {
        return content_type.into();
    }
    let essence = content_type.split(|octet| *octet == b';').next().unwrap_or_default();
    essence.trim_ascii().to_ascii_lowercase().into()
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprinter").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::essence;

    #[test]
    fn the_essence_of_a_content_type_is_in_lower_case_and_without_parameters() {
        for (line, expected) in [
            ("application/json", "application/json"),
            ("Application/JSON; charset=UTF-8", "application/json"),
            (" text/plain\t;a=B", "text/plain"),
            ("a b", "a b"),
            (";", ""),
            ("", ""),
        ] {
            assert_eq!(&*essence(line.as_bytes()), expected.as_bytes(), "{line:?}");
        }
    }
}
