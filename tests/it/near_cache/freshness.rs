//! For how long an answer is given again, and when the store is asked anew.

use std::time::Duration;

use tower_idempotency::protocol::{Attempt, Fingerprint, Found, Ran, Reply, Scheme};
use tower_idempotency::store::{ErrorKind, Operation, Store};

use super::{
    HOUR, MAX_AGE, Scene, WITHIN, age, answered, attempt, begin, claimed, other, outcome, response,
};
use crate::support::faulty_store::Fault;

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_replay_from_memory_is_the_same_and_grows_older() {
    let scene = Scene::new();
    let attempt = scene.completed("answer").await;
    scene.pass(Duration::from_secs(60));
    let first = scene.retry(&attempt).await;
    scene.pass(MAX_AGE / 2);
    let second = scene.retry(&attempt).await;
    assert_eq!(scene.asked(), 1);
    assert_eq!(age(&first), Duration::from_secs(60));
    assert_eq!(age(&second), Duration::from_secs(60) + MAX_AGE / 2);
    assert_eq!(outcome(first), outcome(second));
}

#[tokio::test]
async fn an_answer_is_kept_for_max_age_from_when_the_store_was_asked() {
    let scene = Scene::new();
    let attempt = scene.completed("answer").await;
    scene.store.fault(Operation::Begin, Fault::Yields);
    let slow = async { scene.pass(MAX_AGE / 4) };
    let (first, ()) = tokio::join!(scene.replay(&attempt), slow);
    scene.pass(MAX_AGE * 3 / 4 - MILLI);
    assert_eq!(scene.replay(&attempt).await, first);
    assert_eq!(scene.asked(), 1);
    scene.pass(MILLI);
    assert_eq!(scene.replay(&attempt).await, first);
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn a_purge_is_seen_once_max_age_has_passed() {
    let mut scene = Scene::new();
    scene.near = scene.near.max_age(3 * MAX_AGE);
    let attempt = scene.replayed("answer").await;
    scene.purge();
    scene.here.advance(3 * MAX_AGE - MILLI);
    assert_eq!(scene.replay(&attempt).await, response("answer"));
    let seen = scene.near.look(attempt.slot, WITHIN).await.expect("the store answers");
    assert_eq!(seen.record, None, "look tells what the store holds");
    scene.here.advance(MILLI);
    let reply = scene.retry(&attempt).await;
    assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
}

#[tokio::test]
async fn nothing_is_replayed_after_its_retention() {
    let scene = Scene::new();
    let retention = MAX_AGE / 2;
    let brief = Attempt { retention, ..attempt() };
    let claim = scene.shared.claimed(brief.clone()).await;
    scene.shared.completed(&claim, &response("answer")).await;
    scene.pass(retention - MILLI);
    for _ in 0..2 {
        assert_eq!(scene.replay(&brief).await, response("answer"));
    }
    assert_eq!(scene.asked(), 1);
    scene.pass(MILLI);
    let reply = scene.retry(&brief).await;
    assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
}

#[tokio::test]
async fn another_retention_is_seen_late_by_max_age_at_most() {
    let scene = Scene::new();
    let brief = Attempt { retention: MAX_AGE / 2, ..attempt() };
    let claim = scene.shared.claimed(brief.clone()).await;
    scene.shared.completed(&claim, &response("answer")).await;
    let long = Attempt { retention: HOUR, ..brief };
    assert_eq!(scene.replay(&long).await, response("answer"));
    scene.pass(MAX_AGE - MILLI);
    assert_eq!(scene.replay(&long).await, response("answer"));
    scene.pass(MILLI);
    let reply = scene.retry(&long).await;
    assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
}

#[tokio::test]
async fn another_request_asks_the_store_and_the_answer_stays() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    let mismatch = begin(&scene.near, &other(&attempt)).await;
    assert_eq!(mismatch, Reply::Found(Found::Mismatch));
    let fingerprint = Fingerprint::new(Scheme::json(), [7; 32]);
    let later = Attempt { fingerprint, ..other(&attempt) };
    let scheme = begin(&scene.near, &later).await;
    assert_eq!(scheme, Reply::Found(Found::OtherScheme(Scheme::raw())));
    assert_eq!(scene.asked(), 3);
    assert_eq!(scene.replay(&attempt).await, response("answer"));
    assert_eq!(
        outcome(begin(&scene.near, &attempt).await),
        response("answer"),
        "the owner's nonce"
    );
    assert_eq!(scene.asked(), 3);
}

