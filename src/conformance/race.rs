//! What happens when many come at once: one of them is first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{hint, thread};

use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use super::Harness;
use super::steps::*;
use crate::clock::{Clock as _, SystemClock};
use crate::protocol::{Attempt, Claim, Found, Reply, Slot};
use crate::store::{BoxStore, Store};

/// How often they come at once: a store that looks and then writes may be lucky.
const ROUNDS: usize = 20;

/// How long two threads try.
const A_WHILE: Duration = Duration::from_millis(300);

cases! { "race";
    /// One runs, and all others are told that it does.
    async fn of_fifty_concurrent_requests_one_starts(harness: &Harness) {
        for _ in 0..ROUNDS {
            one_wins(harness, fresh_slot(), ANN).await;
        }
    }

    /// One takes over, and all others are told that it runs.
    async fn of_fifty_concurrent_take_overs_one_succeeds(harness: &Harness) {
        for (_, slot) in abandoned(harness).await {
            one_wins(harness, slot, ANN.rerunning()).await;
        }
    }

    /// One claims what was released, and all others are told that it runs.
    async fn of_fifty_concurrent_requests_after_a_release_one_starts(harness: &Harness) {
        for _ in 0..ROUNDS {
            let slot = fresh_slot();
            let claim = harness.claimed(slot, Who { nonce: 200, ..ANN }).await;
            let reply = harness.store().release(claim.attempt(), Maybe, HOUR, WITHIN).await;
            assert_eq!(reply.expect("the store answers"), Reply::Applied);
            one_wins(harness, slot, ANN).await;
        }
    }

    /// The same where it is narrowest: two threads that call at once, as fast as they can, for a while.
    async fn of_two_threads_that_begin_at_once_one_starts(harness: &Harness) {
        let end = SystemClock.monotonic() + A_WHILE;
        while SystemClock.monotonic() < end {
            let slots: Arc<[Slot]> = (0..64).map(|_| fresh_slot()).collect();
            let gate = Arc::new(AtomicUsize::new(0));
            let threads = [ANN, BOB].map(|who| thread(harness, who, &slots, &gate));
            let [ann, bob] = threads.map(|thread| async { thread.await.expect("no panic") });
            for replies in ann.await.iter().zip(&bob.await) {
                let ((Reply::Started(_), other) | (other, Reply::Started(_))) = replies else {
                    panic!("neither starts: {replies:?}");
                };
                assert!(is_busy(other), "both start, or one is not told so: {replies:?}");
            }
        }
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

/// Begins in each of these slots at the moment at which the other thread does.
fn thread(
    harness: &Harness,
    who: Who,
    slots: &Arc<[Slot]>,
    gate: &Arc<AtomicUsize>,
) -> JoinHandle<Vec<Reply>> {
    let (runtime, store) = (Handle::current(), Arc::clone(harness.store()));
    let (slots, gate) = (Arc::clone(slots), Arc::clone(gate));
    tokio::task::spawn_blocking(move || {
        let begin = |(round, slot): (usize, &Slot)| {
            let attempt = who.attempt(*slot);
            gate.fetch_add(1, Ordering::AcqRel);
            let mut spins = 0_u32;
            while gate.load(Ordering::Acquire) < 2 * (round + 1) {
                spins += 1;
                // With one core the other thread needs it.
                if spins.is_multiple_of(1000) { thread::yield_now() } else { hint::spin_loop() }
            }
            runtime.block_on(store.begin(&attempt, WITHIN)).expect("the store answers")
        };
        slots.iter().enumerate().map(begin).collect()
    })
}

type Task = JoinHandle<Reply>;

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

/// As many abandoned claims as there are rounds.
async fn abandoned(harness: &Harness) -> Vec<(Claim, Slot)> {
    let mut claims = Vec::new();
    for _ in 0..ROUNDS {
        let slot = fresh_slot();
        claims.push((harness.claimed(slot, ANN.lapsing()).await, slot));
    }
    harness.advance(LONG_ENOUGH).await;
    claims
}

/// All begin at once: each waits until the last one is there.
async fn begun(harness: &Harness, crowd: impl Iterator<Item = Attempt>) -> Vec<Reply> {
    let crowd: Vec<_> = crowd.collect();
    let start = Arc::new(Barrier::new(crowd.len()));
    let begin = |attempt: Attempt| {
        let start = Arc::clone(&start);
        run(harness, async move |store| {
            start.wait().await;
            store.begin(&attempt, WITHIN).await
        })
    };
    let tasks: Vec<_> = crowd.into_iter().map(begin).collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.expect("no panic"));
    }
    replies
}

/// Of fifty attempts like this one, one gets the slot and all others are told that it runs.
async fn one_wins(harness: &Harness, slot: Slot, who: Who) {
    let replies = begun(harness, (50..100).map(|nonce| Who { nonce, ..who }.attempt(slot))).await;
    let count = |is: fn(&Reply) -> bool| replies.iter().filter(|reply| is(reply)).count();
    let won = count(|reply| matches!(reply, Reply::Started(_) | Reply::Reclaimed(_)));
    let busy = count(is_busy);
    assert_eq!((won, busy), (1, 49), "of fifty: who got the slot, and who was told that it runs");
}

fn is_busy(reply: &Reply) -> bool {
    matches!(reply, Reply::Found(Found::Busy { .. }))
}
