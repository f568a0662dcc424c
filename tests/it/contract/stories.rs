//! What no table can tell: crowds, and answers that change with time.

use tower_idempotency::protocol::{Found, Reply, Slot};
use tower_idempotency::store::Store;

use super::case::random_slot;
use super::harness::{Harness, Memory, Redis};
use super::steps::*;

contract! {
    stories:
        of_fifty_concurrent_requests_one_starts
        of_fifty_concurrent_take_overs_one_succeeds
        an_answer_grows_older
        a_claim_grows_older_and_its_lease_runs_down
        a_renewal_by_an_earlier_grant_leaves_the_later_one;
}

async fn of_fifty_concurrent_requests_one_starts(harness: &impl Harness) {
    let slot = random_slot();
    let replies = crowd(harness, slot, ANN).await;
    let started = replies.iter().filter(|reply| matches!(reply, Reply::Started(_))).count();
    let busy = replies.iter().filter(|reply| matches!(reply, Reply::Found(Found::Busy { .. })));
    assert_eq!((started, busy.count()), (1, 49));
}

async fn of_fifty_concurrent_take_overs_one_succeeds(harness: &impl Harness) {
    let slot = random_slot();
    let abandoned = Who { nonce: 200, ..ANN }.lapsing().attempt(slot);
    let reply = harness.store().begin(&abandoned, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    harness.advance(LONG_ENOUGH).await;
    let replies = crowd(harness, slot, ANN.rerunning()).await;
    let won = replies.iter().filter(|reply| matches!(reply, Reply::Reclaimed(_))).count();
    let busy = replies.iter().filter(|reply| matches!(reply, Reply::Found(Found::Busy { .. })));
    assert_eq!((won, busy.count()), (1, 49));
}

async fn crowd(harness: &impl Harness, slot: Slot, who: Who) -> Vec<Reply> {
    let attempts = (0..50).map(|nonce| Who { nonce, ..who }.attempt(slot));
    let begins = attempts.map(async |attempt| {
        harness.store().begin(&attempt, WITHIN).await.expect("the store answers")
    });
    futures_util::future::join_all(begins).await
}

async fn an_answer_grows_older(harness: &impl Harness) {
    let (slot, store) = (random_slot(), harness.store());
    let reply = store.begin(&ANN.attempt(slot), WITHIN).await;
    let Ok(Reply::Started(grant)) = reply else { panic!("{reply:?}") };
    let claim = ANN.attempt(slot).claim(grant);
    store.complete(&claim, &Text("a").outcome(), WITHIN).await.expect("the store answers");
    harness.advance(LONG_ENOUGH).await;
    let reply = store.begin(&BOB.attempt(slot), WITHIN).await;
    let Ok(Reply::Found(Found::Completed { age, .. })) = reply else { panic!("{reply:?}") };
    assert!(age >= LONG_ENOUGH && age < HOUR, "{age:?}");
}

async fn a_claim_grows_older_and_its_lease_runs_down(harness: &impl Harness) {
    let (slot, store) = (random_slot(), harness.store());
    store.begin(&ANN.attempt(slot), WITHIN).await.expect("the store answers");
    harness.advance(LONG_ENOUGH).await;
    let reply = store.begin(&BOB.attempt(slot), WITHIN).await;
    let Ok(Reply::Found(Found::Busy { remaining, age, .. })) = reply else { panic!("{reply:?}") };
    assert!(age >= LONG_ENOUGH && age < HOUR, "{age:?}");
    assert_eq!(remaining + age, HOUR, "both are told for one moment");
}

/// A late copy of `begin` claims the slot anew for an attempt that others have had since.
async fn a_renewal_by_an_earlier_grant_leaves_the_later_one(harness: &impl Harness) {
    let (slot, store) = (random_slot(), harness.store());
    let (ann, bob) = (ANN.lapsing().attempt(slot), BOB.rerunning().attempt(slot));
    let reply = store.begin(&ann, WITHIN).await;
    let Ok(Reply::Started(earlier)) = reply else { panic!("{reply:?}") };
    harness.advance(LONG_ENOUGH).await;
    store.begin(&bob, WITHIN).await.expect("the store answers");
    store.release(&bob, Maybe, HOUR, WITHIN).await.expect("the store answers");
    let reply = store.begin(&ann, WITHIN).await;
    let Ok(Reply::Started(later)) = reply else { panic!("{reply:?}") };
    let reply = store.renew(&ann.claim(earlier), WITHIN).await;
    assert_eq!(reply.expect("the store answers"), Reply::Applied);
    let record = store.look(slot, WITHIN).await.expect("the store answers").record;
    let record = record.expect("a record");
    assert_eq!((record.fence, record.attempt), (later.fence, later.number));
}
