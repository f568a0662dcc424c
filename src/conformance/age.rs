//! Ages, leases and fences as they are told: by how much they change with time.

use super::Harness;
use super::steps::*;
use crate::protocol::{FenceToken, Found, Grant, Reply};
use crate::store::Store;

cases! { "age";
    /// A replay is told how old it is.
    async fn an_answer_grows_older(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        harness.completed(&claim, Text("a")).await;
        harness.advance(LONG_ENOUGH).await;
        let found = harness.found(slot, BOB).await;
        let Found::Completed { age, .. } = found else { panic!("{found:?}") };
        assert!(age >= LONG_ENOUGH && age < HOUR, "{age:?}");
    }

    /// The age is that of the outcome, not that of the claim.
    async fn an_answer_is_born_with_its_outcome(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        harness.advance(LONG_ENOUGH).await;
        let before = harness.look(slot).await.now;
        harness.completed(&claim, Text("a")).await;
        let found = harness.found(slot, BOB).await;
        let Found::Completed { age, .. } = found else { panic!("{found:?}") };
        let after = harness.look(slot).await.now;
        assert!(age <= after.since(before), "{age:?}");
    }

    /// Who waits for a claim is told for how long.
    async fn a_claim_grows_older_and_its_lease_runs_down(harness: &Harness) {
        let slot = fresh_slot();
        let _claim = harness.claimed(slot, ANN).await;
        harness.advance(LONG_ENOUGH).await;
        let found = harness.found(slot, BOB).await;
        let Found::Busy { remaining, age, .. } = found else { panic!("{found:?}") };
        assert!(age >= LONG_ENOUGH && age < HOUR, "{age:?}");
        assert_eq!(remaining + age, HOUR, "both are told for one moment");
    }

    /// The age is that of the claim, and a renewal makes no new one.
    async fn a_renewal_does_not_make_a_claim_younger(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        let grant = claim.grant();
        harness.advance(LONG_ENOUGH).await;
        let reply = harness.store().renew(&claim, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        let found = harness.found(slot, BOB).await;
        let Found::Busy { fence, remaining, age } = found else { panic!("{found:?}") };
        assert_eq!(fence, grant.fence);
        assert!(age >= LONG_ENOUGH && remaining + age > HOUR, "{remaining:?}, {age:?}");
    }

    /// Who decides about an abandoned claim is told how long ago it was made.
    async fn an_abandoned_claim_grows_older(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        let grant = claim.grant();
        harness.advance(LONG_ENOUGH).await;
        harness.advance(LONG_ENOUGH).await;
        let found = harness.found(slot, BOB).await;
        let Found::Unknown { fence, age, attempt } = found else { panic!("{found:?}") };
        assert_eq!((fence, attempt), (grant.fence, 1));
        assert!(age >= 2 * LONG_ENOUGH && age < HOUR, "{age:?}");
    }

    /// A late copy of a begin can claim the slot anew for an attempt, after others have had it.
    async fn a_renewal_by_an_earlier_grant_leaves_the_later_one(harness: &Harness) {
        let (slot, store) = (fresh_slot(), harness.store());
        let earlier = harness.claimed(slot, ANN.lapsing()).await;
        harness.advance(LONG_ENOUGH).await;
        let other = harness.claimed(slot, BOB.rerunning()).await;
        let reply = store.release(other.attempt(), Maybe, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        let later = harness.claimed(slot, ANN).await;
        let reply = store.renew(&earlier, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        let record = harness.look(slot).await.record.expect("a record");
        assert_eq!((record.fence, record.attempt), (later.grant().fence, later.grant().number));
    }

    /// A later claim has the larger fence, also after the store has forgotten the earlier one.
    async fn fences_grow(harness: &Harness) {
        let slot = fresh_slot();
        let mut last = None;
        for nonce in 1..=4 {
            let who = Who { nonce, ..ANN }.rerunning().lapsing();
            let who = if nonce == 2 { who.expiring() } else { who };
            let claim = harness.claimed(slot, who).await;
            let grant = claim.grant();
            assert!(last < Some(grant.fence), "{last:?}, {grant:?}");
            harness.advance(LONG_ENOUGH).await;
            if nonce == 2 {
                let (attempt, store) = (claim.attempt(), harness.store());
                let reply = store.release(attempt, Maybe, SHORT, WITHIN).await;
                assert_eq!(reply.expect("the store answers"), Reply::Applied);
                harness.advance(LONG_ENOUGH).await;
                assert_eq!(harness.look(slot).await.record, None);
            }
            last = Some(grant.fence);
        }
    }

    /// A database that keeps the highest fence must not have to wait for a clock.
    async fn fences_grow_within_one_moment(harness: &Harness) {
        let slot = fresh_slot();
        let mut last = None;
        for nonce in 1..=20 {
            let claim = harness.claimed(slot, Who { nonce, ..ANN }).await;
            let grant = claim.grant();
            assert!(last < Some(grant.fence), "{last:?}, {grant:?}");
            last = Some(grant.fence);
            let reply = harness.store().release(claim.attempt(), No, HOUR, WITHIN).await;
            assert_eq!(reply.expect("the store answers"), Reply::Applied);
        }
    }

    /// A fence lies after the one before it, even where that lies after the present.
    async fn fences_grow_from_one_that_is_ahead(harness: &Harness) {
        let (slot, store) = (fresh_slot(), harness.store());
        let ahead = FenceToken::at(harness.look(slot).await.now.after(HOUR));
        let lost = ANN.lapsing().attempt(slot).claim(Grant { number: 1, fence: ahead });
        let reply = store.renew(&lost, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        harness.advance(LONG_ENOUGH).await;
        let second = harness.claimed(slot, BOB.rerunning()).await;
        let reply = store.release(second.attempt(), Maybe, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        let third = harness.claimed(slot, CAT).await;
        let fences = [ahead, second.grant().fence, third.grant().fence];
        assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");
    }

    /// They do not count for a moment longer: who comes then may take over, or start anew.
    async fn a_lease_and_a_retention_end_at_their_moment(harness: &Harness) {
        let (leased, retained) = (fresh_slot(), fresh_slot());
        let claim = harness.claimed(leased, ANN.lapsing()).await;
        let _claim = harness.claimed(retained, ANN.expiring()).await;
        harness.advance_to_the_end_of(SHORT).await;
        assert_eq!(harness.look(retained).await.record, None);
        let seen = harness.look(leased).await;
        assert_eq!(seen.running(claim.grant().fence), None);
        assert_eq!(harness.claimed(leased, BOB.rerunning()).await.grant().number, 2);
        assert_eq!(harness.claimed(retained, BOB).await.grant().number, 1);
    }

    /// It is a moment of the store's clock, so that a lost record cannot make it start anew.
    async fn a_first_fence_is_the_moment_of_the_claim(harness: &Harness) {
        let slot = fresh_slot();
        let before = harness.look(slot).await.now;
        let claim = harness.claimed(slot, ANN).await;
        let grant = claim.grant();
        let after = harness.look(slot).await.now;
        let moments = before.as_micros()..=after.as_micros();
        assert!(moments.contains(&grant.fence.number()), "{moments:?}, {grant:?}");
    }

    /// A clock that goes on is the clock by which leases lapse.
    async fn the_clock_of_the_store_goes_on(harness: &Harness) {
        let slot = fresh_slot();
        let before = harness.look(slot).await.now;
        harness.advance(LONG_ENOUGH).await;
        let passed = harness.look(slot).await.now.since(before);
        assert!(passed >= LONG_ENOUGH && passed < HOUR, "{passed:?}");
    }
}
