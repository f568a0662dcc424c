//! Rules 15, 16 and 26: what those who wait cost, how many there may be, and what becomes of them when
//! a client or the store goes away.

use std::sync::Arc;
use std::time::Duration;

use tower_idempotency::layer::Builder;
use tower_idempotency::protocol::{Ran, Reply};
use tower_idempotency::store::{ErrorKind, Operation, Store as _};
use tower_idempotency::{InFlight, MemoryStore, Policy, StoreFailure};

use crate::support::any_store::AnyStore;
use crate::support::app::{App, Run, answers, eventually, layer, pause};
use crate::support::attempt::{attempt_of, response};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::keyed;

fn waiting() -> Policy {
    Policy::new().in_flight(InFlight::wait(Duration::from_secs(10)))
}

/// A handler that takes this long.
async fn slow(builder: Builder, millis: u64) -> App {
    App::start(builder.build().expect("a valid policy"), move |run: Run| async move {
        pause(millis).await;
        run.number.to_string()
    })
    .await
}

#[tokio::test]
async fn rule_15_a_crowd_in_one_process_costs_the_store_what_one_request_does() {
    let store = FaultyStore::new(&AnyStore::memory());
    let app = slow(layer(&store).policy(waiting()), 300).await;
    let answers = answers(app.crowd(&keyed("k"), 100)).await;
    assert!(answers.iter().all(|answer| answer.text() == "1"));
    let calls = [Operation::Begin, Operation::Complete, Operation::Watch, Operation::Look];
    assert_eq!(calls.map(|verb| store.calls(verb)), [1, 1, 0, 0]);
}

#[tokio::test]
async fn rule_15_a_crowd_that_waits_for_another_server_begins_once_and_watches_once() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let app = App::counting(layer(&store).policy(waiting()).build().expect("valid")).await;
    let claim = inner.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    let waiters = app.crowd(&keyed("k"), 100);
    pause(300).await;
    inner.completed(&claim, &response(202, "another server's")).await;
    assert!(answers(waiters).await.iter().all(|answer| answer.status == 202));
    let calls = [Operation::Begin, Operation::Watch, Operation::Look];
    assert_eq!(calls.map(|verb| store.calls(verb)), [1, 1, 0]);
}

#[tokio::test]
async fn rule_15_too_many_who_wait_are_refused_at_once() {
    let store = AnyStore::memory();
    for (per_key, total) in [(3, 100), (100, 3)] {
        let builder = layer(&store).policy(waiting()).max_waiters(per_key, total);
        let app = slow(builder, 1000).await;
        let ask = keyed(&format!("{per_key}"));
        let first = app.in_background(&ask);
        eventually(|| app.runs() == 1).await;
        let waiters = app.crowd(&ask, 3);
        pause(200).await;
        let refused = app.send(&ask).await;
        refused.is_refused(503, "too-many-waiters");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(refused.problem()["retryable"], true);
        let first = first.await.expect("an answer");
        answers(waiters).await.iter().for_each(|replay| replay.is_replay_of(&first));
        // They have left, so there is room again.
        app.send(&ask).await.is_replay_of(&first);
    }
}

#[tokio::test]
async fn rule_15_who_hangs_up_no_longer_waits() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let builder = layer(&store).policy(waiting()).max_waiters(2, 2);
    let layer = builder.build().expect("valid");
    let drain = layer.drain();
    let app = App::counting(layer).await;
    let claim = inner.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    for _ in 0..5 {
        let mut connections = Vec::new();
        for _ in 0..2 {
            let mut connection = app.server.connect().await;
            connection.write(keyed("k")).await;
            connections.push(connection);
        }
        pause(50).await;
        app.send(keyed("k")).await.is_refused(503, "too-many-waiters");
        drop(connections);
        pause(50).await;
        assert_eq!(drain.running(), 0, "nothing runs for a client that has gone");
    }
    // Nobody watches any more: the store is asked again only by the next request.
    let watched = store.calls(Operation::Watch);
    inner.completed(&claim, &response(202, "done")).await;
    pause(50).await;
    assert_eq!(store.calls(Operation::Watch), watched);
    assert_eq!(app.send(keyed("k")).await.status, 202);
}

#[tokio::test]
async fn rule_15_a_first_request_whose_client_hangs_up_answers_those_who_wait() {
    let store = AnyStore::memory();
    let app = slow(layer(&store).policy(waiting()), 300).await;
    let mut first = app.server.connect().await;
    first.write(keyed("k")).await;
    eventually(|| app.runs() == 1).await;
    let waiters = app.crowd(&keyed("k"), 5);
    pause(50).await;
    drop(first);
    let answers = answers(waiters).await;
    assert!(answers.iter().all(|answer| answer.is_replay() && answer.text() == "1"));
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn rule_15_those_who_wait_for_an_answer_that_cannot_be_stored_get_it_once_it_is() {
    let store = FaultyStore::new(&AnyStore::memory());
    let builder = layer(&store).policy(waiting()).store_timeout(Duration::from_millis(100));
    let app = slow(builder, 200).await;
    store.fault(Operation::Complete, Fault::Fails(ErrorKind::Unreachable));
    let first = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    let waiters = app.crowd(&keyed("k"), 3);
    let first = first.await.expect("an answer");
    assert_eq!(first.header("idempotency-status"), Some("unstored"));
    pause(200).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "nothing is stored yet");
    store.recover();
    for replay in answers(waiters).await {
        assert_eq!((replay.is_replay(), replay.text()), (true, "1"));
    }
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn rule_15_a_store_that_is_down_refuses_a_crowd_with_one_call() {
    let store = FaultyStore::new(&AnyStore::memory());
    let app = slow(layer(&store).policy(waiting()), 1).await;
    store.fault(Operation::Begin, Fault::Delays(Duration::from_secs(5)));
    for answer in answers(app.crowd(&keyed("k"), 20)).await {
        answer.is_refused(503, "store-unavailable");
    }
    assert_eq!(store.calls(Operation::Begin), 1);
}

#[tokio::test]
async fn rule_26_a_crowd_that_runs_unprotected_runs_once() {
    let store = FaultyStore::new(&AnyStore::memory());
    let policy = waiting().store_failure(StoreFailure::RunUnprotected);
    let app = slow(layer(&store).policy(policy), 200).await;
    store.fault(Operation::Begin, Fault::Fails(ErrorKind::Refused));
    let answers = answers(app.crowd(&keyed("k"), 10)).await;
    assert!(answers.iter().all(|answer| answer.text() == "1"), "{answers:?}");
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn rule_16_a_claim_that_another_server_frees_is_begun_by_one_of_those_who_wait() {
    let store = AnyStore::Memory(Arc::new(MemoryStore::new()));
    let app = slow(layer(&store).policy(waiting()), 100).await;
    let claim = store.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    let waiters = app.crowd(&keyed("k"), 10);
    pause(100).await;
    let within = Duration::from_secs(1);
    let reply = store.release(claim.attempt(), Ran::No, within, within).await;
    assert_eq!(reply.expect("the store answers"), Reply::Applied);
    let answers = answers(waiters).await;
    assert!(answers.iter().all(|answer| answer.text() == "1"), "{answers:?}");
    assert_eq!(app.runs(), 1);
}
