//! What runs again after the end of a handler, and what does not.

use tower_idempotency::{Guarantee, Policy};

use super::LEASE;
use super::shop::{Act, STEPS, Shop, other_request, request, settled};

const DONE: &str = "authorise 1 ship";

#[tokio::test]
async fn phases_run_one_after_the_other_and_are_forgotten_with_the_answer() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    let first = server.send(request()).await;
    assert_eq!((first.status, first.text()), (201, DONE));
    assert_eq!((shop.orders(), shop.saved()), (1, 0));
    server.send(request()).await.is_replay_of(&first);
    server.send(other_request()).await.is_refused(422, "key-reused");
    assert_eq!((shop.calls("authorise").len(), shop.calls("ship").len()), (1, 1));
    assert_ne!(shop.calls("authorise"), shop.calls("ship"), "each has a key of its own");
}

#[tokio::test]
async fn after_a_crash_between_two_phases_a_retry_goes_on_with_the_second() {
    for step in STEPS {
        let shop = Shop::new();
        shop.crash(step, LEASE).await;
        let survivor = shop.serve(Policy::new()).await;
        survivor.send(request()).await.is_refused(409, "in-progress");
        let answer = settled(survivor).await;
        assert_eq!((answer.status, answer.text()), (201, DONE), "{step}");
        assert_eq!((shop.orders(), shop.saved()), (1, 0), "{step}");
        assert_eq!((shop.calls("authorise").len(), shop.calls("ship").len()), (1, 1), "{step}");
        survivor.send(request()).await.is_replay_of(&answer);
    }
}

#[tokio::test]
async fn a_newer_postgresql_resumes_as_well() {
    let shop = Shop::newer();
    shop.crash("written", LEASE).await;
    tokio::time::sleep(LEASE).await;
    let survivor = shop.serve(Policy::new()).await;
    survivor.send(other_request()).await.is_refused(422, "key-reused");
    assert_eq!(survivor.send(request()).await.text(), DONE);
    assert_eq!((shop.orders(), shop.saved(), shop.calls("authorise").len()), (1, 0, 1));
}

#[tokio::test]
async fn after_a_crash_in_a_call_it_is_made_again_with_the_same_key() {
    for (service, authorised, shipped) in [("authorise", 2, 1), ("ship", 1, 2)] {
        let shop = Shop::new();
        shop.crash(service, LEASE).await;
        let answer = settled(shop.serve(Policy::new()).await).await;
        assert_eq!((answer.status, answer.text()), (201, DONE));
        assert_eq!(shop.calls("authorise").len(), authorised);
        assert_eq!(shop.calls("ship").len(), shipped);
        for service in ["authorise", "ship"] {
            let mut keys = shop.calls(service);
            keys.dedup();
            assert_eq!(keys.len(), 1, "{service} was asked with several keys");
        }
        assert_eq!(shop.orders(), 1);
    }
}

#[tokio::test]
async fn after_a_crash_in_a_write_nothing_of_it_was_written() {
    let shop = Shop::new();
    shop.crash("insert", LEASE).await;
    assert_eq!(shop.orders(), 0);
    let answer = settled(shop.serve(Policy::new()).await).await;
    assert_eq!((answer.status, answer.text()), (201, "authorise 2 ship"), "the number is used up");
    assert_eq!((shop.orders(), shop.calls("authorise").len()), (1, 1));
}

#[tokio::test]
async fn after_two_crashes_a_retry_goes_on_behind_the_last_phase() {
    let shop = Shop::new();
    shop.crash("authorised", LEASE).await;
    tokio::time::sleep(LEASE).await;
    // This one dies before it has saved anything: what is there stays, and so does that it counts.
    shop.crash("begun", LEASE).await;
    tokio::time::sleep(LEASE).await;
    shop.crash("written", LEASE).await;
    let answer = settled(shop.serve(Policy::new()).await).await;
    assert_eq!((answer.status, answer.text()), (201, DONE));
    assert_eq!((shop.orders(), shop.calls("authorise").len()), (1, 1));
}

#[tokio::test]
async fn an_ambiguous_answer_a_panic_and_a_refusal_free_the_key_and_a_retry_goes_on() {
    let ends = [Act::Answer(500), Act::Panic, Act::Answer(429)];
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        for (act, step) in ends.into_iter().zip(["authorised", "written", "shipped"]) {
            let shop = Shop::new();
            let server = shop.serve(Policy::new().guarantee(guarantee)).await;
            shop.plan(step, act);
            let answer = server.send(request()).await;
            assert_eq!(answer.status, if let Act::Answer(status) = act { status } else { 500 });
            let answer = server.send(request()).await;
            assert_eq!((answer.status, answer.text()), (201, DONE), "{act:?}");
            assert!(!answer.is_replay());
            assert_eq!((shop.orders(), shop.calls("authorise").len()), (1, 1), "{act:?}");
        }
    }
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_by_a_retry() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    shop.plan("ship", Act::Fail);
    server.send(request()).await.is_refused(500, "handler-failed");
    let answer = server.send(request()).await;
    assert_eq!((answer.status, answer.text()), (201, DONE));
    assert_eq!((shop.orders(), shop.calls("authorise").len()), (1, 1));
    let keys = shop.calls("ship");
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn a_refusal_for_good_is_stored_and_what_was_saved_is_forgotten() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    shop.plan("written", Act::Answer(404));
    let first = server.send(request()).await;
    assert_eq!((first.status, shop.orders(), shop.saved()), (404, 1, 0));
    server.send(request()).await.is_replay_of(&first);
    assert!(shop.calls("ship").is_empty());
}
