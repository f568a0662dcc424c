//! The rules, as values in and values out.
//!
//! Nothing here knows HTTP, async code, a clock or randomness: time is an argument ([`Timestamp`]),
//! a random identity is an argument ([`Nonce`]), and [`apply`] is the whole store contract as one
//! pure function. Stores add atomicity and nothing else.
//!
//! In the order of one request: a header becomes an [`IdempotencyKey`]; with the tenant, the method
//! and the route it becomes a [`Slot`]; the body becomes a [`Fingerprint`]; all of it becomes an
//! [`Attempt`], which a store answers with a [`Reply`] and which may become a [`Claim`]; a
//! [`Record`] is what a slot holds, and an [`Outcome`] is what is replayed from it.

mod apply;
mod binary;
mod claim;
mod codec;
mod digest;
mod fence;
mod fingerprint;
mod key;
mod outcome;
#[cfg(feature = "postgres")]
mod points;
mod record;
mod slot;
mod time;

pub(crate) use apply::apply_in_place;
pub use apply::{Found, Operation, Reply, Verb, apply};
pub use binary::InvalidRecord;
pub use claim::{Attempt, Claim, Grant, Guarantee, Nonce, Ran, TakeOver};
pub use codec::{HEADER_LEN, RECORD_VERSION};
pub use digest::Secret;
pub use fence::FenceToken;
pub use fingerprint::{Fingerprint, Fingerprinter, RequestParts, Scheme};
pub use key::{IdempotencyKey, InvalidKey, KeySyntax};
pub use outcome::{Field, Fields, Outcome};
#[cfg(feature = "postgres")]
pub(crate) use points::Points;
pub use record::{Phase, Record};
pub use slot::Slot;
pub use time::Timestamp;
