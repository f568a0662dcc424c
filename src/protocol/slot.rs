use std::fmt;
use std::hash::{Hash, Hasher};

use super::digest::{FieldHasher, Secret};
use super::fence::FenceToken;
use super::key::IdempotencyKey;

/// The address of a record: a hash of the tenant, the method, the route and the key.
///
/// The key itself is never stored. `Debug` and `Display` print the first 8 bytes in hex: this is
/// the name of a slot in logs, spans and problem documents.
///
/// ```
/// use tower_idempotency::protocol::{IdempotencyKey, KeySyntax, Slot};
///
/// let key = IdempotencyKey::parse(b"charge-17", &KeySyntax::either())?;
/// let mine = Slot::derive(None, "tenant-a", "POST", Some("/charges"), &key);
/// let theirs = Slot::derive(None, "tenant-b", "POST", Some("/charges"), &key);
/// assert_ne!(mine, theirs);
/// assert_eq!(mine.to_string().len(), 16);
/// # Ok::<(), tower_idempotency::protocol::InvalidKey>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slot([u8; 32]);

impl Slot {
    /// The slot of a key: SHA-256 over the length-prefixed parts, HMAC-SHA-256 with a secret.
    ///
    /// Without a `route` the scope is the whole tenant, and using one key on two routes is a reuse.
    #[must_use]
    pub fn derive(
        secret: Option<&Secret>,
        tenant: &str,
        method: &str,
        route: Option<&str>,
        key: &IdempotencyKey,
    ) -> Self {
        let purpose = if route.is_some() { "slot 1" } else { "slot 1, tenant" };
        let mut hasher = FieldHasher::new(secret, purpose);
        hasher.field(tenant.as_bytes());
        hasher.field(method.as_bytes());
        hasher.field(route.unwrap_or_default().as_bytes());
        hasher.field(key.as_str().as_bytes());
        Self(hasher.finish())
    }

    /// The slot of the question what became of an abandoned claim of this one: who claims it may
    /// ask, so it is asked once.
    #[must_use]
    pub(crate) fn recovery(&self, abandoned: FenceToken) -> Self {
        let mut hasher = FieldHasher::new(None, "recovery 1");
        hasher.field(&self.0);
        hasher.field(&abandoned.number().to_be_bytes());
        Self(hasher.finish())
    }

    /// A slot from its 32 bytes, as a store keeps them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the address.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for a call that the handler makes to another service: 32 hex digits, the same on every
    /// attempt at this operation, another for every `step`.
    ///
    /// ```
    /// # use tower_idempotency::protocol::Slot;
    /// let slot = Slot::from_bytes([7; 32]);
    /// assert_eq!(slot.derived_key("card"), slot.derived_key("card"));
    /// assert_ne!(slot.derived_key("card"), slot.derived_key("mail"));
    /// ```
    #[must_use]
    pub fn derived_key(&self, step: &str) -> String {
        let mut hasher = FieldHasher::new(None, "derived key 1");
        hasher.field(&self.0);
        hasher.field(step.as_bytes());
        hex(&hasher.finish()[..16])
    }
}

impl Hash for Slot {
    /// Feeds 8 bytes only: an address is a digest, so they spread as well as all 32 do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({self})")
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
