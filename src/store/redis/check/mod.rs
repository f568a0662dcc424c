//! What is wrong with a server, or may become so: asked when the program starts, and noticed while it
//! runs.

pub(in crate::store::redis) mod canary;
pub(in crate::store::redis) mod concern;
mod inspect;
pub(in crate::store::redis) mod report;
mod verify;
