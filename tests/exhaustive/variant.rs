//! What is searched: a policy and one class of faults.

use tower_idempotency::protocol::Guarantee;

use crate::defect::Defect;

/// Late, lost and repeated messages and lapsed leases are in every variant.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    pub attempts: usize,
    pub guarantee: Guarantee,
    pub max_attempts: u32,
    /// Handlers may say that nothing was executed.
    pub release: bool,
    /// Local deadlines are in the model: a lease lapses only after its worker knows (rule C3).
    pub timed: bool,
    /// Leases may be shorter than the time in which a `begin` may still arrive.
    pub short_lease: bool,
    /// Handlers commit what they do together with their outcome.
    pub transactional: bool,
    pub fault: Fault,
    pub defect: Option<Defect>,
}

/// One class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Two servers die.
    Crash,
    /// Clients hang up.
    HangUp,
    /// One attempt has another body.
    OtherBody,
    /// Records expire and are purged.
    Expiry,
    /// The store drops the record once.
    Eviction,
    /// The store restarts empty once, and every connection breaks.
    Restart,
    /// A replica takes over once.
    FailOver(Durable),
    /// The store's clock is set back once.
    ClockBack,
    /// A hook or an operator decides about abandoned claims.
    Hook,
    /// Copies of `begin` that the engine does not know of.
    HiddenCopies,
}

/// Which calls are answered only once a replica has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    All,
    Begins,
    Nothing,
}

pub const AT_MOST_ONCE: Variant = Variant {
    name: "at most once",
    attempts: 3,
    guarantee: Guarantee::AtMostOnce,
    max_attempts: 3,
    release: false,
    timed: false,
    short_lease: false,
    transactional: false,
    fault: Fault::None,
    defect: None,
};

pub const AT_LEAST_ONCE: Variant =
    Variant { name: "at least once", guarantee: Guarantee::AtLeastOnce, ..AT_MOST_ONCE };

impl Variant {
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub const fn of(self, attempts: usize) -> Self {
        Self { attempts, ..self }
    }

    pub const fn with(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    pub const fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    pub const fn release(self) -> Self {
        Self { release: true, ..self }
    }

    pub const fn timed(self) -> Self {
        Self { timed: true, ..self }
    }

    pub const fn short_lease(self) -> Self {
        Self { short_lease: true, ..self }
    }

    pub const fn in_transactions(self) -> Self {
        Self { transactional: true, ..self }
    }

    pub const fn seeded(self, defect: Defect) -> Self {
        Self { defect: Some(defect), ..self }
    }

    pub fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    pub fn at_most_once(&self) -> bool {
        self.guarantee == Guarantee::AtMostOnce
    }

    /// Whether the store keeps what it has acknowledged.
    pub const fn keeps_records(&self) -> bool {
        matches!(
            self.fault,
            Fault::None
                | Fault::Crash
                | Fault::HangUp
                | Fault::OtherBody
                | Fault::Expiry
                | Fault::ClockBack
                | Fault::Hook
                | Fault::HiddenCopies
        )
    }
}
