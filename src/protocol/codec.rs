//! The binary form of a [`Record`].
//!
//! ```text
//! offset  bytes  what
//! 0       1      mark and version of this layout: 0xE1, the next one 0xE2
//! 1       1      phase: 1 in progress, 2 completed, 3 released
//! 2       1      fingerprint scheme
//! 3       1      version of that scheme
//! 4       8      fence token
//! 12      4      attempt number
//! 16      8      in progress: when the lease lapses; completed: when it was completed; else 0
//! 24      16     nonce
//! 40      32     fingerprint
//! 72      ..     the scheme's selected headers: a count, then each name
//! then, completed only:
//!         4      CRC-32 of the rest
//!         ..     outcome: kind, status, headers, trailers, body
//! ```
//! Numbers are big-endian; lengths and counts inside are LEB128. The first 72 bytes have a fixed
//! place so that a script inside a database can read them.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::claim::{FenceToken, Nonce};
use super::fingerprint::{Fingerprint, Scheme};
use super::outcome;
use super::record::{Phase, Record};
use super::time::Timestamp;

/// The first byte of every record that this release writes: the mark `0xE0` and version 1.
pub const RECORD_VERSION: u8 = 0xE1;

/// Length of the part of a record in which everything has a fixed place, in bytes.
pub const HEADER_LEN: usize = 72;

const IN_PROGRESS: u8 = 1;
const COMPLETED: u8 = 2;
const RELEASED: u8 = 3;

/// Why stored bytes are not a record that this release can read. Either way the slot is taken:
/// bytes that cannot be read are never treated as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRecord {
    /// Written by a newer release: a rolling deployment is the usual reason.
    Unsupported,
    /// Damaged, truncated or not a record at all.
    Corrupt,
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "the record was written by a newer release of tower-idempotency",
            Self::Corrupt => "the stored bytes are not an idempotency record",
        })
    }
}

impl std::error::Error for InvalidRecord {}

impl Record {
    /// The binary form, in one buffer.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (phase, moment, content) = match &self.phase {
            Phase::InProgress { lease_until } => (IN_PROGRESS, lease_until.as_micros(), 0),
            Phase::Completed { at, outcome } => (COMPLETED, at.as_micros(), 32 + outcome.size()),
            Phase::Released => (RELEASED, 0, 0),
        };
        let scheme = self.fingerprint.scheme();
        let mut buffer = BytesMut::with_capacity(HEADER_LEN + 1 + content);
        buffer.put_slice(&[RECORD_VERSION, phase, scheme.kind, scheme.version]);
        buffer.put_u64(self.fence.number());
        buffer.put_u32(self.attempt);
        buffer.put_u64(moment);
        buffer.put_slice(self.nonce.as_bytes());
        buffer.put_slice(self.fingerprint.digest());
        put_len(&mut buffer, scheme.headers().count());
        scheme.headers().for_each(|name| put_bytes(&mut buffer, name.as_bytes()));
        if let Phase::Completed { outcome, .. } = &self.phase {
            let checksum_at = buffer.len();
            buffer.put_u32(0);
            outcome::encode(outcome, &mut buffer);
            let checksum = crc32fast::hash(&buffer[checksum_at + 4..]);
            buffer[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
        }
        buffer.freeze()
    }

    /// Reads the binary form. `expires` is what the store knows of the record's end. The content of
    /// an outcome shares the buffer; nothing is copied.
    ///
    /// # Errors
    /// For bytes that this release did not write and cannot understand.
    pub fn decode(bytes: Bytes, expires: Timestamp) -> Result<Self, InvalidRecord> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            RECORD_VERSION => {}
            later if later & 0xF0 == RECORD_VERSION & 0xF0 => {
                return Err(InvalidRecord::Unsupported);
            }
            _ => return Err(InvalidRecord::Corrupt),
        }
        let [phase, kind, version] = reader.array()?;
        let fence = FenceToken::from_number(reader.u64()?);
        let attempt = u32::from_be_bytes(reader.array()?);
        let moment = Timestamp::from_micros(reader.u64()?);
        let nonce = Nonce::from_bytes(reader.array()?);
        let digest = reader.array()?;
        if !Scheme::is_readable(kind) {
            return Err(InvalidRecord::Unsupported);
        }
        let headers = (0..reader.len()?)
            .map(|_| {
                let name = reader.bytes()?;
                let name = std::str::from_utf8(&name).map_err(|_| InvalidRecord::Corrupt)?;
                Ok(Box::from(name))
            })
            .collect::<Result<Vec<Box<str>>, InvalidRecord>>()?;
        let headers = (!headers.is_empty()).then(|| headers.into());
        let phase = match phase {
            IN_PROGRESS => Phase::InProgress { lease_until: moment },
            COMPLETED => {
                let checksum = u32::from_be_bytes(reader.array()?);
                if checksum != crc32fast::hash(&reader.0) {
                    return Err(InvalidRecord::Corrupt);
                }
                let content = Reader(std::mem::take(&mut reader.0));
                Phase::Completed { at: moment, outcome: outcome::decode(content)? }
            }
            RELEASED => Phase::Released,
            _ => return Err(InvalidRecord::Unsupported),
        };
        if !reader.is_empty() {
            return Err(InvalidRecord::Corrupt);
        }
        let fingerprint = Fingerprint::new(Scheme { kind, version, headers }, digest);
        Ok(Self { fingerprint, nonce, fence, attempt, phase, expires })
    }
}

/// Takes a buffer apart from the front.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(self) -> Bytes {
        self.0
    }

    pub(super) fn u8(&mut self) -> Result<u8, InvalidRecord> {
        self.0.try_get_u8().map_err(|_| InvalidRecord::Corrupt)
    }

    pub(super) fn u16(&mut self) -> Result<u16, InvalidRecord> {
        self.0.try_get_u16().map_err(|_| InvalidRecord::Corrupt)
    }

    fn u64(&mut self) -> Result<u64, InvalidRecord> {
        self.0.try_get_u64().map_err(|_| InvalidRecord::Corrupt)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidRecord> {
        let (array, _) = self.0.split_first_chunk().ok_or(InvalidRecord::Corrupt)?;
        let array = *array;
        self.0.advance(N);
        Ok(array)
    }

    /// A length of at most five LEB128 bytes.
    fn len(&mut self) -> Result<usize, InvalidRecord> {
        let mut len = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            len |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(len).map_err(|_| InvalidRecord::Corrupt);
            }
        }
        Err(InvalidRecord::Corrupt)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, InvalidRecord> {
        let len = self.len()?;
        if len > self.0.len() {
            return Err(InvalidRecord::Corrupt);
        }
        Ok(self.0.split_to(len))
    }
}

fn put_len(buffer: &mut BytesMut, mut len: usize) {
    loop {
        let [low, ..] = len.to_le_bytes();
        len >>= 7;
        if len == 0 {
            return buffer.put_u8(low);
        }
        buffer.put_u8(low | 0x80);
    }
}

pub(super) fn put_bytes(buffer: &mut BytesMut, bytes: &[u8]) {
    put_len(buffer, bytes.len());
    buffer.put_slice(bytes);
}