#[tokio::test]
async fn an_attempt_that_completed_is_answered_under_another_fingerprint_too() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    let same = Attempt { nonce: attempt.nonce, ..other(&attempt) };
    assert_eq!(outcome(begin(&scene.near, &same).await), response("answer"));
    assert_eq!(outcome(begin(&scene.near, &attempt).await), response("answer"));
}

#[tokio::test]
async fn of_two_outcomes_the_one_that_the_store_kept_is_replayed() {
    let scene = Scene::new();
    let attempt = attempt();
    let claim = scene.shared.claimed(attempt.clone()).await;
    scene.shared.completed(&claim, &response("first")).await;
    let reply = scene.near.complete(&claim, &response("second"), WITHIN).await;
    assert_eq!(answered(reply), Reply::Applied);
    for _ in 0..3 {
        assert_eq!(scene.replay(&attempt).await, response("first"));
    }
}

#[tokio::test]
async fn what_this_process_begins_is_seen_at_once() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    scene.purge();
    let reply = begin(&scene.near, &other(&attempt)).await;
    assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
    assert_eq!(scene.retry(&attempt).await, Reply::Found(Found::Mismatch));
}

#[tokio::test]
async fn what_this_process_renews_is_seen_at_once() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    scene.purge();
    let claim = claimed(&scene.shared, &attempt, HOUR).await;
    assert_eq!(answered(scene.near.renew(&claim, WITHIN).await), Reply::Applied);
    let reply = scene.retry(&attempt).await;
    assert!(matches!(reply, Reply::Found(Found::Busy { .. })), "{reply:?}");
}

#[tokio::test]
async fn what_this_process_completes_is_seen_at_once() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    scene.purge();
    let claim = claimed(&scene.shared, &attempt, HOUR).await;
    let reply = scene.near.complete(&claim, &response("new"), WITHIN).await;
    assert_eq!(answered(reply), Reply::Applied);
    assert_eq!(scene.replay(&attempt).await, response("new"));
}

#[tokio::test]
async fn what_this_process_releases_is_seen_at_once() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    scene.purge();
    let claim = claimed(&scene.shared, &attempt, HOUR).await;
    let reply = scene.near.release(claim.attempt(), Ran::No, HOUR, WITHIN).await;
    assert_eq!(answered(reply), Reply::Applied);
    let reply = scene.retry(&attempt).await;
    assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
}

#[tokio::test]
async fn what_this_process_resolves_is_seen_at_once() {
    let scene = Scene::new();
    let attempt = scene.replayed("answer").await;
    scene.purge();
    let claim = claimed(&scene.shared, &attempt, MILLI).await;
    scene.there.advance(MILLI);
    let (fence, resolved) = (claim.grant().fence, response("resolved"));
    let reply = scene.near.resolve(attempt.slot, fence, &resolved, HOUR, WITHIN).await;
    assert_eq!(answered(reply), Reply::Applied);
    assert_eq!(scene.replay(&attempt).await, resolved);
}

#[tokio::test]
async fn a_store_that_is_down_replays_what_is_near_and_nothing_else() {
    let scene = Scene::new();
    let (near, far) = (scene.replayed("near").await, scene.completed("far").await);
    scene.store.fault(Operation::Begin, Fault::Fails(ErrorKind::Unreachable));
    assert_eq!(scene.replay(&near).await, response("near"));
    let error = scene.near.begin(&far, WITHIN).await.expect_err("the store is down");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    scene.here.advance(MAX_AGE);
    let error = scene.near.begin(&near, WITHIN).await.expect_err("the answer is too old");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}
