//! Waiting for several servers to agree, which takes them seconds.

use std::time::Duration;

const STEP: Duration = Duration::from_millis(20);
const STEPS: usize = 1500;

/// Waits on this thread; fails after half a minute.
#[track_caller]
pub fn block_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..STEPS {
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
        for _ in 0..STEPS {
            if condition() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("it never came true: {what}, {location}");
    }
}
