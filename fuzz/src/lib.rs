//! What the targets in `fuzz_targets` have in common: values of the protocol that are made of
//! arbitrary bytes, requests that go through a layer, and defects that the targets have to find.

pub mod calls;
pub mod document;
pub mod exchange;
pub mod planted;
pub mod records;
