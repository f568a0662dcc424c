//! Who may go on with an operation of which something is saved.

use std::time::Duration;

use tower_idempotency::protocol::{
    Attempt, Fingerprint, Found, Nonce, Phase, Reply, Scheme, Slot, TakeOver,
};
use tower_idempotency::store::Store;
use tower_idempotency::{Policy, Recovery};

use super::LEASE;
use super::shop::{Act, Shop, other_request, request, settled};

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn another_request_cannot_have_a_key_under_which_something_is_saved_and_was_freed() {
    for status in [500, 429] {
        let shop = Shop::new();
        let server = shop.serve(Policy::new()).await;
        shop.plan("authorised", Act::Answer(status));
        assert_eq!(server.send(request()).await.status, status);
        assert!(shop.saved() > 0);
        server.send(other_request()).await.is_refused(422, "key-reused");
        assert_eq!(server.send(request()).await.status, 201);
        server.send(other_request()).await.is_refused(422, "key-reused");
    }
}

#[tokio::test]
async fn another_request_can_have_a_freed_key_under_which_nothing_is_saved() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    shop.plan("begun", Act::Answer(500));
    assert_eq!(server.send(request()).await.status, 500);
    assert_eq!(server.send(other_request()).await.status, 201);
    server.send(request()).await.is_refused(422, "key-reused");
}

#[tokio::test]
async fn another_request_cannot_have_a_key_under_which_something_is_saved_after_a_crash() {
    let shop = Shop::new();
    shop.crash("authorised", LEASE).await;
    tokio::time::sleep(LEASE).await;
    let server = shop.serve(Policy::new()).await;
    server.send(other_request()).await.is_refused(422, "key-reused");
    assert_eq!(server.send(request()).await.status, 201);
}

#[tokio::test]
async fn after_a_crash_nobody_is_asked_what_became_of_what_is_saved() {
    let shop = Shop::new();
    shop.crash("authorised", LEASE).await;
    tokio::time::sleep(LEASE).await;
    let policy = Policy::new().on_abandoned(async |_| -> Recovery { panic!("it is asked") });
    assert_eq!(shop.serve(policy).await.send(request()).await.status, 201);
}

#[tokio::test]
async fn what_is_saved_stays_for_the_retention_also_after_a_refusal_that_did_not_count() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new().retention(Duration::from_secs(7200))).await;
    shop.plan("authorised", Act::Answer(429));
    assert_eq!(server.send(request()).await.status, 429);
    let left = shop
        .number("SELECT min(expires) / 1000000 - extract(epoch FROM now())::bigint FROM records");
    assert!((7000..=7200).contains(&left), "{left}");
    shop.alter("expires = 1");
    let answer = server.send(request()).await;
    assert_eq!((answer.status, shop.calls("authorise").len()), (201, 2), "it has expired");
}

#[tokio::test]
async fn a_worker_that_has_lost_its_claim_saves_nothing() {
    for (step, orders, authorised) in
        [("begun", "1", 2), ("authorise", "1", 2), ("insert", "2", 1), ("ship", "1", 1)]
    {
        let shop = Shop::new();
        shop.plan(step, Act::Stand);
        let (late, other) = (shop.serve(Policy::new()).await, shop.serve(Policy::new()).await);
        let late = tokio::spawn(async move { late.send(request()).await });
        shop.stands().await;
        // It is taken for dead.
        shop.alter("moment = 1");
        let answer = settled(other).await;
        assert_eq!((answer.status, answer.text()), (201, &*format!("authorise {orders} ship")));
        shop.wake();
        late.await.expect("an answer").is_replay_of(&answer);
        assert_eq!((shop.orders(), shop.saved()), (1, 0), "{step}");
        assert_eq!(shop.calls("authorise").len(), authorised, "{step}");
    }
}

#[tokio::test]
async fn a_worker_that_was_taken_over_saves_nothing_while_the_other_runs() {
    for step in ["authorise", "insert"] {
        let shop = Shop::new();
        let (late, other) = (shop.serve(Policy::new()).await, shop.serve(Policy::new()).await);
        let mut answers = Vec::new();
        for server in [late, other] {
            shop.plan(step, Act::Stand);
            answers.push(tokio::spawn(async move { server.send(request()).await }));
            shop.stands().await;
            shop.alter("moment = 1");
            shop.sits();
        }
        let saved = shop.saved();
        // Who has stood for longest goes on first.
        shop.wake();
        answers.remove(0).await.expect("an answer").is_refused(409, "in-progress");
        assert_eq!((shop.saved(), shop.orders()), (saved, 0), "{step}");
        shop.wake();
        let answer = answers.remove(0).await.expect("an answer");
        assert_eq!((answer.status, shop.orders()), (201, 1), "{step}");
    }
}

