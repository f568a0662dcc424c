//! Connections that break while a result is saved.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_idempotency::{PhaseFailure, Policy, RecoveryPoints};

use super::shop::{Act, Break, Shop, request, settled};
use crate::support::app::{App, Run, layer_with};
use crate::support::http::{Server, keyed, post};
use crate::support::postgres::{PostgresServer, Version, shared};
use crate::support::wire::Loss;

/// How many bytes say that the bank has authorised something.
const AUTHORISED: i64 = 27;

/// A shop whose servers reach PostgreSQL through a proxy, and one of them, whose connections are made.
async fn wired() -> (Arc<Shop>, Server) {
    let shop = Shop::wired().await;
    let server = shop.serve(Policy::new().lease(Duration::from_secs(3))).await;
    assert_eq!(server.send(post("/orders").key("warm")).await.status, 201);
    (shop, server)
}

/// Breaks the network at this step; whether it has is told afterwards.
fn broken(shop: &Arc<Shop>, step: &'static str, how: Break) -> impl Fn() -> bool {
    shop.plan(step, Act::Break(how));
    let shop = Arc::clone(shop);
    move || shop.broke(how)
}

#[tokio::test]
async fn a_result_of_a_call_that_is_saved_without_an_answer_counts() {
    for loss in [Loss::Close, Loss::Silence] {
        let (shop, server) = wired().await;
        let lost = broken(&shop, "authorise", Break::Reply(0, loss));
        shop.plan("authorised", Act::Stand);
        let answer = tokio::spawn(async move { server.send(request()).await });
        shop.stands().await;
        assert!(lost());
        assert_eq!(shop.saved(), AUTHORISED, "it is saved once");
        shop.wake();
        let answer = answer.await.expect("an answer");
        assert_eq!((answer.status, answer.text()), (201, "authorise 2 ship"), "{loss:?}");
        assert_eq!(
            (shop.calls("authorise").len(), shop.orders()),
            (2, 2),
            "one of it was the first"
        );
    }
}

#[tokio::test]
async fn a_result_of_a_call_that_does_not_arrive_is_saved_again_and_the_call_is_not_made_again() {
    let (shop, server) = wired().await;
    let lost = broken(&shop, "authorise", Break::Request(0));
    let answer = server.send(request()).await;
    assert!(lost());
    assert_eq!((answer.status, answer.text()), (201, "authorise 2 ship"));
    assert_eq!((shop.calls("authorise").len(), shop.orders()), (2, 2));
}

#[tokio::test]
async fn a_write_that_is_committed_without_an_answer_counts() {
    for loss in [Loss::Close, Loss::Silence] {
        let (shop, server) = wired().await;
        let lost = broken(&shop, "insert", Break::Reply(1, loss));
        let answer = server.send(request()).await;
        assert!(lost());
        assert_eq!((answer.status, answer.text()), (201, "authorise 2 ship"), "{loss:?}");
        assert_eq!((shop.calls("ship").len(), shop.orders()), (2, 2));
    }
}

#[tokio::test]
async fn a_write_of_which_it_is_not_known_whether_it_is_committed_is_not_gone_on_from() {
    // The server waits for the end of a transaction in which the result is saved, or not even that.
    for others in [0, 1] {
        let (shop, server) = wired().await;
        let lost = broken(&shop, "insert", Break::Request(others));
        server.send(request()).await.is_refused(503, "store-unavailable");
        assert!(lost());
        assert_eq!((shop.calls("ship").len(), shop.orders()), (1, 1), "it was not committed");
        let answer = settled_again(server).await;
        assert_eq!((answer.status, answer.text()), (201, "authorise 3 ship"));
        assert_eq!((shop.calls("authorise").len(), shop.calls("ship").len()), (2, 2));
        assert_eq!(shop.orders(), 2);
    }
}

#[tokio::test]
async fn after_a_phase_of_which_it_is_not_known_whether_it_is_saved_no_other_one_runs() {
    let (shop, _) = wired().await;
    let writer = Arc::clone(&shop);
    let layer = layer_with(&Arc::new(shop.store()), Policy::new().lease(Duration::from_secs(3)));
    shop.plan("insert", Act::Break(Break::Request(0)));
    let app = App::start(layer, move |run: Run| {
        let shop = Arc::clone(&writer);
        async move {
            let mut points =
                RecoveryPoints::of(&run.claim.expect("a claim")).await.expect("points");
            let unknown = points.write("a", async |tx| shop.insert(tx, "x").await).await;
            let unknown = unknown.expect_err("it does not arrive");
            assert!(matches!(unknown.failure(), PhaseFailure::NotCommitted(_)), "{unknown}");
            let call = async |_| -> Result<(), String> { panic!("it goes on") };
            let next = points.call("b", call).await.expect_err("not known");
            assert!(matches!(next.failure(), PhaseFailure::Unsettled), "{next}");
            next
        }
    })
    .await;
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
}

/// Sends the order until the store is free again.
async fn settled_again(server: Server) -> crate::support::http::Answer {
    for _ in 0..200 {
        let answer = settled(server).await;
        if answer.status != 503 {
            return answer;
        }
        crate::support::app::pause(50).await;
    }
    panic!("it stays unavailable");
}

#[tokio::test]
async fn a_write_that_is_committed_late_is_waited_for() {
    let shop = Shop::new();
    let server = shop.serve(Policy::new()).await;
    shop.plan("insert", Act::Stand);
    let answer = tokio::spawn(async move { server.send(request()).await });
    shop.stands().await;
    // Somebody holds the record for longer than the store may take for a call, and not so long that the
    // server looks and finds nobody there.
    let mut client = shared().client().await;
    let transaction = client.transaction().await.expect("a transaction");
    let lock = shop.named("SELECT 1 FROM records FOR UPDATE");
    transaction.query(&lock, &[]).await.expect("it is locked");
    shop.wake();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    transaction.commit().await.expect("it is free");
    let answer = answer.await.expect("an answer");
    assert_eq!((answer.status, answer.text()), (201, "authorise 1 ship"));
    assert_eq!((shop.orders(), shop.calls("ship").len()), (1, 1));
}

#[tokio::test]
async fn a_call_is_not_made_again_because_the_server_is_away_for_a_while() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    let (store, server) = (Arc::new(server.store()), Arc::new(Mutex::new(server)));
    let calls = Arc::new(AtomicUsize::new(0));
    let (database, counted) = (Arc::clone(&server), Arc::clone(&calls));
    let app = App::start(layer_with(&store, Policy::new()), move |run: Run| {
        let (database, calls) = (Arc::clone(&database), Arc::clone(&counted));
        async move {
            let mut points =
                RecoveryPoints::of(&run.claim.expect("a claim")).await.expect("points");
            let call = async |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                database.lock().unwrap().kill();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(400));
                    database.lock().unwrap().restart();
                });
                Ok::<_, String>("called".to_owned())
            };
            points.call("a", call).await
        }
    })
    .await;
    app.send(keyed("k")).await.is_first("called");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
