//! All integration tests, in one binary.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]
#![allow(clippy::duplicate_mod, reason = "some run on two versions of a server")]

mod apply;
mod codec;
mod failover;
mod faults;
mod linearizability;
mod near_cache;
mod postgres_store;
mod recovery_points;
mod redis_store;
mod reliability_page;
mod rules;
mod support;
mod texts;
mod topology;
mod transactions;
#[path = "transactions/mod.rs"]
mod transactions_on_18;
mod transactions_sqlx;
#[path = "transactions_sqlx/mod.rs"]
mod transactions_sqlx_on_18;
mod values;
