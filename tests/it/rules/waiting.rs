//! Rules 15 and 16: requests that wait for the answer of the first one.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;
use tower_idempotency::layer::Builder;
use tower_idempotency::protocol::{Ran, Reply};
use tower_idempotency::store::{ErrorKind, Operation, Store as _};
use tower_idempotency::{Guarantee, InFlight, MemoryStore, Policy, StoreFailure};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, eventually, layer, layer_with, pause};
use crate::support::attempt::{attempt_of, response};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{Answer, Ask, keyed};

on_every_store![
    rule_15_a_crowd_that_waits_gets_one_answer,
    rule_15_a_crowd_on_another_server_gets_the_answer_of_the_first,
    rule_15_who_has_waited_long_enough_gets_409,
    rule_15_another_request_under_the_key_does_not_wait,
    rule_15_an_operator_that_resolves_a_claim_answers_those_who_wait,
    rule_15_a_claim_that_lapses_while_others_wait_is_unknown_to_them,
    rule_15_a_claim_that_lapses_while_others_wait_is_taken_over_by_one_of_them,
    rule_15_a_panic_answers_those_who_wait,
    rule_15_a_tombstone_answers_those_who_wait,
    rule_16_of_those_who_wait_for_a_freed_key_exactly_one_begins,
    rule_16_of_those_who_wait_on_two_servers_for_a_freed_key_exactly_one_begins,
    rule_24_a_worker_that_lost_its_claim_waits_for_the_winners_answer,
];

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

fn in_background(app: &App, ask: &Ask) -> JoinHandle<Answer> {
    let (app, ask) = (app.clone(), ask.clone());
    tokio::spawn(async move { app.send(ask).await })
}

fn crowd(app: &App, ask: &Ask, size: usize) -> Vec<JoinHandle<Answer>> {
    (0..size).map(|_| in_background(app, ask)).collect()
}

async fn answers(crowd: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for request in crowd {
        answers.push(request.await.expect("an answer"));
    }
    answers
}

async fn rule_15_a_crowd_that_waits_gets_one_answer(store: AnyStore) {
    let app = slow(layer(&store).policy(waiting()), 200).await;
    let answers = answers(crowd(&app, &keyed("k"), 50)).await;
    assert_eq!(app.runs(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_replay()).count(), 49);
    let first = answers.iter().find(|answer| !answer.is_replay()).expect("a first answer");
    answers
        .iter()
        .filter(|answer| answer.is_replay())
        .for_each(|replay| replay.is_replay_of(first));
}

async fn rule_15_a_crowd_on_another_server_gets_the_answer_of_the_first(store: AnyStore) {
    let one = slow(layer(&store).policy(waiting()), 300).await;
    let other = slow(layer(&store).policy(waiting()), 300).await;
    let first = in_background(&one, &keyed("k"));
    eventually(|| one.runs() == 1).await;
    let replays = answers(crowd(&other, &keyed("k"), 20)).await;
    let first = first.await.expect("an answer");
    replays.iter().for_each(|replay| replay.is_replay_of(&first));
    assert_eq!((one.runs(), other.runs()), (1, 0));
}

async fn rule_15_who_has_waited_long_enough_gets_409(store: AnyStore) {
    let policy = || Policy::new().in_flight(InFlight::wait(Duration::from_millis(100)));
    let app = slow(layer(&store).policy(policy()), 600).await;
    let other = App::counting(layer_with(&store, policy())).await;
    let first = in_background(&app, &keyed("k"));
    eventually(|| app.runs() == 1).await;
    for app in [&app, &other] {
        let late = app.send(keyed("k")).await;
        late.is_refused(409, "in-progress");
        assert_eq!(late.header("retry-after"), Some("1"));
    }
    app.send(keyed("k")).await.is_refused(409, "in-progress");
    let first = first.await.expect("an answer");
    first.is_first("1");
    app.send(keyed("k")).await.is_replay_of(&first);
    other.send(keyed("k")).await.is_replay_of(&first);
}

async fn rule_15_another_request_under_the_key_does_not_wait(store: AnyStore) {
    let app = slow(layer(&store).policy(waiting()), 300).await;
    let first = in_background(&app, &keyed("k"));
    eventually(|| app.runs() == 1).await;
    app.send(keyed("k").body("another")).await.is_refused(422, "key-reused");
    first.await.expect("an answer").is_first("1");
}

async fn rule_15_an_operator_that_resolves_a_claim_answers_those_who_wait(store: AnyStore) {
    let app = App::counting(layer_with(&store, waiting())).await;
    let claim = store.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    let waiters = crowd(&app, &keyed("k"), 5);
    pause(200).await;
    store.completed(&claim, &response(202, "another server's")).await;
    for replay in answers(waiters).await {
        assert_eq!((replay.status, replay.text()), (202, "another server's"));
        assert!(replay.is_replay());
    }
    assert_eq!(app.runs(), 0);
}

async fn rule_15_a_claim_that_lapses_while_others_wait_is_unknown_to_them(store: AnyStore) {
    let app = App::counting(layer_with(&store, waiting())).await;
    drop(store.claimed(attempt_of(&keyed("k"), Duration::from_millis(300))).await);
    for answer in answers(crowd(&app, &keyed("k"), 5)).await {
        answer.is_refused(409, "outcome-unknown");
    }
    assert_eq!(app.runs(), 0);
}

