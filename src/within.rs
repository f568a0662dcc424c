use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

/// The time was over.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Ends `work` when it has been pending for `limit`.
///
/// Most work is ready when it is first polled: that of a memory store, or a body that is there as a
/// whole. So the timer is not set before the work has to be waited for.
pub(crate) const fn within<W: Future>(limit: Duration, work: W) -> Within<W> {
    Within { work, limit, timer: None }
}

pin_project! {
    /// The future of [`within`].
    pub(crate) struct Within<W> {
        #[pin]
        work: W,
        limit: Duration,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<W: Future> Future for Within<W> {
    type Output = Result<W::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.work.poll(context) {
            return Poll::Ready(Ok(output));
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep(*this.limit)));
        }
        let timer = this.timer.as_pin_mut().expect("it has been set");
        timer.poll(context).map(|()| Err(Elapsed))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn work_that_is_ready_needs_no_time() {
        assert_eq!(within(Duration::ZERO, ready(7)).await.ok(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_not_ends_at_the_limit() {
        let sooner = within(Duration::from_secs(2), pending::<()>());
        let both = within(Duration::from_secs(3), async { sooner.await.is_err() });
        assert_eq!(both.await.ok(), Some(true));
        let later = within(Duration::from_secs(4), pending::<()>());
        assert!(within(Duration::from_secs(3), later).await.is_err());
    }
}
