//! Rules 15 and 20 to 25: claims, their leases and their ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tower_idempotency::clock::ManualClock;
use tower_idempotency::protocol::{Attempt, Phase, TakeOver};
use tower_idempotency::{Guarantee, MemoryStore, Policy};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, eventually, layer, layer_with, pause};
use crate::support::attempt::{attempt_of, response, slot_of};
use crate::support::http::{Ask, keyed};

on_every_store![
    rule_15_a_request_in_flight_is_a_409_with_a_time_to_retry,
    rule_20_a_client_that_hangs_up_does_not_end_its_request,
    rule_20_a_run_longer_than_its_limit_is_stopped,
    rule_22_the_lease_is_renewed_while_the_handler_lives,
    rule_23_an_abandoned_claim_stays_unknown_under_at_most_once,
    rule_23_an_operator_can_resolve_an_abandoned_claim,
    rule_23_an_abandoned_claim_is_taken_over_under_at_least_once,
    rule_23_after_the_last_attempt_the_outcome_is_unknown,
    rule_24_a_worker_that_lost_its_claim_answers_with_the_winners_outcome,
    rule_24_a_worker_that_lost_its_claim_never_frees_the_winners,
    rule_24_a_worker_that_lost_its_claim_answers_in_progress_while_the_winner_runs,
    rule_25_a_record_expires_from_its_completion_and_is_not_extended_by_replays,
];

const LEASE: Duration = Duration::from_millis(300);

fn short() -> Policy {
    Policy::new().lease(LEASE)
}

/// A handler that takes this long.
async fn slow(store: &AnyStore, policy: Policy, millis: u64) -> App {
    App::start(layer_with(store, policy), move |run| async move {
        pause(millis).await;
        run.number.to_string()
    })
    .await
}

async fn rule_15_a_request_in_flight_is_a_409_with_a_time_to_retry(store: AnyStore) {
    let app = slow(&store, Policy::new(), 300).await;
    let first = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    let busy = app.send(keyed("k")).await;
    busy.is_refused(409, "in-progress");
    assert_eq!(
        (busy.header("retry-after"), &busy.problem()["retryable"]),
        (Some("1"), &true.into())
    );
    let first = first.await.expect("an answer");
    first.is_first("1");
    app.send(keyed("k")).await.is_replay_of(&first);
}

#[tokio::test]
async fn rule_15_retry_after_is_the_smaller_of_the_claims_age_and_the_rest_of_its_lease() {
    let clock = Arc::new(ManualClock::default());
    let store = AnyStore::Memory(Arc::new(MemoryStore::with_clock(Arc::clone(&clock))));
    let app = App::counting(layer(&store).build().expect("valid")).await;
    let _claim = store.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    for (age, retry_after) in
        [(0.0, "1"), (1.5, "2"), (7.0, "7"), (15.0, "15"), (20.0, "10"), (29.0, "1"), (29.9, "1")]
    {
        let now = store.seen(slot_of(&keyed("k"))).await;
        let begun = now.record.expect("a record").fence.number();
        let begun = tower_idempotency::protocol::Timestamp::from_micros(begun);
        clock.advance(Duration::from_secs_f64(age).saturating_sub(now.now.since(begun)));
        let busy = app.send(keyed("k")).await;
        busy.is_refused(409, "in-progress");
        assert_eq!(busy.header("retry-after"), Some(retry_after), "{age}");
    }
}

async fn rule_20_a_client_that_hangs_up_does_not_end_its_request(store: AnyStore) {
    let app = slow(&store, Policy::new(), 300).await;
    let mut connection = app.server.connect().await;
    connection.write(keyed("k").body("x")).await;
    eventually(|| app.runs() == 1).await;
    drop(connection);
    pause(50).await;
    app.send(keyed("k").body("x")).await.is_refused(409, "in-progress");
    let retry = app.settled(keyed("k").body("x")).await;
    assert_eq!((retry.is_replay(), retry.text()), (true, "1"));
}

