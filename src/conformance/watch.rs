//! Watching a claim: it ends with the claim, and tells what is there instead.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Harness;
use super::steps::*;
use crate::protocol::{Claim, FenceToken, Phase, Reply, Slot};
use crate::store::{Seen, Store};

/// Until those who watch do so.
const A_MOMENT: Duration = Duration::from_millis(50);

/// A store that looks now and then has looked by now, and one that never does has not.
const NOTICED: Duration = Duration::from_secs(10);

cases! { "watch";
    /// Whatever is not this claim, running, is told at once: nothing, another claim, an outcome.
    async fn what_does_not_run_is_told_at_once(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        let fence = claim.grant().fence;
        assert_eq!(told(harness, fresh_slot(), fence).await.record, None);
        let seen = told(harness, slot, FenceToken::from_number(1)).await;
        assert_eq!(seen.record.expect("another claim").fence, fence);
        harness.completed(&claim, Text("done")).await;
        let seen = told(harness, slot, fence).await;
        assert!(matches!(seen.record.expect("a record").phase, Phase::Completed { .. }));
    }

    /// The same of an abandoned claim and of a tombstone.
    async fn what_runs_no_more_is_told_at_once(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        let fence = claim.grant().fence;
        harness.advance(LONG_ENOUGH).await;
        let seen = told(harness, slot, fence).await;
        assert!(seen.running(fence).is_none() && seen.record.is_some());
        released(harness, &claim).await;
        let seen = told(harness, slot, fence).await;
        assert_eq!(seen.record.expect("a tombstone").phase, Phase::Released);
    }

    /// Who waits gets the answer soon after it is there.
    async fn a_watch_ends_when_the_claim_is_completed(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let watch = watch(harness, &claim, WITHIN).await;
        harness.completed(&claim, Text("done")).await;
        let record = ended(watch).await.record.expect("a record");
        let Phase::Completed { outcome, .. } = record.phase else { panic!("{record:?}") };
        assert_eq!(outcome, Text("done").outcome());
    }

    /// Or may begin soon after it was given back.
    async fn a_watch_ends_when_the_claim_is_released(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let watch = watch(harness, &claim, WITHIN).await;
        released(harness, &claim).await;
        assert_eq!(ended(watch).await.record.expect("a tombstone").phase, Phase::Released);
    }

    /// Nobody tells that a lease has lapsed, so it is looked at then.
    async fn a_watch_ends_when_the_lease_lapses(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN.lapsing()).await;
        let watch = watch(harness, &claim, WITHIN).await;
        harness.advance(LONG_ENOUGH).await;
        let seen = ended(watch).await;
        let record = seen.record.expect("an abandoned claim");
        let Phase::InProgress { lease_until } = record.phase else { panic!("{record:?}") };
        assert!(lease_until <= seen.now);
    }

    /// Nor that a record has expired.
    async fn a_watch_ends_when_the_record_expires(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN.lapsing().expiring()).await;
        let watch = watch(harness, &claim, WITHIN).await;
        harness.advance(LONG_ENOUGH).await;
        assert!(ended(watch).await.running(claim.grant().fence).is_none());
    }

    /// The claim of another is not the one that is watched.
    async fn a_watch_ends_when_the_claim_is_taken_over(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        let watch = watch(harness, &claim, WITHIN).await;
        harness.advance(LONG_ENOUGH).await;
        let _winner = harness.claimed(slot, BOB.rerunning()).await;
        assert!(ended(watch).await.running(claim.grant().fence).is_none());
    }

    /// What an operator has decided is told like any outcome.
    async fn a_watch_ends_when_the_claim_is_resolved(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        let (fence, store) = (claim.grant().fence, harness.store());
        let watch = watch(harness, &claim, WITHIN).await;
        harness.advance(LONG_ENOUGH).await;
        let reply = store.resolve(slot, fence, &Text("o").outcome(), HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        assert!(ended(watch).await.running(fence).is_none());
        assert!(matches!(
            told(harness, slot, fence).await.record.expect("a record").phase,
            Phase::Completed { .. }
        ));
    }

    /// A claim that is renewed goes on.
    async fn a_watch_outlasts_a_renewal(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let watch = watch(harness, &claim, WITHIN).await;
        let reply = harness.store().renew(&claim, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        tokio::time::sleep(A_MOMENT).await;
        harness.completed(&claim, Text("done")).await;
        let seen = ended(watch).await;
        assert!(matches!(seen.record.expect("a record").phase, Phase::Completed { .. }));
    }

    /// What happens in another slot is nothing to it.
    async fn a_watch_outlasts_what_happens_elsewhere(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        let watch = watch(harness, &claim, WITHIN).await;
        let neighbour = harness.claimed(Place::OffAt(31).of(slot), ANN).await;
        harness.completed(&neighbour, Text("there")).await;
        tokio::time::sleep(A_MOMENT).await;
        harness.completed(&claim, Text("here")).await;
        let record = ended(watch).await.record.expect("a record");
        let Phase::Completed { outcome, .. } = record.phase else { panic!("{record:?}") };
        assert_eq!(outcome, Text("here").outcome());
    }

    /// Who waited long enough is told that it still runs.
    async fn a_watch_ends_when_its_time_is_over(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let watch = watch(harness, &claim, SHORT).await;
        assert!(ended(watch).await.running(claim.grant().fence).is_some());
    }

    /// A watch that ends early would be a poll without a pause.
    async fn a_watch_does_not_end_before_its_time(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let watch = watch(harness, &claim, WITHIN).await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert!(!watch.is_finished(), "{:?}", ended(watch).await);
        watch.abort();
    }

    /// Fifty watch, one gives up, and the others get the answer.
    async fn any_number_may_watch_one_claim(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
        let watches: Vec<_> = (0..50).map(|_| spawn(harness, slot, fence, WITHIN)).collect();
        let given_up = spawn(harness, slot, fence, Duration::from_millis(20));
        let given_up = ended(given_up).await;
        assert!(given_up.running(fence).is_some(), "{given_up:?}");
        tokio::time::sleep(A_MOMENT).await;
        harness.completed(&claim, Text("done")).await;
        for watch in watches {
            let record = ended(watch).await.record.expect("a record");
            assert!(matches!(record.phase, Phase::Completed { .. }));
        }
    }

    /// Who goes away takes nothing along that the others need.
    async fn a_watch_that_is_dropped_ends_no_other(harness: &Harness) {
        let claim = harness.claimed(fresh_slot(), ANN).await;
        let dropped = watch(harness, &claim, WITHIN).await;
        let watch = watch(harness, &claim, WITHIN).await;
        dropped.abort();
        tokio::time::sleep(A_MOMENT).await;
        harness.completed(&claim, Text("done")).await;
        let seen = ended(watch).await;
        assert!(matches!(seen.record.expect("a record").phase, Phase::Completed { .. }));
    }
}

/// Watches a claim in a task of its own.
async fn watch(harness: &Harness, claim: &Claim, within: Duration) -> JoinHandle<Seen> {
    let watch = spawn(harness, claim.attempt().slot, claim.grant().fence, within);
    tokio::time::sleep(A_MOMENT).await;
    watch
}

fn spawn(harness: &Harness, slot: Slot, fence: FenceToken, within: Duration) -> JoinHandle<Seen> {
    let store = Arc::clone(harness.store());
    tokio::spawn(async move { store.watch(slot, fence, within).await.expect("the store answers") })
}

/// What was told, soon after it happened.
async fn ended(watch: JoinHandle<Seen>) -> Seen {
    let ended = tokio::time::timeout(NOTICED, watch).await.expect("the watch ends");
    ended.expect("a watch does not panic")
}

/// What a watch tells at once.
async fn told(harness: &Harness, slot: Slot, fence: FenceToken) -> Seen {
    let watch = harness.store().watch(slot, fence, WITHIN);
    let seen = tokio::time::timeout(NOTICED, watch).await.expect("the watch ends");
    seen.expect("the store answers")
}

async fn released(harness: &Harness, claim: &Claim) {
    let reply = harness.store().release(claim.attempt(), No, HOUR, WITHIN).await;
    assert_eq!(reply.expect("the store answers"), Reply::Applied);
}
