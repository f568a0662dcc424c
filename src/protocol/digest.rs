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

/// SHA-256, or HMAC-SHA-256 under a [`Secret`], over length-prefixed fields: no two different lists
/// of fields feed it the same bytes.
pub(super) enum FieldHasher {
    Plain(Sha256),
    Keyed(Box<Hmac<Sha256>>),
}

impl FieldHasher {
    pub(super) fn new(secret: Option<&Secret>, purpose: &str) -> Self {
        let mut hasher = match secret {
            None => Self::Plain(Sha256::new()),
            Some(secret) => Self::Keyed(Box::new(secret.0.clone())),
        };
        hasher.field(purpose.as_bytes());
        hasher
    }

    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u64).to_be_bytes());
        self.raw(bytes);
    }

    /// Bytes without a length: only for the last field.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
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
