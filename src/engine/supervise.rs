use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span, dispatcher};

use crate::sync::Handle;

/// Work that can reach a point from where it goes on when nobody waits for it any more.
///
/// A server drops the future of a request whose client has gone. The work of a claim must not end
/// with it: what was begun has to be settled. So it is boxed once and polled in place, without a
/// task of its own; if it is dropped unfinished while it is supervised, the same box moves to a task
/// and runs to its end there.
pub(crate) struct Supervised<T: 'static> {
    /// `None` once it has ended, and while it is polled: work that panics is not polled again.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    supervision: Supervision,
    // A drop can happen outside the runtime and outside the request's span.
    runtime: Handle,
    span: Span,
}

/// Tells whether work is supervised.
#[derive(Clone, Default)]
pub(crate) struct Supervision(Arc<AtomicBool>);

/// As long as it lives, the work is supervised, and counted by the tracker.
pub(crate) struct Supervising<'a> {
    supervision: &'a Supervision,
    _token: TaskTrackerToken,
}

impl Supervision {
    pub(crate) fn begin(&self, tracker: &TaskTracker) -> Supervising<'_> {
        let token = tracker.token();
        self.0.store(true, Ordering::Relaxed);
        Supervising { supervision: self, _token: token }
    }
}

impl Drop for Supervising<'_> {
    fn drop(&mut self) {
        self.supervision.0.store(false, Ordering::Relaxed);
    }
}

impl<T> Supervised<T> {
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new<W>(work: impl FnOnce(Supervision) -> W) -> Self
    where
        W: Future<Output = T> + Send + 'static,
    {
        let supervision = Supervision::default();
        // Made where it will be: `Box::pin` makes it on the stack and copies it, and it is large.
        let work: Box<W> = Box::write(Box::new_uninit(), work(supervision.clone()));
        Self {
            work: Some(Box::into_pin(work)),
            supervision,
            runtime: Handle::current(),
            // Where nobody subscribes, there is none to look for.
            span: if dispatcher::has_been_set() { Span::current() } else { Span::none() },
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
        }
        polled
    }
}

impl<T> Drop for Supervised<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if self.supervision.0.load(Ordering::Relaxed) {
            tracing::debug!("the client has gone; its request runs on");
            self.runtime.spawn(async move { drop(work.await) }.instrument(self.span.clone()));
        }
    }
}
