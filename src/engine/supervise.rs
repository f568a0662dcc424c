use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span};

use super::Held;
use super::lease::Registration;
use crate::sync::Handle;

/// How the work of a claim came to its end.
pub(crate) enum Ran<T> {
    Finished(T),
    Panicked,
    Stopped,
}

/// Polls `work` until it ends, panics or is stopped. It is registered for renewal only if it does
/// not end at its first poll.
pub(super) async fn run<W: Future>(
    work: W,
    held: &Held,
    register: impl Fn() -> Registration,
) -> Ran<W::Output> {
    let mut work = pin!(Some(work));
    let mut stopped = pin!(held.stopped());
    let mut registration = None;
    let ran = poll_fn(|context| {
        let Some(running) = work.as_mut().as_pin_mut() else { return Poll::Ready(Ran::Stopped) };
        match catch_unwind(AssertUnwindSafe(|| running.poll(context))) {
            Ok(Poll::Ready(output)) => return Poll::Ready(Ran::Finished(output)),
            Ok(Poll::Pending) => {}
            Err(_) => return Poll::Ready(Ran::Panicked),
        }
        registration.get_or_insert_with(&register);
        stopped.as_mut().poll(context).map(|()| Ran::Stopped)
    })
    .await;
    // What it leaves behind may panic as well, when it is dropped.
    match catch_unwind(AssertUnwindSafe(|| work.set(None))) {
        Ok(()) => ran,
        Err(_) => Ran::Panicked,
    }
}

/// Work that goes on when nobody waits for it any more.
///
/// A server drops the future of a request whose client has gone. The work of a claim must not end
/// with it: what was begun has to be settled. So it is boxed once and polled in place, without a
/// task of its own; if it is dropped unfinished, the same box moves to a task and runs to its end
/// there. It is counted by the tracker either way.
pub(crate) struct Supervised<T: 'static> {
    /// `None` once it has ended, and while it is polled: work that panics is not polled again.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    token: Option<TaskTrackerToken>,
    // A drop can happen outside the runtime and outside the request's span.
    runtime: Handle,
    span: Span,
}

impl<T> Supervised<T> {
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(
        tracker: &TaskTracker,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            work: Some(Box::pin(work)),
            token: Some(tracker.token()),
            runtime: Handle::current(),
            span: Span::current(),
        }
    }
}

impl<T> Future for Supervised<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut work = self.work.take().expect("a future is not polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        } else {
            self.token = None;
        }
        polled
    }
}

impl<T> Drop for Supervised<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            tracing::debug!("the client has gone; its request runs on");
            let token = self.token.take();
            let rest = async move {
                drop(work.await);
                drop(token);
            };
            self.runtime.spawn(rest.instrument(self.span.clone()));
        }
    }
}
