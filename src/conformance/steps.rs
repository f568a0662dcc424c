//! What a case is written in: who does what, and what must come back.

use std::fmt;
use std::time::Duration;

pub(super) use self::Must::*;
pub(super) use super::content::Content::{self, Text};
pub(super) use crate::protocol::Ran::{Maybe, No};
use crate::protocol::{
    Attempt, Claim, Fingerprint, IdempotencyKey, KeySyntax, Nonce, Ran, Scheme, Slot, TakeOver,
};

/// More than any call takes.
pub(super) const WITHIN: Duration = Duration::from_secs(20);
/// A lease or a retention that ends within a case, and a wait after which it has.
pub(super) const SHORT: Duration = Duration::from_millis(30);
pub(super) const LONG_ENOUGH: Duration = Duration::from_millis(45);
/// One that never ends within a case.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A scheme, named by the function that makes it.
#[derive(Clone, Copy)]
pub(super) struct Made(pub(super) fn() -> Scheme);

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0().fmt(f)
    }
}

/// Who does it: one attempt at a slot of the case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) nonce: u8,
    pub(super) at: Place,
    pub(super) scheme: Made,
    pub(super) body: u8,
    pub(super) lease: Duration,
    pub(super) retention: Duration,
    pub(super) take_over: TakeOver,
}

/// Which slot of the case: one, and others that differ from it in a single bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Here,
    OffAt(usize),
}

pub(super) const ANN: Who = Who {
    nonce: 1,
    at: Place::Here,
    scheme: Made(Scheme::raw),
    body: 1,
    lease: HOUR,
    retention: HOUR,
    take_over: TakeOver::Never,
};
/// The same request again, as another attempt.
pub(super) const BOB: Who = Who { nonce: 2, ..ANN };
pub(super) const CAT: Who = Who { nonce: 3, ..ANN };
/// Another request under the same key.
pub(super) const EVE: Who = Who { nonce: 4, body: 2, ..ANN };
/// A server of a later release, which fingerprints in another way.
pub(super) const FAY: Who = Who { nonce: 5, body: 3, scheme: Made(selecting), ..ANN };

impl Who {
    pub(super) const fn lapsing(self) -> Self {
        Self { lease: SHORT, ..self }
    }
    pub(super) const fn expiring(self) -> Self {
        Self { retention: SHORT, ..self }
    }
    pub(super) const fn rerunning(self) -> Self {
        self.at_most(5)
    }
    pub(super) const fn at_most(self, attempts: u32) -> Self {
        Self { take_over: TakeOver::Below(attempts), ..self }
    }
    /// Taking over this claim and no other.
    pub(super) const fn after(self, claim: &Claim) -> Self {
        Self { take_over: TakeOver::Only(claim.grant().fence), ..self }
    }
    /// In another slot, that differs in the lowest bit of this byte.
    pub(super) const fn off_at(self, byte: usize) -> Self {
        Self { at: Place::OffAt(byte), ..self }
    }

    pub(super) fn attempt(self, slot: Slot) -> Attempt {
        Attempt {
            slot,
            fingerprint: Fingerprint::new(self.scheme.0(), [self.body; 32]),
            nonce: Nonce::from_bytes([self.nonce; 16]),
            lease: self.lease,
            retention: self.retention,
            take_over: self.take_over,
            transactional: false,
        }
    }
}

impl Place {
    pub(super) fn of(self, slot: Slot) -> Slot {
        let mut bytes = *slot.as_bytes();
        if let Self::OffAt(byte) = self {
            bytes[byte] ^= 1;
        }
        Slot::from_bytes(bytes)
    }
}

pub(super) fn selecting() -> Scheme {
    Scheme::json().with_headers(["x-tenant", "x-region"])
}

/// What is done in a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    Begin(Who),
    Renew(Who),
    Complete(Who, Content),
    Release(Who, Ran, Duration),
    /// Resolve the claim that this one was granted.
    Resolve(Who, Content, Duration),
    Look(Place),
    Wait(Duration),
}

/// What must come back. Numbers are attempt numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Must {
    Started(u32),
    Mine(u32),
    Reclaimed(u32),
    Cancelled,
    Applied,
    Nothing,
    Mismatch,
    OtherScheme(Made),
    Busy,
    Unknown(u32),
    Completed(Content),
    /// A verb that needs the claim is refused, and this is in the slot.
    Fenced(&'static Self),
    /// In the slot, as `look` tells it: nothing, a claim, one whose lease has lapsed, a completed
    /// record, a tombstone. Each ends after the retention of its owner.
    Empty,
    InProgress(Who, u32),
    Abandoned(Who, u32),
    Holds(Who, Content),
    /// The same of what was resolved: nobody's.
    Resolved(Who, Content),
    Released(Who, u32),
    Passed,
}

pub(super) type Step = (Do, Must);

pub(super) fn begin(who: Who, must: Must) -> Step {
    (Do::Begin(who), must)
}
pub(super) fn renew(who: Who, must: Must) -> Step {
    (Do::Renew(who), must)
}
pub(super) fn complete(who: Who, content: Content, must: Must) -> Step {
    (Do::Complete(who, content), must)
}
pub(super) fn release(who: Who, ran: Ran, must: Must) -> Step {
    (Do::Release(who, ran, HOUR), must)
}
/// A release whose tombstone ends within the case.
pub(super) fn release_for_a_while(who: Who, ran: Ran) -> Step {
    (Do::Release(who, ran, SHORT), Applied)
}
pub(super) fn resolve(who: Who, content: Content, must: Must) -> Step {
    (Do::Resolve(who, content, HOUR), must)
}
/// A resolution whose outcome expires within the case.
pub(super) fn resolve_for_a_while(who: Who, content: Content) -> Step {
    (Do::Resolve(who, content, SHORT), Applied)
}
pub(super) fn look(must: Must) -> Step {
    (Do::Look(Place::Here), must)
}
pub(super) fn look_off_at(byte: usize, must: Must) -> Step {
    (Do::Look(Place::OffAt(byte)), must)
}
/// Until what is short has ended.
pub(super) fn wait() -> Step {
    (Do::Wait(LONG_ENOUGH), Passed)
}

/// A slot that nobody has ever used: of a tenant that is drawn for it.
pub(super) fn fresh_slot() -> Slot {
    let tenant = format!("{:032x}", rand::random::<u128>());
    let key = IdempotencyKey::parse(b"one", &KeySyntax::either()).expect("a key");
    Slot::derive(None, &tenant, "POST", Some("/charges"), &key)
}
