//! The store contract as tables of cases, run against the memory store and a real Redis, and
//! against both behind a near cache. No case takes a record away that was replayed before, so none
//! comes out differently behind a cache.
//!
//! A case is a list of steps: what is done, and what must come back. Leases and retentions that
//! are meant to end within a case are short, all others so long that they never do; so nothing here
//! depends on how fast the machine is.

/// One test per story or case, and per store.
macro_rules! contract {
    (stories: $($story:ident)*;) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&Memory::new()).await; })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&Redis::new()).await; })*
        }
        mod near_memory {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&Memory::near()).await; })*
        }
        mod near_redis {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&Redis::near()).await; })*
        }
    };
    ($($name:ident: $steps:expr;)*) => {
        mod table {
            use super::*;
            $(pub(super) fn $name() -> Vec<Step> { Vec::from($steps) })*
        }
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $name() { run(&Memory::new(), table::$name()).await; })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $name() { run(&Redis::new(), table::$name()).await; })*
        }
        mod near_memory {
            use super::*;
            $(#[tokio::test] async fn $name() { run(&Memory::near(), table::$name()).await; })*
        }
        mod near_redis {
            use super::*;
            $(#[tokio::test] async fn $name() { run(&Redis::near(), table::$name()).await; })*
        }
    };
}

mod begin;
mod case;
mod complete;
mod harness;
mod release;
mod renew;
mod resolve;
mod steps;
mod stories;
mod watch;
