//! Waiting for several servers to agree, which takes them seconds.

use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};

const STEP: Duration = Duration::from_millis(20);

/// A condition can take long itself, where it asks a server that is silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits on this thread; fails after a minute.
#[track_caller]
pub fn block_until(what: &str, condition: impl Fn() -> bool) {
    let until = SystemClock.monotonic() + PATIENCE;
    while SystemClock.monotonic() < until {
        if condition() {
            return;
        }
        std::thread::sleep(STEP);
    }
    panic!("it never came true: {what}");
}

/// The same while other tasks go on.
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let location = std::panic::Location::caller();
    async move {
        let until = SystemClock.monotonic() + PATIENCE;
        while SystemClock.monotonic() < until {
            if condition() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("it never came true: {what}, {location}");
    }
}
