//! The store contract as tables of cases, run against the memory store, a real Redis, a Valkey, the
//! master that Sentinels name and a Cluster, and against the first two behind a near cache. No case
//! takes a record away that was replayed before, so none comes out differently behind a cache.
//!
//! A case is a list of steps: what is done, and what must come back. Leases and retentions that
//! are meant to end within a case are short, all others so long that they never do; so nothing here
//! depends on how fast the machine is.

/// One test per story or case, and per store.
macro_rules! contract {
    (stories: $($story:ident)*;) => {
        contract!(@each stories: $($story)*);
    };
    ($($name:ident: $steps:expr;)*) => {
        mod table {
            use super::*;
            $(pub(super) fn $name() -> Vec<Step> { Vec::from($steps) })*
        }
        contract!(@each cases: $($name)*);
    };
    (@each $kind:ident: $($name:ident)*) => {
        contract!(@$kind memory, Memory::new(); $($name)*);
        contract!(@$kind redis, Redis::new(); $($name)*);
        contract!(@$kind valkey, Redis::valkey(); $($name)*);
        contract!(@$kind sentinel, Redis::sentinel(); $($name)*);
        contract!(@$kind cluster, Redis::cluster(); $($name)*);
        contract!(@$kind near_memory, Memory::near(); $($name)*);
        contract!(@$kind near_redis, Redis::near(); $($name)*);
    };
    (@stories $store:ident, $harness:expr; $($story:ident)*) => {
        mod $store {
            use super::*;
            $(#[tokio::test] async fn $story() { super::$story(&$harness).await; })*
        }
    };
    (@cases $store:ident, $harness:expr; $($name:ident)*) => {
        mod $store {
            use super::*;
            $(#[tokio::test] async fn $name() { run(&$harness, table::$name()).await; })*
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