async fn rule_15_a_claim_that_lapses_while_others_wait_is_taken_over_by_one_of_them(
    store: AnyStore,
) {
    let policy = waiting().guarantee(Guarantee::AtLeastOnce);
    let app = slow(layer(&store).policy(policy), 100).await;
    drop(store.claimed(attempt_of(&keyed("k"), Duration::from_millis(300))).await);
    let answers = answers(crowd(&app, &keyed("k"), 5)).await;
    assert_eq!(app.runs(), 1);
    assert!(answers.iter().all(|answer| answer.text() == "1"), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.is_replay()).count(), 4);
}

async fn rule_15_a_panic_answers_those_who_wait(store: AnyStore) {
    let app = App::start(layer_with(&store, waiting()), |_| async {
        pause(200).await;
        if true {
            panic!("a bug");
        }
    })
    .await;
    let answers = answers(crowd(&app, &keyed("k"), 5)).await;
    assert!(answers.iter().all(|answer| answer.status == 500), "{answers:?}");
    assert_eq!(app.runs(), 1);
}

async fn rule_15_a_tombstone_answers_those_who_wait(store: AnyStore) {
    let policy = waiting().response_limit(10);
    let app = App::start(layer_with(&store, policy), |_| async {
        pause(200).await;
        "more than ten bytes"
    })
    .await;
    let answers = answers(crowd(&app, &keyed("k"), 5)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.is_refused(409, "result-unavailable");
    }
    assert_eq!(app.runs(), 1);
}

/// A handler that frees its key the first time.
async fn freeing(store: &AnyStore, runs: &Arc<std::sync::atomic::AtomicUsize>) -> App {
    let runs = Arc::clone(runs);
    App::start(layer_with(store, waiting()), move |_| {
        let number = runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        async move {
            pause(200).await;
            if number == 1 { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::CREATED }
        }
    })
    .await
}

async fn rule_16_of_those_who_wait_for_a_freed_key_exactly_one_begins(store: AnyStore) {
    let runs = Arc::default();
    let app = freeing(&store, &runs).await;
    let answers = answers(crowd(&app, &keyed("k"), 20)).await;
    assert_eq!(app.runs(), 2);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_replay()).count(), 18);
}

async fn rule_16_of_those_who_wait_on_two_servers_for_a_freed_key_exactly_one_begins(
    store: AnyStore,
) {
    let runs = Arc::default();
    let (one, other) = (freeing(&store, &runs).await, freeing(&store, &runs).await);
    let crowds = [crowd(&one, &keyed("k"), 10), crowd(&other, &keyed("k"), 10)];
    let mut all = Vec::new();
    for crowd in crowds {
        all.extend(answers(crowd).await);
    }
    assert_eq!(one.runs() + other.runs(), 2);
    assert_eq!(all.iter().filter(|answer| answer.status == 429).count(), 1);
    assert_eq!(all.iter().filter(|answer| answer.status == 201).count(), 19);
}

async fn rule_24_a_worker_that_lost_its_claim_waits_for_the_winners_answer(store: AnyStore) {
    let app = slow(layer(&store).policy(waiting()), 300).await;
    let loser = in_background(&app, &keyed("k"));
    eventually(|| app.runs() == 1).await;
    let winner = store.stolen(&keyed("k")).await;
    pause(600).await;
    store.completed(&winner, &response(201, "the winner's")).await;
    let answer = loser.await.expect("an answer");
    assert_eq!((answer.status, answer.text(), answer.is_replay()), (201, "the winner's", true));
}

#[tokio::test]
async fn rule_15_a_crowd_in_one_process_costs_the_store_what_one_request_does() {
    let store = FaultyStore::new(&AnyStore::memory());
    let app = slow(layer(&store).policy(waiting()), 300).await;
    let answers = answers(crowd(&app, &keyed("k"), 100)).await;
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
    let waiters = crowd(&app, &keyed("k"), 100);
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
        let first = in_background(&app, &ask);
        eventually(|| app.runs() == 1).await;
        let waiters = crowd(&app, &ask, 3);
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
    let waiters = crowd(&app, &keyed("k"), 5);
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
    let first = in_background(&app, &keyed("k"));
    eventually(|| app.runs() == 1).await;
    let waiters = crowd(&app, &keyed("k"), 3);
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
    for answer in answers(crowd(&app, &keyed("k"), 20)).await {
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
    let answers = answers(crowd(&app, &keyed("k"), 10)).await;
    assert!(answers.iter().all(|answer| answer.text() == "1"), "{answers:?}");
    assert_eq!(app.runs(), 1);
}

#[tokio::test]
async fn rule_16_a_claim_that_another_server_frees_is_begun_by_one_of_those_who_wait() {
    let store = AnyStore::Memory(Arc::new(MemoryStore::new()));
    let app = slow(layer(&store).policy(waiting()), 100).await;
    let claim = store.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    let waiters = crowd(&app, &keyed("k"), 10);
    pause(100).await;
    let within = Duration::from_secs(1);
    let reply = store.release(claim.attempt(), Ran::No, within, within).await;
    assert_eq!(reply.expect("the store answers"), Reply::Applied);
    let answers = answers(waiters).await;
    assert!(answers.iter().all(|answer| answer.text() == "1"), "{answers:?}");
    assert_eq!(app.runs(), 1);
}
