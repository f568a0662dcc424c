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
//! Numbers are big-endian; lengths and counts inside are LEB128, and the length of a header name is
//! doubled, with the lowest bit for a sensitive value. The first 72 bytes have a fixed
//! place so that a script inside a database can read them.

use bytes::{BufMut, Bytes, BytesMut};

use super::binary::{InvalidRecord, Reader, put_bytes, put_len};
use super::claim::Nonce;
use super::fence::FenceToken;
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
                if checksum != crc32fast::hash(reader.as_bytes()) {
                    return Err(InvalidRecord::Corrupt);
                }
                Phase::Completed { at: moment, outcome: outcome::decode(reader.take())? }
            }
            RELEASED if moment == Timestamp::from_micros(0) => Phase::Released,
            RELEASED => return Err(InvalidRecord::Corrupt),
            _ => return Err(InvalidRecord::Unsupported),
        };
        if !reader.is_empty() {
            return Err(InvalidRecord::Corrupt);
        }
        let fingerprint = Fingerprint::new(Scheme { kind, version, headers }, digest);
        Ok(Self { fingerprint, nonce, fence, attempt, phase, expires })
    }
}
