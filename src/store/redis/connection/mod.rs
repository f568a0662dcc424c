//! Where the calls of the store go: to one server, to the master that Sentinels name, or to the nodes
//! of a Cluster. A lane keeps one connection there, and makes it anew when it is lost.

pub(in crate::store::redis) mod address;
mod gather;
pub(in crate::store::redis) mod group;
pub(in crate::store::redis) mod lane;
pub(in crate::store::redis) mod link;
pub(in crate::store::redis) mod live;
#[cfg(feature = "redis-cluster")]
pub(in crate::store::redis) mod nodes;
#[cfg(feature = "redis-sentinel")]
mod quorum;
#[cfg(feature = "redis-sentinel")]
pub(in crate::store::redis) mod sentinels;
pub(in crate::store::redis) mod server_time;
#[cfg(feature = "redis-cluster")]
mod shards;
mod socket;
pub(in crate::store::redis) mod source;
mod tune;
