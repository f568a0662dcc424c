use std::fmt;
use std::time::Duration;

use super::fence::FenceToken;
use super::fingerprint::Fingerprint;
use super::slot::Slot;

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
    /// What the handler writes in the transaction that it is lent happens exactly once. That is all it
    /// does, which whoever chooses this promises: what it does elsewhere may happen again. So an
    /// ambiguous outcome is rolled back and frees the key, and an abandoned claim is always taken over,
    /// since nothing of it was committed. For stores that have transactions, see
    /// [`Store::transactions`](crate::store::Store::transactions).
    Transactional,
}

/// The random 128-bit identity of one attempt. It fences every write to the record, and makes every
/// verb safe to repeat.
///
/// [`Nonce::NOBODY`] is no attempt's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Sixteen bytes of zero, which no attempt may draw: whose a record is that was resolved. Its
    /// worker finds somebody else's outcome there, and answers with that.
    pub const NOBODY: Self = Self([0; 16]);

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
    /// Which abandoned claim it may take over.
    pub take_over: TakeOver,
    /// Whether what its handler does counts only once it is committed together with the outcome. A
    /// store that has transactions shows such a claim, once it has lapsed, to everybody else as
    /// released; every other store takes no notice.
    pub transactional: bool,
}

/// Which abandoned claims an attempt may take over. All others stay unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TakeOver {
    /// None.
    Never,
    /// Any whose attempt number is less than this.
    Below(u32),
    /// The one with this fence, whatever its number: of that claim somebody knows what became.
    Only(FenceToken),
}

impl TakeOver {
    pub(super) fn allows(self, abandoned: Grant) -> bool {
        match self {
            Self::Never => false,
            Self::Below(attempts) => abandoned.number < attempts,
            Self::Only(fence) => abandoned.fence == fence,
        }
    }
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
