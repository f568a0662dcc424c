//! Servers and stores that die, freeze and fill up: the failure windows, each with its number.

mod campaign;
mod client;
mod clocks;
mod crash;
mod deploy;
mod dropped;
mod durable;
mod exhausted;
mod frozen;
mod logs;
mod lost_reply;
mod postgres;
mod store_down;
mod storm;
mod waiting;
