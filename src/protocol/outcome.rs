use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::binary::{InvalidRecord, Reader, put_bytes, put_len};

/// What a completed record holds and a replay is made of.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A response that is replayed whole.
    Response {
        /// The HTTP status code.
        status: u16,
        /// The stored header fields, in order.
        headers: Fields,
        /// The body.
        body: Bytes,
        /// The stored trailer fields, in order; empty where there were none.
        trailers: Fields,
    },
    /// The mark that the operation ran, where its response could not be kept: too large, a stream,
    /// or too slow. It is never run again.
    Tombstone {
        /// The HTTP status code that the first client got.
        status: u16,
        /// The fields that help the client to find the result: `Location` and `ETag`.
        headers: Fields,
    },
}

impl Outcome {
    /// The HTTP status code that the first client got.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Response { status, .. } | Self::Tombstone { status, .. } => *status,
        }
    }

    /// Bytes of content: body, headers and trailers.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Response { headers, body, trailers, .. } => {
                headers.0.len() + body.len() + trailers.0.len()
            }
            Self::Tombstone { headers, .. } => headers.0.len(),
        }
    }

    /// The same outcome in memory of its own: what it consists of can be slices of something much
    /// larger, which it would keep alive for as long as it is kept.
    pub(crate) fn compact(&self) -> Self {
        match self {
            Self::Response { status, headers, body, trailers } => {
                let content = [&headers.0[..], &trailers.0, body].concat();
                let mut rest = Bytes::from(content);
                let headers = Fields(rest.split_to(headers.0.len()));
                let trailers = Fields(rest.split_to(trailers.0.len()));
                Self::Response { status: *status, headers, body: rest, trailers }
            }
            Self::Tombstone { status, headers } => {
                let headers = Fields(Bytes::copy_from_slice(&headers.0));
                Self::Tombstone { status: *status, headers }
            }
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Response { .. } => "Response",
            Self::Tombstone { .. } => "Tombstone",
        };
        f.debug_struct(name)
            .field("status", &self.status())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Header or trailer fields in the form in which they are stored: one buffer of length-prefixed
/// names and values, in order, repeats kept. A third member of a pair says that a value is
/// sensitive: it is replayed with that mark, which keeps it out of logs and header compression.
///
/// ```
/// use tower_idempotency::protocol::Fields;
///
/// let fields: Fields = [("link", "<a>"), ("link", "<b>")].into_iter().collect();
/// let values: Vec<_> = fields.iter().map(|field| field.value).collect();
/// assert_eq!(values, ["<a>", "<b>"]);
///
/// let fields: Fields = [("x-api-token", "s3cr3t", true)].into_iter().collect();
/// assert!(fields.iter().all(|field| field.sensitive));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Bytes);

impl Fields {
    /// No fields.
    #[must_use]
    pub const fn none() -> Self {
        Self(Bytes::new())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields, in order. They share the buffer; nothing is copied.
    pub fn iter(&self) -> impl Iterator<Item = Field> + use<> {
        let mut rest = Reader::new(self.0.clone());
        // The buffer was checked when it was made, so it ends where a field ends; to try there costs an
        // error.
        std::iter::from_fn(move || if rest.is_empty() { None } else { rest.field().ok() })
    }

    /// The buffer, as a record contains it.
    pub(super) const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Checks a buffer that came from a record.
    pub(super) fn from_bytes(bytes: Bytes) -> Result<Self, InvalidRecord> {
        let mut reader = Reader::new(bytes.clone());
        while !reader.is_empty() {
            reader.field()?;
        }
        Ok(Self(bytes))
    }
}

/// One header or trailer field. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, in lower case.
    pub name: Bytes,
    /// The value, byte for byte.
    pub value: Bytes,
    /// Whether the value is to be kept out of logs and header compression.
    pub sensitive: bool,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Field(..)")
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        fields.into_iter().map(|(name, value)| (name, value, false)).collect()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V, bool)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V, bool)>>(fields: I) -> Self {
        let mut buffer = BytesMut::with_capacity(128);
        for (name, value, sensitive) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            put_len(&mut buffer, name.len() << 1 | usize::from(sensitive));
            buffer.put_slice(name);
            put_bytes(&mut buffer, value);
        }
        Self(buffer.freeze())
    }
}

impl Reader {
    fn field(&mut self) -> Result<Field, InvalidRecord> {
        let len = self.len()?;
        let (name, sensitive) = (self.split(len >> 1)?, len & 1 == 1);
        Ok(Field { name, value: self.bytes()?, sensitive })
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({} bytes)", self.0.len())
    }
}

/// The kinds of outcome in a record.
const RESPONSE: u8 = 1;
const TOMBSTONE: u8 = 2;

pub(super) fn encode(outcome: &Outcome, buffer: &mut BytesMut) {
    match outcome {
        Outcome::Response { status, headers, body, trailers } => {
            buffer.put_u8(RESPONSE);
            buffer.put_u16(*status);
            put_bytes(buffer, headers.as_bytes());
            put_bytes(buffer, trailers.as_bytes());
            buffer.put_slice(body);
        }
        Outcome::Tombstone { status, headers } => {
            buffer.put_u8(TOMBSTONE);
            buffer.put_u16(*status);
            buffer.put_slice(headers.as_bytes());
        }
    }
}

pub(super) fn decode(mut reader: Reader) -> Result<Outcome, InvalidRecord> {
    let kind = reader.u8()?;
    let status = reader.u16()?;
    if !(100..=999).contains(&status) {
        return Err(InvalidRecord::Corrupt);
    }
    match kind {
        RESPONSE => {
            let headers = Fields::from_bytes(reader.bytes()?)?;
            let trailers = Fields::from_bytes(reader.bytes()?)?;
            Ok(Outcome::Response { status, headers, trailers, body: reader.rest() })
        }
        TOMBSTONE => Ok(Outcome::Tombstone { status, headers: Fields::from_bytes(reader.rest())? }),
        _ => Err(InvalidRecord::Unsupported),
    }
}
