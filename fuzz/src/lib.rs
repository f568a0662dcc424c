//! What the targets in `fuzz_targets` have in common: values of the protocol that are made of
//! arbitrary bytes, and requests that go through a layer.

pub mod calls;
pub mod document;
pub mod exchange;
pub mod records;
