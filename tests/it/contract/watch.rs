//! Watching a claim: it ends with the claim, and tells what is there instead.

use std::time::Duration;

use tower_idempotency::protocol::{Claim, FenceToken, Phase, Reply, Slot};
use tower_idempotency::store::{Seen, Store};

use super::case::random_slot;
use super::harness::{Harness, Memory, Redis};
use super::steps::*;

contract! {
    stories:
        what_does_not_run_is_told_at_once
        a_watch_ends_when_the_claim_is_completed
        a_watch_ends_when_the_claim_is_released
        a_watch_ends_when_the_lease_lapses
        a_watch_ends_when_the_claim_is_taken_over
        a_watch_outlasts_a_renewal
        a_watch_ends_when_its_time_is_over
        any_number_may_watch_one_claim;
}

async fn claimed(harness: &impl Harness, slot: Slot, who: Who) -> Claim {
    match harness.store().begin(&who.attempt(slot), WITHIN).await {
        Ok(Reply::Started(grant) | Reply::Reclaimed(grant)) => who.attempt(slot).claim(grant),
        reply => panic!("{reply:?}"),
    }
}

/// Watches, and does something meanwhile.
async fn watched(
    harness: &impl Harness,
    claim: &Claim,
    meanwhile: impl Future<Output = ()>,
) -> Seen {
    let slot = claim.attempt().slot;
    let watch = harness.store().watch(slot, claim.grant().fence, WITHIN);
    let late = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        meanwhile.await;
    };
    let (seen, ()) = futures_util::future::join(watch, late).await;
    seen.expect("the store answers")
}

async fn what_does_not_run_is_told_at_once(harness: &impl Harness) {
    let (slot, store) = (random_slot(), harness.store());
    let claim = claimed(harness, slot, ANN).await;
    let fence = claim.grant().fence;
    let seen = store.watch(random_slot(), fence, WITHIN).await.expect("the store answers");
    assert_eq!(seen.record, None);
    let earlier = FenceToken::from_number(1);
    let seen = store.watch(slot, earlier, WITHIN).await.expect("the store answers");
    assert_eq!(seen.record.expect("another claim").fence, fence);
    store.complete(&claim, &Text("done").outcome(), WITHIN).await.expect("the store answers");
    let seen = store.watch(slot, fence, WITHIN).await.expect("the store answers");
    assert!(matches!(seen.record.expect("a record").phase, Phase::Completed { .. }));
}

async fn a_watch_ends_when_the_claim_is_completed(harness: &impl Harness) {
    let claim = claimed(harness, random_slot(), ANN).await;
    let seen = watched(harness, &claim, async {
        let reply = harness.store().complete(&claim, &Text("done").outcome(), WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
    })
    .await;
    let Phase::Completed { outcome, .. } = seen.record.expect("a record").phase else { panic!() };
    assert_eq!(outcome, Text("done").outcome());
}

async fn a_watch_ends_when_the_claim_is_released(harness: &impl Harness) {
    let claim = claimed(harness, random_slot(), ANN).await;
    let seen = watched(harness, &claim, async {
        let reply = harness.store().release(claim.attempt(), No, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
    })
    .await;
    assert_eq!(seen.record.expect("a tombstone").phase, Phase::Released);
}

async fn a_watch_ends_when_the_lease_lapses(harness: &impl Harness) {
    let claim = claimed(harness, random_slot(), ANN.lapsing()).await;
    let seen = watched(harness, &claim, harness.advance(LONG_ENOUGH)).await;
    let record = seen.record.expect("an abandoned claim");
    let Phase::InProgress { lease_until } = record.phase else { panic!("{record:?}") };
    assert!(lease_until <= seen.now);
}

async fn a_watch_ends_when_the_claim_is_taken_over(harness: &impl Harness) {
    let slot = random_slot();
    let claim = claimed(harness, slot, ANN.lapsing()).await;
    let winner = async {
        harness.advance(LONG_ENOUGH).await;
        drop(claimed(harness, slot, BOB.rerunning()).await);
    };
    let seen = watched(harness, &claim, winner).await;
    assert!(seen.running(claim.grant().fence).is_none());
}

async fn a_watch_outlasts_a_renewal(harness: &impl Harness) {
    let claim = claimed(harness, random_slot(), ANN).await;
    let seen = watched(harness, &claim, async {
        let store = harness.store();
        assert_eq!(store.renew(&claim, WITHIN).await.expect("renew"), Reply::Applied);
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.complete(&claim, &Text("done").outcome(), WITHIN).await.expect("complete");
    })
    .await;
    assert!(matches!(seen.record.expect("a record").phase, Phase::Completed { .. }));
}

async fn a_watch_ends_when_its_time_is_over(harness: &impl Harness) {
    let claim = claimed(harness, random_slot(), ANN).await;
    let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
    let seen = harness.store().watch(slot, fence, SHORT).await.expect("the store answers");
    assert!(seen.running(fence).is_some());
}

async fn any_number_may_watch_one_claim(harness: &impl Harness) {
    let claim = claimed(harness, random_slot(), ANN).await;
    let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
    let watches = (0..50).map(|_| harness.store().watch(slot, fence, WITHIN));
    let given_up = harness.store().watch(slot, fence, Duration::from_millis(20));
    let complete = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        harness.store().complete(&claim, &Text("done").outcome(), WITHIN).await
    };
    let watches = futures_util::future::join_all(watches);
    let (seen, (given_up, reply)) =
        futures_util::future::join(watches, futures_util::future::join(given_up, complete)).await;
    assert_eq!(reply.expect("the store answers"), Reply::Applied);
    assert!(given_up.expect("the store answers").running(fence).is_some());
    for seen in seen {
        let record = seen.expect("the store answers").record.expect("a record");
        assert!(matches!(record.phase, Phase::Completed { .. }));
    }
}
