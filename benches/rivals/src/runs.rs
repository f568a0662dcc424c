//! How often the handlers of a server have run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often handlers have run.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<AtomicU64>);

impl Runs {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
