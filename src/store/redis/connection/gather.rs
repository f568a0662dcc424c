use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// How often what is common to the calls on a connection is held while there is one call: by the lane,
/// and twice by the call.
const ALONE: usize = 3;

pin_project! {
    /// The driver of a connection, which writes together what several calls send.
    ///
    /// A runtime of several threads runs a task that another one wakes before all that are ready
    /// already. So of many calls that are about to send, the first would have its command written
    /// alone, and each one after it as well: a system call for each command costs both sides more
    /// than the command. While there are several calls, the driver goes once to the end of the
    /// line before it writes or reads. For a single one it does not, since in an idle runtime that
    /// wakes another thread.
    pub(super) struct Gathering<D, T> {
        #[pin]
        driver: D,
        calls: Weak<T>,
        has_waited: bool,
    }
}

impl<D, T> Gathering<D, T> {
    /// `calls` is held by each call on the connection.
    pub(super) const fn new(driver: D, calls: Weak<T>) -> Self {
        Self { driver, calls, has_waited: false }
    }
}

impl<D: Future<Output = ()>, T> Future for Gathering<D, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !*this.has_waited && this.calls.strong_count() > ALONE {
            *this.has_waited = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        *this.has_waited = false;
        this.driver.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;

    /// How often the driver has run when the connection was polled once and twice.
    fn polled(holders: usize) -> [u32; 2] {
        let polls = Cell::new(0);
        let driver = poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::Pending
        });
        let held = Arc::new(());
        let mut gathering = pin!(Gathering::new(driver, Arc::downgrade(&held)));
        let _holders: Vec<_> = (1..holders).map(|_| Arc::clone(&held)).collect();
        let mut context = Context::from_waker(Waker::noop());
        [(); 2].map(|()| {
            assert!(gathering.as_mut().poll(&mut context).is_pending());
            polls.get()
        })
    }

    #[test]
    fn among_many_the_driver_lets_the_others_send_first() {
        assert_eq!(polled(ALONE + 2), [0, 1]);
    }

    #[test]
    fn for_a_single_call_it_runs_at_once() {
        assert_eq!(polled(ALONE), [1, 2]);
    }
}
