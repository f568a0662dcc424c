//! Handlers in phases, each of which is committed with its result, on a real PostgreSQL.

mod guard;
mod killed;
mod lost;
mod phases;
mod races;
mod resume;
mod shop;

use std::time::Duration;

/// For claims that are to lapse.
const LEASE: Duration = Duration::from_millis(600);
