use std::fmt;
use std::time::Duration;

use super::fingerprint::Fingerprint;
use super::slot::Slot;
use super::time::Timestamp;

impl fmt::Display for FenceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happens to ambiguous outcomes and abandoned claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Guarantee {
    /// The handler runs at most once: an ambiguous outcome is stored, an abandoned claim stays
    /// unknown. The default.
    #[default]
    AtMostOnce,
    /// The handler runs until it has an outcome: an ambiguous outcome frees the key, an abandoned
    /// claim is taken over. For operations that are safe to repeat.
    AtLeastOnce,
}

/// The random 128-bit identity of one attempt. It fences every write to the record, and makes every
/// verb safe to repeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A nonce from 16 random bytes. Two attempts with one nonce would be taken for one.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.0;
        write!(f, "Nonce({a:02x}{b:02x}..)")
    }
}

/// An ordered number for the handler's own database, which can use it to reject a stale worker: a
/// later claim of the same key has a larger one.
///
/// It is `max(previous + 1, the store's clock in microseconds)`, so the order holds even across a
/// record that was lost, as long as the store's clock goes on. It stays below 2^53 until the year
/// 2255 and so survives a JSON number or a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceToken(u64);

impl FenceToken {
    /// The first token of a slot at this moment.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self(now.as_micros())
    }

    /// The token that follows this one at this moment.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        Self(now.as_micros().max(self.0.saturating_add(1)))
    }

    /// A token from its number, as a store keeps it.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, for a column of the handler's own database.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// When the claim was made, on the store's clock: the token is that moment, except after the
    /// clock was set back.
    #[must_use]
    pub(crate) const fn moment(self) -> Timestamp {
        Timestamp::from_micros(self.0)
    }
}

/// One arriving request, ready for the store.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The address.
    pub slot: Slot,
    /// What must not change between retries.
    pub fingerprint: Fingerprint,
    /// The identity of this attempt, drawn by the caller.
    pub nonce: Nonce,
    /// How long an unrenewed claim keeps others out.
    pub lease: Duration,
    /// How long a completed record answers, and an unfinished one lives after its last renewal.
    pub retention: Duration,
    /// Whether an abandoned claim may be taken over.
    pub guarantee: Guarantee,
    /// How many attempts at one operation there may be in all; beyond, an abandoned claim stays
    /// unknown.
    pub max_attempts: u32,
}

impl Attempt {
    /// The claim that a store granted to this attempt.
    pub fn claim(self, grant: Grant) -> Claim {
        Claim { attempt: self, grant }
    }
}

/// What a store adds to an attempt when it lets it run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// 1 for the first run, 2 after a take-over.
    pub number: u32,
    /// The order of this claim among all claims of the slot.
    pub fence: FenceToken,
}

/// The right to run the handler: one per slot.
#[derive(Debug)]
#[must_use = "a claim that is neither completed nor released keeps its key until the lease lapses"]
pub struct Claim {
    attempt: Attempt,
    grant: Grant,
}

impl Claim {
    /// The attempt that was granted.
    #[must_use]
    pub const fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The number and the fence of this run.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        self.grant
    }
}

/// What a released claim leaves behind: whether its handler may have had effects, and so whether
/// the next run is the next attempt or the same one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ran {
    /// The handler did nothing: it never started, or said so.
    No,
    /// The handler may have done anything.
    Maybe,
}
