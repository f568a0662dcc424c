//! All integration tests, in one binary.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]

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
mod transactions_sqlx;
mod values;
