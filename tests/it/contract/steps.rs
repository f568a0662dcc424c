//! What a case is written in: who does what, and what must come back.

use std::time::Duration;

use bytes::Bytes;
use tower_idempotency::protocol::{
    Attempt, Fields, Fingerprint, Guarantee, Nonce, Outcome, Ran, Scheme, Slot,
};

pub use self::Content::Text;
pub use self::Must::*;
pub use self::Ran::{Maybe, No};

/// More than any call takes.
pub const WITHIN: Duration = Duration::from_secs(20);
/// A lease or a retention that ends within a case, and a wait after which it has.
pub const SHORT: Duration = Duration::from_millis(60);
pub const LONG_ENOUGH: Duration = Duration::from_millis(90);
/// One that never ends within a case.
pub const HOUR: Duration = Duration::from_secs(3600);

/// Who does it: one attempt at the slot of the case.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub nonce: u8,
    pub scheme: fn() -> Scheme,
    pub body: u8,
    pub lease: Duration,
    pub retention: Duration,
    pub guarantee: Guarantee,
    pub max_attempts: u32,
}

pub const ANN: Who = Who {
    nonce: 1,
    scheme: Scheme::raw,
    body: 1,
    lease: HOUR,
    retention: HOUR,
    guarantee: Guarantee::AtMostOnce,
    max_attempts: 5,
};
/// The same request again, as another attempt.
pub const BOB: Who = Who { nonce: 2, ..ANN };
pub const CAT: Who = Who { nonce: 3, ..ANN };
/// Another request under the same key.
pub const EVE: Who = Who { nonce: 4, body: 2, ..ANN };
/// A server of a later release, which fingerprints in another way.
pub const FAY: Who = Who { nonce: 5, body: 3, scheme: selecting, ..ANN };

impl Who {
    pub const fn lapsing(self) -> Self {
        Self { lease: SHORT, ..self }
    }
    pub const fn expiring(self) -> Self {
        Self { retention: SHORT, ..self }
    }
    pub const fn rerunning(self) -> Self {
        Self { guarantee: Guarantee::AtLeastOnce, ..self }
    }
    pub const fn at_most(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self.rerunning() }
    }

    pub fn attempt(self, slot: Slot) -> Attempt {
        Attempt {
            slot,
            fingerprint: Fingerprint::new((self.scheme)(), [self.body; 32]),
            nonce: Nonce::from_bytes([self.nonce; 16]),
            lease: self.lease,
            retention: self.retention,
            guarantee: self.guarantee,
            max_attempts: self.max_attempts,
        }
    }
}

pub fn selecting() -> Scheme {
    Scheme::json().with_headers(["x-tenant", "x-region"])
}

/// What is stored.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    Empty,
    Text(&'static str),
    /// This many bytes, of every value.
    Bytes(usize),
    /// Repeated fields in order, trailers, and values that are not text.
    AllFields,
    Tombstone,
}

impl Content {
    pub fn outcome(self) -> Outcome {
        let response = |headers: Fields, body: Bytes, trailers| Outcome::Response {
            status: 201,
            headers,
            body,
            trailers,
        };
        let none = Fields::none;
        match self {
            Self::Empty => response(none(), Bytes::new(), none()),
            Self::Text(text) => response(none(), text.into(), none()),
            Self::Bytes(len) => {
                let body: Vec<u8> = (0..=255).cycle().take(len).collect();
                response(none(), body.into(), none())
            }
            Self::AllFields => response(
                [("b", &b"1"[..]), ("a", b"\xff\0\r\n"), ("b", b""), ("b", b"1")]
                    .into_iter()
                    .collect(),
                Bytes::from_static(b"\0\xfe$-1\r\n"),
                [("grpc-status", "0"), ("a", "é")].into_iter().collect(),
            ),
            Self::Tombstone => Outcome::Tombstone {
                status: 303,
                headers: [("location", "/charges/7")].into_iter().collect(),
            },
        }
    }
}

/// What is done in a step.
#[derive(Clone, Copy, Debug)]
pub enum Do {
    Begin(Who),
    Renew(Who),
    Complete(Who, Content),
    Release(Who, Ran, Duration),
    /// Resolve the claim that this one was granted.
    Resolve(Who, Content, Duration),
    Look,
    Wait(Duration),
}

/// What must come back. Numbers are attempt numbers.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    Started(u32),
    Mine(u32),
    Reclaimed(u32),
    Cancelled,
    Applied,
    Nothing,
    Mismatch,
    OtherScheme(fn() -> Scheme),
    Busy,
    Unknown(u32),
    Completed(Content),
    /// A verb that needs the claim is refused, and this is in the slot.
    Fenced(&'static Self),
    /// In the slot, as `look` tells it: nothing, a claim, a completed record, a tombstone.
    Empty,
    InProgress(Who, u32),
    Holds(Who, Content),
    Released(Who, u32),
    Passed,
}

pub type Step = (Do, Must);

pub fn begin(who: Who, must: Must) -> Step {
    (Do::Begin(who), must)
}
pub fn renew(who: Who, must: Must) -> Step {
    (Do::Renew(who), must)
}
pub fn complete(who: Who, content: Content, must: Must) -> Step {
    (Do::Complete(who, content), must)
}
pub fn release(who: Who, ran: Ran, must: Must) -> Step {
    (Do::Release(who, ran, HOUR), must)
}
pub fn resolve(who: Who, content: Content, must: Must) -> Step {
    (Do::Resolve(who, content, HOUR), must)
}
pub fn look(must: Must) -> Step {
    (Do::Look, must)
}
/// Until what is short has ended.
pub fn wait() -> Step {
    (Do::Wait(LONG_ENOUGH), Passed)
}
