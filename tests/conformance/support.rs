//! The servers that the other tests start too.

#[path = "../it/support/cluster.rs"]
pub mod cluster;
#[path = "../it/support/launch.rs"]
mod launch;
#[path = "../it/support/network.rs"]
mod network;
#[path = "../it/support/patience.rs"]
mod patience;
#[path = "../it/support/postgres.rs"]
pub mod postgres;
#[path = "../it/support/postgres_programs.rs"]
mod postgres_programs;
#[path = "../it/support/proxies.rs"]
mod proxies;
#[path = "../it/support/redis.rs"]
pub mod redis;
#[path = "../it/support/sentinel.rs"]
pub mod sentinel;
#[path = "../it/support/supervisor.rs"]
mod supervisor;
