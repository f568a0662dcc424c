use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

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

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// All that is left, in a reader of its own.
    pub(super) fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }

    pub(super) fn u8(&mut self) -> Result<u8, InvalidRecord> {
        self.0.try_get_u8().map_err(|_| InvalidRecord::Corrupt)
    }

    pub(super) fn u16(&mut self) -> Result<u16, InvalidRecord> {
        self.0.try_get_u16().map_err(|_| InvalidRecord::Corrupt)
    }

    pub(super) fn u64(&mut self) -> Result<u64, InvalidRecord> {
        self.0.try_get_u64().map_err(|_| InvalidRecord::Corrupt)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidRecord> {
        let (array, _) = self.0.split_first_chunk().ok_or(InvalidRecord::Corrupt)?;
        let array = *array;
        self.0.advance(N);
        Ok(array)
    }

    /// A length of at most five LEB128 bytes, and of no more than it needs: a record has one form.
    pub(super) fn len(&mut self) -> Result<usize, InvalidRecord> {
        let mut len = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            len |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    break;
                }
                return usize::try_from(len).map_err(|_| InvalidRecord::Corrupt);
            }
        }
        Err(InvalidRecord::Corrupt)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, InvalidRecord> {
        let len = self.len()?;
        self.split(len)
    }

    pub(super) fn split(&mut self, len: usize) -> Result<Bytes, InvalidRecord> {
        if len > self.0.len() {
            return Err(InvalidRecord::Corrupt);
        }
        Ok(self.0.split_to(len))
    }
}

pub(super) fn put_len(buffer: &mut BytesMut, mut len: usize) {
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
