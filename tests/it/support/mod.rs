//! What several modules of tests need.

pub mod redis;
pub mod wire;
