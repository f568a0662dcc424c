//! What happens when many come at once: one of them is first.

use std::sync::Arc;

use super::Harness;
use super::steps::*;
use crate::protocol::{Attempt, Claim, Found, Reply, Slot};
use crate::store::{BoxStore, Store};

cases! { "race";
    /// One runs, and all others are told that it does.
    async fn of_fifty_concurrent_requests_one_starts(harness: &Harness) {
        let slot = fresh_slot();
        let crowd = (0..50).map(|nonce| Who { nonce, ..ANN }.attempt(slot));
        let replies = begun(harness, crowd).await;
        let started = count(&replies, |reply| matches!(reply, Reply::Started(_)));
        assert_eq!((started, count(&replies, is_busy)), (1, 49));
    }

    /// One takes over, and all others are told that it runs.
    async fn of_fifty_concurrent_take_overs_one_succeeds(harness: &Harness) {
        let slot = fresh_slot();
        let _abandoned = harness.claimed(slot, Who { nonce: 200, ..ANN }.lapsing()).await;
        harness.advance(LONG_ENOUGH).await;
        let crowd = (0..50).map(|nonce| Who { nonce, ..ANN }.rerunning().attempt(slot));
        let replies = begun(harness, crowd).await;
        let won = count(&replies, |reply| matches!(reply, Reply::Reclaimed(_)));
        assert_eq!((won, count(&replies, is_busy)), (1, 49));
    }

    /// One claims what was released, and all others are told that it runs.
    async fn of_fifty_concurrent_requests_after_a_release_one_starts(harness: &Harness) {
        let slot = fresh_slot();
        let claim = harness.claimed(slot, Who { nonce: 200, ..ANN }).await;
        let reply = harness.store().release(claim.attempt(), Maybe, HOUR, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
        let crowd = (0..50).map(|nonce| Who { nonce, ..ANN }.attempt(slot));
        let replies = begun(harness, crowd).await;
        let started = count(&replies, |reply| matches!(reply, Reply::Started(_)));
        assert_eq!((started, count(&replies, is_busy)), (1, 49));
    }

    /// Copies of one call that arrive at once are one call.
    async fn of_fifty_copies_of_one_begin_all_have_the_same_claim(harness: &Harness) {
        let slot = fresh_slot();
        let replies = begun(harness, (0..50).map(|_| ANN.attempt(slot))).await;
        let mut grants = replies.iter().map(|reply| match reply {
            Reply::Started(grant) | Reply::Mine(grant) => *grant,
            reply => panic!("{reply:?}"),
        });
        let first = grants.next().expect("fifty");
        assert_eq!(first.number, 1);
        assert!(grants.all(|grant| grant == first));
    }

    /// The handler may have been slow, or its server dead: one of two stories is true for all.
    async fn of_an_outcome_and_a_take_over_one_wins(harness: &Harness) {
        for (claim, slot) in abandoned(harness).await {
            let attempt = BOB.rerunning().attempt(slot);
            let (completed, begun) = both(
                run(harness, async move |store| store.complete(&claim, &Text("a").outcome(), WITHIN).await),
                run(harness, async move |store| store.begin(&attempt, WITHIN).await),
            )
            .await;
            match (completed, begun) {
                (Reply::Applied, Reply::Found(Found::Completed { .. })) => {}
                (Reply::Fenced(Found::Busy { .. }), Reply::Reclaimed(grant)) => {
                    assert_eq!(grant.number, 2);
                }
                replies => panic!("{replies:?}"),
            }
        }
    }

    /// The same with the decision of an operator.
    async fn of_a_resolution_and_a_take_over_one_wins(harness: &Harness) {
        for (claim, slot) in abandoned(harness).await {
            let (fence, attempt) = (claim.grant().fence, BOB.rerunning().attempt(slot));
            let (resolved, begun) = both(
                run(harness, async move |store| {
                    store.resolve(slot, fence, &Text("o").outcome(), HOUR, WITHIN).await
                }),
                run(harness, async move |store| store.begin(&attempt, WITHIN).await),
            )
            .await;
            match (resolved, begun) {
                (Reply::Applied, Reply::Found(Found::Completed { .. }))
                | (Reply::Fenced(Found::Busy { .. }), Reply::Reclaimed(_)) => {}
                replies => panic!("{replies:?}"),
            }
        }
    }

    /// Its owner comes back, or another takes over.
    async fn of_a_renewal_and_a_take_over_one_wins(harness: &Harness) {
        for (claim, slot) in abandoned(harness).await {
            let attempt = BOB.rerunning().attempt(slot);
            // Whoever comes second meets a live lease.
            let renewed = ANN.attempt(slot).claim(claim.grant());
            let (renewed, begun) = both(
                run(harness, async move |store| store.renew(&renewed, WITHIN).await),
                run(harness, async move |store| store.begin(&attempt, WITHIN).await),
            )
            .await;
            match (renewed, begun) {
                (Reply::Applied, Reply::Found(Found::Busy { .. }))
                | (Reply::Fenced(Found::Busy { .. }), Reply::Reclaimed(_)) => {}
                replies => panic!("{replies:?}"),
            }
        }
    }

    /// Whichever was first is the outcome for ever, and nobody is told of another one.
    async fn of_fifty_outcomes_of_one_claim_one_is_kept(harness: &Harness) {
        let slot = fresh_slot();
        let grant = harness.claimed(slot, ANN).await.grant();
        let all = (0..50).map(|number: u8| {
            let (claim, content) = (ANN.attempt(slot).claim(grant), Content::Bytes(number.into()));
            let retry = Who { nonce: 100 + number, ..ANN }.attempt(slot);
            run(harness, async move |store| {
                let reply = store.complete(&claim, &content.outcome(), WITHIN).await?;
                assert_eq!(reply, Reply::Applied);
                store.begin(&retry, WITHIN).await
            })
        });
        let mut told = Vec::new();
        for replied in all.collect::<Vec<_>>() {
            match replied.await.expect("no panic") {
                Reply::Found(Found::Completed { outcome, .. }) => told.push(outcome),
                reply => panic!("{reply:?}"),
            }
        }
        assert!(told.iter().all(|outcome| *outcome == told[0]), "{told:?}");
    }

    /// Each gets what is its own, however many there are.
    async fn of_fifty_slots_at_once_none_gets_what_is_anothers(harness: &Harness) {
        let slot = fresh_slot();
        let all = (0..50).map(|number: u8| {
            let mut bytes = *slot.as_bytes();
            bytes[usize::from(number) % 32] ^= 1 << (number / 32);
            let slot = Slot::from_bytes(bytes);
            let content = Content::Bytes(64 * usize::from(number));
            let who = Who { body: number, ..ANN };
            run(harness, async move |store| {
                let Ok(Reply::Started(grant)) = store.begin(&who.attempt(slot), WITHIN).await else {
                    panic!("another slot was claimed")
                };
                let claim = who.attempt(slot).claim(grant);
                let reply = store.complete(&claim, &content.outcome(), WITHIN).await;
                assert_eq!(reply.expect("the store answers"), Reply::Applied);
                let retry = Who { nonce: BOB.nonce, ..who }.attempt(slot);
                let reply = store.begin(&retry, WITHIN).await?;
                let Reply::Found(Found::Completed { outcome, .. }) = &reply else {
                    panic!("{reply:?}")
                };
                assert_eq!(*outcome, content.outcome());
                Ok(reply)
            })
        });
        for ended in all.collect::<Vec<_>>() {
            ended.await.expect("each gets its own");
        }
    }
}

type Task = tokio::task::JoinHandle<Reply>;

/// Does something in a task of its own.
fn run<F>(harness: &Harness, what: impl FnOnce(Arc<BoxStore>) -> F) -> Task
where
    F: Future<Output = Result<Reply, crate::store::Error>> + Send + 'static,
{
    let ended = what(Arc::clone(harness.store()));
    tokio::spawn(async move { ended.await.expect("the store answers") })
}

async fn both(one: Task, other: Task) -> (Reply, Reply) {
    (one.await.expect("no panic"), other.await.expect("no panic"))
}

/// Twenty abandoned claims.
async fn abandoned(harness: &Harness) -> Vec<(Claim, Slot)> {
    let mut claims = Vec::new();
    for _ in 0..20 {
        let slot = fresh_slot();
        claims.push((harness.claimed(slot, ANN.lapsing()).await, slot));
    }
    harness.advance(LONG_ENOUGH).await;
    claims
}

/// All begin at once.
async fn begun(harness: &Harness, crowd: impl Iterator<Item = Attempt>) -> Vec<Reply> {
    let tasks: Vec<_> = crowd
        .map(|attempt| run(harness, async move |store| store.begin(&attempt, WITHIN).await))
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.expect("no panic"));
    }
    replies
}

fn count(replies: &[Reply], is: impl Fn(&Reply) -> bool) -> usize {
    replies.iter().filter(|reply| is(reply)).count()
}

fn is_busy(reply: &Reply) -> bool {
    matches!(reply, Reply::Found(Found::Busy { .. }))
}
