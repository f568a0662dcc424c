//! Every state that a slot, its messages and a few attempts can reach, by the production `apply` and
//! the engine's rules. See the README.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]

mod check;
mod coverage;
mod defect;
mod defects;
mod engine;
mod invariants;
mod liveness;
mod records;
mod search;
mod state;
mod step;
mod store;
mod transaction;
mod variant;
mod variants;
mod world;
