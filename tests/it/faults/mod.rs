//! Servers and stores that die, freeze and fill up: the failure windows, each with its number.

mod campaign;
mod client;
mod crash;
mod deploy;
mod dropped;
mod durable;
mod frozen;
mod logs;
mod lost_reply;
mod store_down;
mod waiting;
