use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::futures::Notified;

use super::lease::Registration;
use super::wait::Ticket;
use super::{Engine, Held};

/// How the work of a claim came to its end.
pub(crate) enum Ran<T> {
    Finished(T),
    Panicked,
    Stopped,
}

impl Engine {
    /// Polls the work of a claim in place, keeps its lease, and ends it at its limit. Once the claim
    /// is lost, its outcome is no answer for those who wait with `ticket`: the next asks.
    ///
    /// The work stays where the caller has it, since it is large; at its end it is dropped.
    pub(crate) const fn run<'a, W: Future>(
        self: &'a Arc<Self>,
        held: &'a Arc<Held>,
        ticket: &'a mut Ticket,
        work: Pin<&'a mut Option<W>>,
    ) -> Running<'a, W> {
        Running { work, engine: self, held, ticket, registration: None, changed: None }
    }
}

pin_project! {
    /// The future of [`Engine::run`]. It is registered for renewal only if the work does not end at
    /// its first poll.
    pub(crate) struct Running<'a, W> {
        work: Pin<&'a mut Option<W>>,
        engine: &'a Arc<Engine>,
        held: &'a Arc<Held>,
        ticket: &'a mut Ticket,
        registration: Option<Registration>,
        #[pin]
        changed: Option<Notified<'a>>,
    }
}

impl<W: Future> Future for Running<'_, W> {
    type Output = Ran<W::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let Some(work) = this.work.as_mut().as_pin_mut() else { return Poll::Ready(Ran::Stopped) };
        let ran = match catch_unwind(AssertUnwindSafe(|| work.poll(context))) {
            Ok(Poll::Ready(output)) => Ran::Finished(output),
            Err(_) => Ran::Panicked,
            Ok(Poll::Pending) if self.as_mut().is_stopped(context) => Ran::Stopped,
            Ok(Poll::Pending) => return Poll::Pending,
        };
        // What it leaves behind may panic as well, when it is dropped.
        let work = self.project().work;
        Poll::Ready(match catch_unwind(AssertUnwindSafe(|| work.set(None))) {
            Ok(()) => ran,
            Err(_) => Ran::Panicked,
        })
    }
}

impl<W> Running<'_, W> {
    /// Sees to the claim while the work is pending; whether it has reached its limit.
    fn is_stopped(self: Pin<&mut Self>, context: &mut Context<'_>) -> bool {
        let mut this = self.project();
        let held: &Arc<Held> = this.held;
        let engine: &Arc<Engine> = this.engine;
        this.registration.get_or_insert_with(|| engine.renewals.register(engine, held));
        loop {
            if this.changed.is_none() {
                this.changed.set(Some(held.changed()));
            }
            if held.is_stopped() {
                return true;
            }
            if held.is_lost() {
                **this.ticket = Ticket::none();
            }
            match this.changed.as_mut().as_pin_mut().map(|changed| changed.poll(context)) {
                Some(Poll::Ready(())) => this.changed.set(None),
                _ => return false,
            }
        }
    }
}
