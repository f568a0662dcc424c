use std::sync::Arc;
use std::time::Duration;

use super::call::{Chain, FIRST_PAUSE, GRACE};
use super::wait::Ticket;
use super::{Answer, Engine};
use crate::protocol::{Attempt, FenceToken, Found, Slot};
use crate::store::{Seen, Store};
use crate::within::within;

/// How long a store is asked to watch at a time. Then it is asked anew, in case it has forgotten.
const WATCH: Duration = Duration::from_secs(15);

/// How often a queue asks again at once when what it waited for has ended without an outcome.
const PROMPT: u32 = 3;

/// The longest pause after a store failed to watch.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Watches a claim of somebody else for those who wait in a queue, for as long as anybody does.
    /// An outcome is announced to all; otherwise the next in the queue asks.
    ///
    /// A task watches, not one of those who wait: their clients come and go, and each has its own
    /// patience.
    pub(super) fn watch_for(
        self: &Arc<Self>,
        ticket: Ticket,
        attempt: Attempt,
        (slot, fence): (Slot, FenceToken),
    ) {
        let Some(aside) = ticket.step_aside() else { return };
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let left = aside.left.clone();
            let Some(seen) = left.run_until_cancelled(engine.watched(slot, fence)).await else {
                return;
            };
            // What is watched can be the question what became of a claim, which is no answer yet.
            let seen = seen.filter(|_| slot == attempt.slot);
            let answer = seen.and_then(|seen| outcome(&seen, &attempt));
            if answer.is_none() && aside.earlier >= PROMPT {
                // Freed again and again, or a store that contradicts itself: no hurry any more.
                let pause = FIRST_PAUSE * 2_u32.saturating_pow((aside.earlier - PROMPT).min(6));
                left.run_until_cancelled(tokio::time::sleep(pause.min(LONGEST_PAUSE))).await;
            }
            if let (Some(ticket), Some(answer)) = (aside.ticket(), answer) {
                ticket.announce(&answer, &attempt.fingerprint);
            }
        });
    }

    /// Waits for the outcome of another's claim, for those who cannot ask again.
    pub(super) async fn await_outcome(
        &self,
        attempt: &Attempt,
        fence: FenceToken,
        max: Duration,
    ) -> Option<Answer> {
        let seen = tokio::time::timeout(max, self.watched(attempt.slot, fence)).await.ok()?;
        outcome(&seen?, attempt)
    }

    /// What a slot holds now, if the store tells.
    pub(super) async fn look(&self, slot: Slot) -> Option<Seen> {
        let look = self.store.look(slot, self.store_timeout);
        within(self.store_timeout.saturating_add(GRACE), look).await.ok()?.ok()
    }

    /// What a slot holds once that is no longer this running claim, however long it takes; `None` if
    /// the store cannot tell, and it is no use to go on.
    async fn watched(&self, slot: Slot, fence: FenceToken) -> Option<Seen> {
        let mut pause = FIRST_PAUSE;
        loop {
            let watch = self.store.watch(slot, fence, WATCH);
            match tokio::time::timeout(WATCH + GRACE, watch).await {
                Ok(Ok(seen)) if seen.running(fence).is_none() => return Some(seen),
                Ok(Ok(_)) | Err(_) => pause = FIRST_PAUSE,
                Ok(Err(error)) => {
                    tracing::debug!(%slot, error = %Chain(&error), "watching failed");
                    if !error.is_passing() {
                        return None;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// The outcome in a slot, if it is one for this attempt.
fn outcome(seen: &Seen, attempt: &Attempt) -> Option<Answer> {
    match seen.record.as_ref()?.seen_by(attempt, seen.now) {
        Found::Completed { outcome, age } => Some(Answer::Replay(outcome, age)),
        _ => None,
    }
}