#[tokio::test]
async fn a_call_of_which_the_record_was_put_back_counts_as_committed_again() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    shop.plan("authorise", Act::Stand);
    shop.plan("authorised", Act::Stand);
    let answer = tokio::spawn(async move { server.send(request()).await });
    shop.stands().await;
    // As a renewal makes it from a record that had expired.
    shop.alter("transactional = false");
    shop.wake();
    shop.stands().await;
    assert_eq!(shop.number("SELECT count(*) FROM records WHERE transactional"), 1);
    shop.wake();
    assert_eq!(answer.await.expect("an answer").status, 201);
    assert_eq!(shop.calls("authorise").len(), 1);
}

#[tokio::test]
async fn a_worker_that_knows_that_it_has_lost_its_claim_calls_nobody() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new().lease(LEASE)).await;
    shop.plan("begun", Act::Stand);
    let late = tokio::spawn(async move { server.send(request()).await });
    shop.stands().await;
    let other = "nonce = '\\x01010101010101010101010101010101', fence = fence + 1";
    shop.alter(&format!("{other}, moment = moment + 3600000000"));
    // It learns that when it renews its lease.
    tokio::time::sleep(LEASE).await;
    shop.wake();
    late.await.expect("an answer").is_refused(409, "in-progress");
    assert!(shop.calls("authorise").is_empty());
}

#[tokio::test]
async fn a_worker_whose_record_has_expired_and_is_gone_begins_anew_instead_of_going_on() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    shop.plan("authorised", Act::Stand);
    let first = tokio::spawn(async move { server.send(request()).await });
    shop.stands().await;
    shop.alter("points = NULL, transactional = false");
    shop.wake();
    first.await.expect("an answer").is_refused(503, "store-unavailable");
    assert_eq!(shop.orders(), 0);
    assert_eq!(server.send(request()).await.text(), "authorise 2 ship");
}

#[tokio::test]
async fn to_a_store_what_is_saved_is_in_the_way_of_every_other_operation() {
    for end in ["moment = 1", "phase = 3, moment = 0"] {
        let shop = Shop::new();
        let store = shop.store();
        let mine = attempt([7; 32], Scheme::raw());
        let began = store.begin(&mine, WITHIN).await;
        assert!(matches!(began, Ok(Reply::Started(_))), "{began:?}");
        shop.alter(&format!("transactional = true, points = '\\x01', {end}"));
        let seen = store.look(mine.slot, WITHIN).await.expect("look");
        assert_eq!(seen.record.expect("a record").phase, Phase::Released);
        let refused = [
            (attempt([9; 32], Scheme::raw()), Found::Mismatch),
            (attempt([9; 32], Scheme::json()), Found::OtherScheme(Scheme::raw())),
        ];
        for (other, found) in refused {
            assert_eq!(store.begin(&other, WITHIN).await.expect("begin"), Reply::Found(found));
        }
        let again = attempt([7; 32], Scheme::raw());
        let began = store.begin(&again, WITHIN).await;
        assert!(matches!(began, Ok(Reply::Started(_) | Reply::Reclaimed(_))), "{began:?}");
        assert_eq!(shop.saved(), 1, "it stays");
        // It counts as transactional although its new worker has not said so yet.
        shop.alter("moment = 1");
        let began = store.begin(&attempt([7; 32], Scheme::raw()), WITHIN).await;
        assert!(matches!(began, Ok(Reply::Reclaimed(_))), "{began:?}");
        // Only an expiry makes room.
        shop.alter("expires = 1");
        let began = store.begin(&attempt([9; 32], Scheme::raw()), WITHIN).await;
        assert!(matches!(began, Ok(Reply::Started(_))), "{began:?}");
        assert_eq!(shop.saved(), 0);
    }
}

fn attempt(digest: [u8; 32], scheme: Scheme) -> Attempt {
    Attempt {
        slot: Slot::from_bytes([1; 32]),
        fingerprint: Fingerprint::new(scheme, digest),
        nonce: Nonce::from_bytes(rand::random()),
        lease: Duration::from_secs(30),
        retention: Duration::from_secs(3600),
        take_over: TakeOver::Never,
        transactional: false,
    }
}
