use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A secret that keys every slot and fingerprint, so that a stolen store cannot be searched for
/// guessed keys and bodies.
///
/// Slots and fingerprints become HMAC-SHA-256 (RFC 2104) where they were SHA-256. All servers that
/// share a store need the same secret. Changing it makes every stored key unknown, so change it
/// only where the loss of a retention's worth of records is acceptable.
///
/// ```
/// use tower_idempotency::protocol::Secret;
///
/// let secret = Secret::new(b"32 random bytes from your secrets");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// ```
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl Secret {
    /// A secret from its bytes; any length is accepted, 32 random bytes are right.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        // HMAC takes keys of every length, so the error cannot happen.
        Self(Hmac::new_from_slice(bytes).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256, or HMAC-SHA-256 under a [`Secret`].
pub(super) enum Hash {
    Plain(Sha256),
    Keyed(Box<Hmac<Sha256>>),
}

impl Hash {
    fn new(secret: Option<&Secret>) -> Self {
        match secret {
            None => Self::Plain(Sha256::new()),
            Some(secret) => Self::Keyed(Box::new(secret.0.clone())),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(hash) => Digest::update(hash, bytes),
            Self::Keyed(hash) => Mac::update(hash.as_mut(), bytes),
        }
    }

    pub(super) fn finish(self) -> [u8; 32] {
        match self {
            Self::Plain(hash) => hash.finalize().into(),
            Self::Keyed(hash) => hash.finalize().into_bytes().into(),
        }
    }
}

/// Length-prefixed fields on their way into a hash: no two different lists of fields feed it the
/// same bytes. They are gathered, since a hash takes many small pieces slowly.
pub(super) struct FieldHasher {
    hash: Hash,
    gathered: [u8; 256],
    len: usize,
}

impl FieldHasher {
    // Inlined, so that what it makes is not moved.
    #[inline]
    pub(super) fn new(secret: Option<&Secret>, purpose: &str) -> Self {
        let mut hasher = Self { hash: Hash::new(secret), gathered: [0; 256], len: 0 };
        hasher.field(purpose.as_bytes());
        hasher
    }

    pub(super) fn field(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        let end = self.len + length.len() + bytes.len();
        if let Some(place) = self.gathered.get_mut(self.len..end)
            && let Some((front, back)) = place.split_first_chunk_mut()
        {
            *front = length;
            back.copy_from_slice(bytes);
            self.len = end;
        } else {
            self.pass_on();
            self.hash.update(&length);
            self.hash.update(bytes);
        }
    }

    fn pass_on(&mut self) {
        self.hash.update(&self.gathered[..self.len]);
        self.len = 0;
    }

    /// The hash, which takes more bytes without a length: only for the last field.
    pub(super) fn hash(mut self) -> Hash {
        self.pass_on();
        self.hash
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.hash().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_hashed_as_they_follow_each_other_whatever_their_length() {
        let secret = Secret::new(b"secret");
        for length in [0, 1, 55, 200, 228, 229, 230, 231, 256, 257, 1000] {
            let field = vec![7; length];
            let mut fed = Vec::new();
            for field in [&b"purpose"[..], &field, b"last"] {
                fed.extend((field.len() as u64).to_be_bytes());
                fed.extend(field);
            }
            for secret in [None, Some(&secret)] {
                let mut hasher = FieldHasher::new(secret, "purpose");
                hasher.field(&field);
                hasher.field(b"last");
                let mut whole = Hash::new(secret);
                whole.update(&fed);
                assert_eq!(hasher.finish(), whole.finish(), "{length}");
            }
        }
    }
}
