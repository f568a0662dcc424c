//! The rules, one by one, over real sockets and on every store.

mod bodies;
mod crowding;
mod fingerprint;
mod handler;
mod hard_cases;
mod hard_headers;
mod hard_leases;
mod hard_recoveries;
mod hard_waits;
mod headers;
mod key;
mod large;
mod lease;
mod moments;
mod outcome;
mod problem;
mod rare;
mod recovery;
mod rivals;
mod scope;
mod store_failure;
mod timing;
mod tower;
mod waiters;
mod waiting;
mod wire;
