//! Instructions and allocations a request, counted by callgrind: the slope between two counts of
//! requests, so that the start of the process and what a first request sets up fall out.

mod cost;
mod profile;
pub mod workload;

pub use crate::cost::Cost;
pub use crate::workload::Workload;
