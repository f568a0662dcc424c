//! Hard cases of waiting for the answer of another request.

use std::time::Duration;

use tower_idempotency::store::{ErrorKind, Operation, poll};
use tower_idempotency::{FingerprintPolicy, InFlight, Policy};

use crate::support::any_store::AnyStore;
use crate::support::app::{App, Run, eventually, layer_with, pause};
use crate::support::attempt::{attempt_of, response};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;

fn waiting(seconds: u64) -> Policy {
    Policy::new().in_flight(InFlight::wait(Duration::from_secs(seconds)))
}

#[tokio::test]
async fn rule_13_what_an_older_record_says_is_not_for_all_that_are_equal_today() {
    let [same, other] = ["{\"a\":1}", "{ \"a\": 1 }"].map(|body| {
        let json = keyed("k").header("content-type", "application/json");
        json.body(body)
    });
    for [asks, waits] in [[&same, &other], [&other, &same]] {
        let inner = AnyStore::memory();
        let first = App::counting(layer_with(&inner, Policy::new())).await.send(&same).await;
        let store = FaultyStore::new(&inner);
        let policy = waiting(10).fingerprint(FingerprintPolicy::json());
        let app = App::counting(layer_with(&store, policy)).await;
        store.fault(Operation::Begin, Fault::Delays(Duration::from_millis(200)));
        let asks_first = app.in_background(asks);
        pause(50).await;
        let waits = app.send(waits).await;
        let asks_first = asks_first.await.expect("an answer");
        let [of_same, of_other] =
            if asks.body == same.body { [asks_first, waits] } else { [waits, asks_first] };
        of_same.is_replay_of(&first);
        of_other.is_refused(422, "key-reused");
        assert_eq!(app.runs(), 0);
    }
}

#[tokio::test]
async fn rule_38_who_waits_is_told_of_a_record_that_cannot_be_read() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let app = App::counting(layer_with(&store, waiting(3))).await;
    drop(inner.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await);
    store.fault(Operation::Watch, Fault::Fails(ErrorKind::Corrupt));
    let waits = app.in_background(&keyed("k"));
    eventually(|| store.calls(Operation::Watch) > 0).await;
    store.fault(Operation::Begin, Fault::Fails(ErrorKind::Corrupt));
    waits.await.expect("an answer").is_refused(500, "record-corrupt");
    assert_eq!(app.runs(), 0);
}

#[tokio::test]
async fn rule_15_who_waits_on_a_store_that_refuses_to_watch_is_answered_all_the_same() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let app = App::counting(layer_with(&store, waiting(5))).await;
    let claim = inner.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    store.fault(Operation::Watch, Fault::Fails(ErrorKind::Refused));
    let waits = app.in_background(&keyed("k"));
    pause(1000).await;
    inner.completed(&claim, &response(202, "another server's")).await;
    assert_eq!(waits.await.expect("an answer").status, 202);
    let asked = store.calls(Operation::Begin);
    assert!(asked < 15, "it asks now and then: {asked}");
}

#[tokio::test]
async fn rule_24_a_worker_that_lost_its_claim_keeps_nobody_from_the_winners_answer() {
    let store = AnyStore::memory();
    let policy = waiting(2).lease(Duration::from_millis(300));
    let app = App::start(layer_with(&store, policy), |run: Run| async move {
        pause(5000).await;
        run.number.to_string()
    })
    .await;
    let loser = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    let waits = app.in_background(&keyed("k"));
    let winner = store.stolen(&keyed("k")).await;
    store.completed(&winner, &response(201, "the winner's")).await;
    for answer in [waits.await.expect("an answer"), app.send(keyed("k")).await] {
        assert_eq!((answer.status, answer.text()), (201, "the winner's"));
    }
    assert!(!loser.is_finished(), "it still runs");
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn rule_38_a_store_that_polls_tells_at_once_of_a_record_that_cannot_be_read() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let claim = inner.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
    for (kind, looks) in [(ErrorKind::Corrupt, 1..=1), (ErrorKind::Unreachable, 2..=100)] {
        let before = store.calls(Operation::Look);
        store.fault(Operation::Look, Fault::Fails(kind));
        let failed = poll(&store, slot, fence, Duration::from_millis(500)).await;
        assert_eq!(failed.expect_err("it cannot be read").kind(), kind);
        let looked = store.calls(Operation::Look) - before;
        assert!(looks.contains(&looked), "{kind:?}: {looked}");
    }
}
