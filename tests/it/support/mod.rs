//! What several modules of tests need.

pub mod answer;
pub mod any_store;
pub mod app;
pub mod attempt;
pub mod cluster;
pub mod fake_clock;
pub mod fault_proxy;
pub mod faulty_store;
pub mod http;
pub mod http2;
pub mod launch;
pub mod network;
pub mod patience;
pub mod pooler;
pub mod postgres;
pub mod postgres_programs;
pub mod postgres_wire;
pub mod process;
pub mod proxies;
pub mod redis;
pub mod replicated;
pub mod resp;
pub mod sentinel;
pub mod supervisor;
pub mod tls;
pub mod wire;