async fn rule_20_a_run_longer_than_its_limit_is_stopped(store: AnyStore) {
    /// Tells when the handler is gone.
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    for (guarantee, runs) in [(Guarantee::AtMostOnce, 1), (Guarantee::AtLeastOnce, 2)] {
        let stopped = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&stopped);
        let policy = Policy::new().guarantee(guarantee).max_run(Duration::from_millis(150));
        let app = App::start(layer_with(&store, policy), move |_| {
            let gone = Gone(Arc::clone(&gone));
            async move {
                std::future::pending::<()>().await;
                drop(gone);
            }
        })
        .await;
        let ask = keyed(&format!("{guarantee:?}"));
        app.send(&ask).await.is_refused(500, "handler-failed");
        assert!(stopped.load(Ordering::SeqCst));
        assert_eq!(app.send(&ask).await.status, 500);
        assert_eq!(app.runs(), runs, "{guarantee:?}");
    }
}

async fn rule_22_the_lease_is_renewed_while_the_handler_lives(store: AnyStore) {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let app = slow(&store, short().guarantee(guarantee), 1000).await;
        let ask = keyed(&format!("{guarantee:?}"));
        let first = app.in_background(&ask);
        eventually(|| app.runs() == 1).await;
        for _ in 0..8 {
            app.send(&ask).await.is_refused(409, "in-progress");
            pause(100).await;
        }
        let first = first.await.expect("an answer");
        first.is_first("1");
        app.send(&ask).await.is_replay_of(&first);
    }
}

/// A claim whose server has died, its lease lapsed.
async fn abandoned(store: &AnyStore, ask: &Ask) -> Attempt {
    let attempt = attempt_of(ask, Duration::from_millis(50));
    drop(store.claimed(attempt.clone()).await);
    pause(80).await;
    attempt
}

async fn rule_23_an_abandoned_claim_stays_unknown_under_at_most_once(store: AnyStore) {
    let app = App::counting(layer_with(&store, short())).await;
    abandoned(&store, &keyed("k")).await;
    for _ in 0..3 {
        let unknown = app.send(keyed("k")).await;
        unknown.is_refused(409, "outcome-unknown");
        assert_eq!(unknown.header("retry-after"), None);
        assert_eq!(unknown.problem()["retryable"], false);
    }
    app.send(keyed("k").body("other")).await.is_refused(422, "key-reused");
    assert_eq!(app.runs(), 0);
}

async fn rule_23_an_operator_can_resolve_an_abandoned_claim(store: AnyStore) {
    let app = App::counting(layer_with(&store, short())).await;
    abandoned(&store, &keyed("k")).await;
    store.resolved(&keyed("k"), &response(202, "it did happen")).await;
    let replay = app.send(keyed("k")).await;
    assert_eq!((replay.status, replay.text(), replay.is_replay()), (202, "it did happen", true));
    assert_eq!(app.runs(), 0);
}

async fn rule_23_an_abandoned_claim_is_taken_over_under_at_least_once(store: AnyStore) {
    let policy = short().guarantee(Guarantee::AtLeastOnce);
    let app = App::start(layer_with(&store, policy), |run| async move {
        let claim = run.claim.expect("a claim");
        format!("attempt {}, fence {}", claim.attempt(), claim.fence().number())
    })
    .await;
    abandoned(&store, &keyed("k")).await;
    let lost = store.seen(slot_of(&keyed("k"))).await.record.expect("a record").fence.number();
    app.send(keyed("k").body("other")).await.is_refused(422, "key-reused");
    let first = app.send(keyed("k")).await;
    let (attempt, fence) = first.text().split_once(", fence ").expect("a fence");
    assert_eq!((attempt, first.is_replay()), ("attempt 2", false));
    assert!(fence.parse::<u64>().expect("a number") > lost);
    app.send(keyed("k")).await.is_replay_of(&first);
}

