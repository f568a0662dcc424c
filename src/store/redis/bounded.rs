use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::call::Call;
use crate::store::Error;
use crate::within::{Elapsed, Within, within};

impl Call<'_> {
    /// Lets the call take its time and no more.
    pub(super) const fn bounded<W: Future>(&self, work: W) -> Bounded<'_, W> {
        Bounded { work: within(self.within, work), call: self }
    }
}

pin_project! {
    /// The future of [`Call::bounded`].
    pub(super) struct Bounded<'a, W> {
        #[pin]
        work: Within<W>,
        call: &'a Call<'a>,
    }
}

impl<T, W: Future<Output = Result<T, Error>>> Future for Bounded<'_, W> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let ended = ready!(this.work.poll(context));
        Poll::Ready(ended.unwrap_or_else(|Elapsed| this.call.overdue()))
    }
}
