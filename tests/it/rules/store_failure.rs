//! Rules 26 to 28: while the store is down.

use std::time::Duration;

use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{Guarantee, IdempotencyLayer, Policy, StoreFailure};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, eventually, layer, pause};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{Ask, keyed};

on_every_store![
    rule_26_without_the_store_nothing_runs,
    rule_26_a_claim_whose_grant_was_lost_is_cancelled,
    rule_26_a_route_can_run_unprotected_and_is_recorded_later,
    rule_26_an_unprotected_run_keeps_a_claim_that_did_land,
    rule_27_an_outcome_that_was_not_stored_is_still_the_answer,
    rule_27_a_lost_reply_to_complete_is_no_failure,
    rule_27_a_key_is_freed_as_soon_as_the_store_is_back,
    rule_27_at_least_once_answers_503_once_the_claim_may_be_lost,
    rule_28_a_store_that_hangs_is_given_up_on,
];

const TIMEOUT: Duration = Duration::from_millis(150);

fn quick(store: &FaultyStore, policy: Policy) -> IdempotencyLayer {
    layer(store).policy(policy).store_timeout(TIMEOUT).build().expect("valid")
}

async fn rule_26_without_the_store_nothing_runs(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let app = App::counting(quick(&faulty, Policy::new())).await;
    for kind in [
        ErrorKind::Unreachable,
        ErrorKind::TimedOut,
        ErrorKind::NotReady,
        ErrorKind::Full,
        ErrorKind::ReadOnly,
        ErrorKind::Refused,
    ] {
        faulty.fault(Operation::Begin, Fault::Fails(kind));
        let refused = app.send(keyed("k")).await;
        refused.is_refused(503, "store-unavailable");
        assert_eq!(refused.problem()["retryable"], true, "{kind:?}");
        assert_eq!(refused.header("retry-after"), Some("1"), "{kind:?}");
    }
    assert_eq!((app.runs(), store.records()), (0, 0));
    app.send(crate::support::http::post("/")).await.is_first("1");
    faulty.recover();
    app.send(keyed("k")).await.is_first("2");
}

async fn rule_26_a_claim_whose_grant_was_lost_is_cancelled(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let app = App::counting(quick(&faulty, Policy::new())).await;
    faulty.fault(Operation::Begin, Fault::LosesReply);
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
    faulty.recover();
    app.settled(keyed("k")).await.is_first("1");
    assert!(app.send(keyed("k")).await.is_replay());
}

async fn rule_26_a_route_can_run_unprotected_and_is_recorded_later(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let policy = Policy::new().store_failure(StoreFailure::RunUnprotected);
    let app = App::start(quick(&faulty, policy), |run| async move {
        format!("{} {}", run.number, run.claim.expect("a claim").is_live())
    })
    .await;
    for verb in [Operation::Begin, Operation::Complete] {
        faulty.fault(verb, Fault::Fails(ErrorKind::Unreachable));
    }
    app.send(keyed("k")).await.is_first("1 false");
    app.send(keyed("k")).await.is_first("2 false");
    faulty.recover();
    for _ in 0..200 {
        if store.records() == 1 {
            break;
        }
        pause(20).await;
    }
    let replay = app.send(keyed("k")).await;
    assert!(replay.is_replay() && ["1 false", "2 false"].contains(&replay.text()));
}

async fn rule_26_an_unprotected_run_keeps_a_claim_that_did_land(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let policy = Policy::new().store_failure(StoreFailure::RunUnprotected);
    let app = App::counting(quick(&faulty, policy)).await;
    faulty.fault(Operation::Begin, Fault::LosesReply);
    app.send(keyed("k")).await.is_first("1");
    faulty.recover();
    let replay = app.settled(keyed("k")).await;
    assert_eq!((replay.is_replay(), replay.text()), (true, "1"));
}

async fn rule_27_an_outcome_that_was_not_stored_is_still_the_answer(store: AnyStore) {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let faulty = FaultyStore::new(&store);
        let app = App::counting(quick(&faulty, Policy::new().guarantee(guarantee))).await;
        let ask = keyed(&format!("{guarantee:?}"));
        faulty.fault(Operation::Complete, Fault::Fails(ErrorKind::Unreachable));
        let first = app.send(&ask).await;
        first.is_first("1");
        assert_eq!(first.header("idempotency-status"), Some("unstored"));
        app.send(&ask).await.is_refused(409, "in-progress");
        faulty.recover();
        let replay = app.settled(&ask).await;
        assert_eq!((replay.is_replay(), replay.text()), (true, "1"));
        assert_eq!(replay.header("idempotency-status"), None);
    }
}

async fn rule_27_a_lost_reply_to_complete_is_no_failure(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let app = App::counting(quick(&faulty, Policy::new())).await;
    faulty.fault(Operation::Complete, Fault::LosesReply);
    let first = app.send(keyed("k")).await;
    first.is_first("1");
    let replay = app.send(keyed("k")).await;
    assert_eq!((replay.is_replay(), replay.text()), (true, "1"));
}

async fn rule_27_a_key_is_freed_as_soon_as_the_store_is_back(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let app = App::start(quick(&faulty, Policy::new()), |_| async {
        http::StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    faulty.fault(Operation::Release, Fault::Fails(ErrorKind::Unreachable));
    let first = app.send(keyed("k")).await;
    assert_eq!((first.status, first.header("idempotency-status")), (429, None));
    app.send(keyed("k")).await.is_refused(409, "in-progress");
    faulty.recover();
    assert_eq!(app.settled(keyed("k")).await.status, 429);
    assert_eq!(app.runs(), 2);
}

async fn rule_27_at_least_once_answers_503_once_the_claim_may_be_lost(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let policy = Policy::new().guarantee(Guarantee::AtLeastOnce).lease(Duration::from_millis(200));
    let app = App::start(quick(&faulty, policy), |run| async move {
        pause(400).await;
        run.number.to_string()
    })
    .await;
    for verb in [Operation::Renew, Operation::Complete] {
        faulty.fault(verb, Fault::Fails(ErrorKind::Unreachable));
    }
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
    faulty.recover();
    let replay = app.settled(keyed("k")).await;
    assert!(replay.is_replay() || replay.text() == "2", "{replay:?}");
}

async fn rule_28_a_store_that_hangs_is_given_up_on(store: AnyStore) {
    let faulty = FaultyStore::new(&store);
    let app = App::counting(quick(&faulty, Policy::new())).await;
    let bounded = |ask: Ask| tokio::time::timeout(TIMEOUT * 6, app.send(ask));
    faulty.fault(Operation::Begin, Fault::Hangs);
    let answer = bounded(keyed("k")).await.expect("an answer in time");
    answer.is_refused(503, "store-unavailable");
    faulty.recover();
    app.settled(keyed("k")).await.is_first("1");
    faulty.fault(Operation::Complete, Fault::Hangs);
    let answer = bounded(keyed("l")).await.expect("an answer in time");
    answer.is_first("2");
    assert_eq!(answer.header("idempotency-status"), Some("unstored"));
    faulty.recover();
    assert!(app.settled(keyed("l")).await.is_replay());
    eventually(|| faulty.calls(Operation::Complete) >= 3).await;
}
