//! Rules 15 and 16: requests that wait for the answer of the first one.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower_idempotency::layer::Builder;
use tower_idempotency::{Guarantee, InFlight, Policy};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, answers, eventually, layer, layer_with, pause};
use crate::support::attempt::{attempt_of, response};
use crate::support::http::keyed;

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

async fn rule_15_a_crowd_that_waits_gets_one_answer(store: AnyStore) {
    let app = slow(layer(&store).policy(waiting()), 200).await;
    let answers = answers(app.crowd(&keyed("k"), 50)).await;
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
    let first = one.in_background(&keyed("k"));
    eventually(|| one.runs() == 1).await;
    let replays = answers(other.crowd(&keyed("k"), 20)).await;
    let first = first.await.expect("an answer");
    replays.iter().for_each(|replay| replay.is_replay_of(&first));
    assert_eq!((one.runs(), other.runs()), (1, 0));
}

async fn rule_15_who_has_waited_long_enough_gets_409(store: AnyStore) {
    let policy = || Policy::new().in_flight(InFlight::wait(Duration::from_millis(100)));
    let app = slow(layer(&store).policy(policy()), 600).await;
    let other = App::counting(layer_with(&store, policy())).await;
    let first = app.in_background(&keyed("k"));
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
    let first = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    app.send(keyed("k").body("another")).await.is_refused(422, "key-reused");
    first.await.expect("an answer").is_first("1");
}

async fn rule_15_an_operator_that_resolves_a_claim_answers_those_who_wait(store: AnyStore) {
    let app = App::counting(layer_with(&store, waiting())).await;
    let claim = store.claimed(attempt_of(&keyed("k"), Duration::from_secs(30))).await;
    let waiters = app.crowd(&keyed("k"), 5);
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
    for answer in answers(app.crowd(&keyed("k"), 5)).await {
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
    let answers = answers(app.crowd(&keyed("k"), 5)).await;
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
    let answers = answers(app.crowd(&keyed("k"), 5)).await;
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
    let answers = answers(app.crowd(&keyed("k"), 5)).await;
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
    let answers = answers(app.crowd(&keyed("k"), 20)).await;
    assert_eq!(app.runs(), 2);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_replay()).count(), 18);
}

async fn rule_16_of_those_who_wait_on_two_servers_for_a_freed_key_exactly_one_begins(
    store: AnyStore,
) {
    let runs = Arc::default();
    let (one, other) = (freeing(&store, &runs).await, freeing(&store, &runs).await);
    let crowds = [one.crowd(&keyed("k"), 10), other.crowd(&keyed("k"), 10)];
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
    let loser = app.in_background(&keyed("k"));
    eventually(|| app.runs() == 1).await;
    let winner = store.stolen(&keyed("k")).await;
    pause(600).await;
    store.completed(&winner, &response(201, "the winner's")).await;
    let answer = loser.await.expect("an answer");
    assert_eq!((answer.status, answer.text(), answer.is_replay()), (201, "the winner's", true));
}
