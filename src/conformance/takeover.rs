//! A take-over of one claim that is named by its fence: what somebody has decided of it holds of no
//! other.

use super::Harness;
use super::steps::*;
use crate::protocol::{Claim, Found, Reply};
use crate::store::Store;

cases! { "takeover";
    /// Somebody knows what became of it, and of nothing else.
    async fn a_claim_that_is_named_is_taken_over_and_no_other(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        harness.advance(LONG_ENOUGH).await;
        let elsewhere = harness.claimed(fresh_slot(), ANN).await;
        unknown(harness, &claim, BOB.after(&elsewhere)).await;
        let winner = harness.claimed(slot, BOB.after(&claim)).await;
        assert_eq!(winner.grant().number, 2);
        assert!(winner.grant().fence > claim.grant().fence);
    }

    /// A claim that has executed nothing gives its number back, and the next one gets it.
    async fn a_later_claim_of_the_same_number_is_another(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        let reply = harness.store().release(claim.attempt(), No, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        let later = harness.claimed(slot, CAT.lapsing()).await;
        assert_eq!(later.grant().number, claim.grant().number);
        harness.advance(LONG_ENOUGH).await;
        unknown(harness, &later, BOB.after(&claim)).await;
    }

    /// Whoever names it has decided that, too.
    async fn a_claim_that_is_named_is_taken_over_whatever_its_number(harness: &Harness) {
        let slot = fresh_slot();
        let mut claim = harness.claimed(slot, ANN.lapsing()).await;
        for number in 2..=8 {
            harness.advance(LONG_ENOUGH).await;
            let who = Who { nonce: 10 + number, ..ANN };
            claim = harness.claimed(slot, who.after(&claim).lapsing()).await;
            assert_eq!(claim.grant().number, u32::from(number));
        }
    }

    /// Its worker may have come back.
    async fn a_claim_that_is_named_is_not_taken_over_while_it_lives(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN).await;
        let found = harness.found(slot, BOB.after(&claim)).await;
        assert!(matches!(found, Found::Busy { .. }), "{found:?}");
    }

    /// Nor by a request that is not its own.
    async fn a_claim_that_is_named_is_not_taken_over_by_another_request(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, ANN.lapsing()).await;
        harness.advance(LONG_ENOUGH).await;
        assert_eq!(harness.found(slot, EVE.after(&claim)).await, Found::Mismatch);
    }
}

/// This one finds the abandoned claim, and does not get it.
async fn unknown(harness: &Harness, claim: &Claim, who: Who) {
    let found = harness.found(claim.attempt().slot, who).await;
    let Found::Unknown { fence, .. } = found else { panic!("{found:?}") };
    assert_eq!(fence, claim.grant().fence);
}
