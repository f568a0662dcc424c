//! The store contract as a suite of tests, for the stores of this crate and for yours.
//!
//! A store of your own is tested by a program of a few lines:
//!
//! ```no_run
//! # use tower_idempotency::MemoryStore as MyStore;
//! use std::process::ExitCode;
//! use tower_idempotency::conformance::Suite;
//!
//! fn main() -> ExitCode {
//!     Suite::new("my_store", async || MyStore::new()).run()
//! }
//! ```
//!
//! That is an example, or a test with `harness = false` in `Cargo.toml`; `examples/custom_store.rs`
//! has a whole store with it. What must hold is the table of [`apply`](crate::protocol::apply) and
//! the rules of [`Store`](crate::store::Store); what is asked to show it is listed by [`cases`]:
//!
//! ```
//! for case in tower_idempotency::conformance::cases() {
//!     println!("{case}: {}", case.sentence());
//! }
//! ```
//!
//! A case never empties a store, has slots of a tenant that was drawn for it, and runs beside all
//! others. Leases and retentions that are to end within a case take 30 ms, all others an hour: so
//! a case does not depend on how fast the store is. A case whose store has a clock of its own
//! ([`Harness::with_clock`]) does not wait for it.
//!
//! What no case can show, since a store has no verb for it: what a store does when it is full, when
//! a record cannot be read, and when its server ends or is cut off; and what becomes of a call whose
//! time ends while it is under way, for cases give a call no time or enough. Nor is it certain that a
//! race is lost: a store that looks and then writes, and does nothing between that takes time, is
//! found out in most runs, not in all.

/// The cases of a theme, with their entries in the table: a list of steps, or a story where the
/// steps depend on what came before.
macro_rules! cases {
    ($theme:literal; $(#[doc = $sentence:literal] $name:ident: $steps:expr;)*) => {
        pub(super) static CASES: &[super::Case] = &[$(super::Case {
            theme: $theme,
            name: stringify!($name),
            sentence: $sentence,
            run: |harness| Box::pin(super::play::play(harness, Vec::from($steps))),
        }),*];
    };
    ($theme:literal; $(
        #[doc = $sentence:literal]
        async fn $name:ident($harness:ident: &Harness) $story:block
    )*) => {
        pub(super) static CASES: &[super::Case] = &[$(super::Case {
            theme: $theme,
            name: stringify!($name),
            sentence: $sentence,
            run: |harness| Box::pin($name(harness)),
        }),*];
        $(async fn $name($harness: &Harness) $story)*
    };
}

mod age;
mod begin;
mod compare;
mod complete;
mod content;
mod deadline;
mod harness;
mod look;
mod moments;
mod play;
mod race;
mod release;
mod renew;
mod resolve;
mod steps;
mod suite;
mod takeover;
mod watch;

use std::fmt;
use std::pin::Pin;

pub use self::harness::Harness;
pub use self::suite::Suite;

/// One thing that a store must do.
#[derive(Clone, Copy)]
pub struct Case {
    theme: &'static str,
    name: &'static str,
    sentence: &'static str,
    run: for<'a> fn(&'a Harness) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

/// All cases, in the order of their themes.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    let verbs = [begin::CASES, renew::CASES, complete::CASES, release::CASES, resolve::CASES];
    let others = [look::CASES, watch::CASES, age::CASES, race::CASES, deadline::CASES];
    verbs.into_iter().chain([takeover::CASES]).chain(others).flatten()
}

impl Case {
    /// What it is about: a verb, or what several have in common.
    #[must_use]
    pub const fn theme(&self) -> &'static str {
        self.theme
    }

    /// What must hold, as a name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Why it must.
    #[must_use]
    pub fn sentence(&self) -> &'static str {
        self.sentence.trim()
    }

    /// Tries it, on a tokio runtime with time.
    ///
    /// # Panics
    /// If it does not hold.
    pub async fn run(&self, harness: &Harness) {
        (self.run)(harness).await;
    }
}

/// Theme and name, as in the name of a test.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.theme, self.name)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({self})")
    }
}
