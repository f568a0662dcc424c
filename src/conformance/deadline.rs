//! Calls that are late, dropped or repeated.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::Harness;
use super::moments::Moments;
use super::steps::*;
use crate::protocol::{Reply, Slot};
use crate::store::{Effect, Error, Store};

/// How often a slot is looked at for a call that arrives late: for 270 ms.
const LOOKS: usize = 6;

cases! { "deadline";
    /// A begin that is answered by nobody in time claims the slot for nobody later.
    async fn a_late_begin_does_not_claim_later(harness: &Harness) {
        let slot = fresh_slot();
        let before = harness.look(slot).await;
        let ended = harness.store().begin(&ANN.attempt(slot), Duration::ZERO).await;
        nothing_later(harness, slot, before, ended).await;
    }

    /// Nor does it take an abandoned claim over.
    async fn a_late_begin_does_not_take_over_later(harness: &Harness) {
        let slot = fresh_slot();
        let _abandoned = harness.claimed(slot, ANN.lapsing()).await;
        harness.advance(LONG_ENOUGH).await;
        let before = harness.look(slot).await;
        let attempt = BOB.rerunning().attempt(slot);
        let ended = harness.store().begin(&attempt, Duration::ZERO).await;
        nothing_later(harness, slot, before, ended).await;
    }

    /// A renewal that is late does not revive a claim later.
    async fn a_late_renewal_does_not_extend_later(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        harness.advance(LONG_ENOUGH).await;
        let before = harness.look(slot).await;
        let ended = harness.store().renew(&claim, Duration::ZERO).await;
        nothing_later(harness, slot, before, ended).await;
    }

    /// A release that is late does not free the slot later.
    async fn a_late_release_does_not_free_later(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        let before = harness.look(slot).await;
        let ended = harness.store().release(claim.attempt(), No, HOUR, Duration::ZERO).await;
        nothing_later(harness, slot, before, ended).await;
    }

    /// A decision that is late does not decide later.
    async fn a_late_resolution_does_not_decide_later(harness: &Harness) {
        let slot = fresh_slot();
        let fence = harness.claimed(slot, ANN.lapsing()).await.grant().fence;
        harness.advance(LONG_ENOUGH).await;
        let before = harness.look(slot).await;
        let outcome = Text("o").outcome();
        let ended = harness.store().resolve(slot, fence, &outcome, HOUR, Duration::ZERO).await;
        nothing_later(harness, slot, before, ended).await;
    }

    /// An outcome may come late, for it is true; it is stored once, as it is.
    async fn a_late_outcome_can_be_stored_again(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        let ended = harness.store().complete(&claim, &Text("a").outcome(), Duration::ZERO).await;
        assert!(matches!(ended, Ok(Reply::Applied | Reply::Late) | Err(_)), "{ended:?}");
        harness.completed(&claim, Text("a")).await;
        let seen = harness.look(slot).await.record.expect("a record");
        assert_eq!(seen.attempt, 1);
        let found = harness.found(slot, BOB).await;
        assert!(matches!(found, crate::protocol::Found::Completed { outcome, .. } if outcome == Text("a").outcome()));
    }

    /// Who gave up a begin gives it back once its time is over, and the next one starts.
    async fn a_late_begin_can_be_cancelled(harness: &Harness) {
        let slot = fresh_slot();
        let _ = harness.store().begin(&ANN.attempt(slot), Duration::ZERO).await;
        harness.advance(LONG_ENOUGH).await;
        let reply = harness.store().release(&ANN.attempt(slot), No, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        assert_eq!(harness.claimed(slot, BOB).await.grant().number, 1);
    }

    /// A caller that goes away in the middle of a call leaves nothing half done.
    async fn a_begin_that_was_dropped_can_be_repeated(harness: &Harness) {
        let slot = fresh_slot();
        let attempt = ANN.attempt(slot);
        dropped(harness.store().begin(&attempt, WITHIN)).await;
        let reply = harness.store().begin(&attempt, WITHIN).await.expect("the store answers");
        let (Reply::Started(grant) | Reply::Mine(grant)) = reply else { panic!("{reply:?}") };
        assert_eq!(grant.number, 1);
        harness.completed(&ANN.attempt(slot).claim(grant), Text("a")).await;
    }

    /// The same of an outcome.
    async fn an_outcome_that_was_dropped_can_be_repeated(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let outcome = Content::Bytes(300 << 10).outcome();
        dropped(harness.store().complete(&claim, &outcome, WITHIN)).await;
        harness.completed(&claim, Content::Bytes(300 << 10)).await;
    }

    /// And of a renewal and a release.
    async fn a_renewal_and_a_release_that_were_dropped_can_be_repeated(harness: &Harness) {
        let (slot, store) = (fresh_slot(), harness.store());
        let claim = harness.claimed(slot, ANN).await;
        dropped(store.renew(&claim, WITHIN)).await;
        assert_eq!(store.renew(&claim, WITHIN).await.expect("the store answers"), Reply::Applied);
        dropped(store.release(claim.attempt(), Maybe, HOUR, WITHIN)).await;
        let reply = store.release(claim.attempt(), Maybe, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        assert_eq!(harness.claimed(slot, BOB).await.grant().number, 2);
    }
}

/// Once a call has ended and its time is over, the slot changes no more, whenever a copy of it
/// arrives; and it has not changed at all if the call says that it did nothing.
async fn nothing_later(
    harness: &Harness,
    slot: Slot,
    before: crate::store::Seen,
    ended: Result<Reply, Error>,
) {
    let nothing = match &ended {
        Ok(reply) => *reply == Reply::Late,
        Err(error) => error.effect() == Effect::None,
    };
    let earlier = if nothing { before } else { harness.look(slot).await };
    for _ in 0..LOOKS {
        harness.advance(LONG_ENOUGH).await;
        let after = harness.look(slot).await;
        Moments { before: earlier.clone(), after }.assert_same("what was late");
    }
}

/// Begins with a call and leaves it.
async fn dropped<T>(call: impl Future<Output = T>) {
    let mut call = pin!(call);
    poll_fn(|context| {
        let _left = call.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}