async fn rule_23_after_the_last_attempt_the_outcome_is_unknown(store: AnyStore) {
    let policy = short().guarantee(Guarantee::AtLeastOnce).max_attempts(2);
    let app = App::counting(layer_with(&store, policy)).await;
    let mut attempt = abandoned(&store, &keyed("k")).await;
    attempt.take_over = TakeOver::Below(5);
    attempt.nonce = attempt_of(&keyed("k"), LEASE).nonce;
    assert_eq!(store.claimed(attempt).await.grant().number, 2);
    pause(80).await;
    app.send(keyed("k")).await.is_refused(409, "outcome-unknown");
    assert_eq!(app.runs(), 0);
}

async fn rule_24_a_worker_that_lost_its_claim_answers_with_the_winners_outcome(store: AnyStore) {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let app = slow(&store, Policy::new().guarantee(guarantee), 300).await;
        let ask = keyed(&format!("{guarantee:?}"));
        let loser = app.in_background(&ask);
        eventually(|| app.runs() == 1).await;
        let winner = store.stolen(&ask).await;
        store.completed(&winner, &response(201, "the winner's")).await;
        let answer = loser.await.expect("an answer");
        assert_eq!((answer.status, answer.text()), (201, "the winner's"));
        assert!(answer.is_replay());
        app.send(&ask).await.is_replay_of(&answer);
    }
}

async fn rule_24_a_worker_that_lost_its_claim_never_frees_the_winners(store: AnyStore) {
    let app = App::start(layer(&store).build().expect("valid"), |_| async {
        pause(300).await;
        http::StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    let loser = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    let winner = store.stolen(&keyed("k")).await;
    loser.await.expect("an answer").is_refused(409, "in-progress");
    app.send(keyed("k")).await.is_refused(409, "in-progress");
    store.completed(&winner, &response(200, "the winner's")).await;
    assert_eq!(app.send(keyed("k")).await.text(), "the winner's");
}

async fn rule_24_a_worker_that_lost_its_claim_answers_in_progress_while_the_winner_runs(
    store: AnyStore,
) {
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    let app = App::start(layer_with(&store, short()), move |run| {
        let tell = Arc::clone(&tell);
        async move {
            let claim = run.claim.expect("a claim");
            assert!(claim.is_live());
            // The next renewal finds out.
            claim.lost().await;
            tell.store(!claim.is_live(), Ordering::SeqCst);
        }
    })
    .await;
    let loser = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    let _winner = store.stolen(&keyed("k")).await;
    let answer = loser.await.expect("an answer");
    answer.is_refused(409, "in-progress");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(told.load(Ordering::SeqCst));
}

async fn rule_25_a_record_expires_from_its_completion_and_is_not_extended_by_replays(
    store: AnyStore,
) {
    let app = slow(&store, short().retention(Duration::from_millis(1000)), 600).await;
    let first = app.send(keyed("k")).await;
    first.is_first("1");
    let record = store.seen(slot_of(&keyed("k"))).await.record.expect("a record");
    let Phase::Completed { at, .. } = record.phase else { panic!("{record:?}") };
    // A store may look at its clock twice.
    assert!((990..=1050).contains(&record.expires.since(at).as_millis()));
    for _ in 0..2 {
        pause(350).await;
        app.send(keyed("k")).await.is_replay_of(&first);
    }
    pause(350).await;
    app.send(keyed("k").body("a new operation")).await.is_first("2");
}

#[tokio::test]
async fn rule_25_the_retention_is_24_hours_from_completion() {
    let clock = Arc::new(ManualClock::default());
    let store = AnyStore::Memory(Arc::new(MemoryStore::with_clock(Arc::clone(&clock))));
    let app = App::counting(layer(&store).build().expect("valid")).await;
    app.send(keyed("k")).await.is_first("1");
    clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert!(app.send(keyed("k")).await.is_replay());
    clock.advance(Duration::from_secs(1));
    app.send(keyed("k")).await.is_first("2");
    let abandoned = attempt_of(&keyed("l"), Duration::from_secs(30));
    let retention = abandoned.retention;
    drop(store.claimed(abandoned).await);
    clock.advance(retention - Duration::from_secs(1));
    app.send(keyed("l")).await.is_refused(409, "outcome-unknown");
    clock.advance(Duration::from_secs(1));
    app.send(keyed("l")).await.is_first("3");
}
