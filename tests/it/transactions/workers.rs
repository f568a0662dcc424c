use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Notify;
use tower_idempotency::{InFlight, Policy};

use super::{Shop, a_key, short};
use crate::support::app::{App, eventually, pause};
use crate::support::http::Ask;

/// A server whose first run goes on when it is told to; and whether it has begun.
async fn paused(shop: &Shop, policy: Policy) -> (App, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let app = shop
        .serve(policy, move |run, _tx| {
            let told = Arc::clone(&told);
            async move {
                if run.number == 1 {
                    told.notified().await;
                }
                (StatusCode::CREATED, run.number.to_string())
            }
        })
        .await;
    (app, go)
}

/// Sends a request to a server whose runtime ends while the handler runs.
pub(super) fn crash(shop: &Shop, policy: &Policy, ask: &Ask, takes_it: bool) {
    let (shop, policy, ask) = (shop.clone(), policy.clone(), ask.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let app = if takes_it {
                shop.serve(policy, async |_, _tx| pause(60_000).await).await
            } else {
                App::start(shop.layer(policy), async |_| pause(60_000).await).await
            };
            drop(app.in_background(&ask));
            eventually(|| app.runs() == 1).await;
            if takes_it {
                eventually(|| shop.pool.status().size == 1 && shop.locks() > 0).await;
            }
        });
        runtime.shutdown_background();
    });
    thread.join().expect("it crashes in peace");
}

impl Shop {
    /// How many transactions have written to the table of charges and not ended.
    fn locks(&self) -> i64 {
        let locks = format!(
            "SELECT count(*) FROM pg_locks WHERE relation = '{}'::regclass AND mode = 'RowExclusiveLock'",
            self.charges
        );
        self.server.query(&locks)[0].get(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w03_what_a_crashed_worker_wrote_is_gone_and_a_retry_runs_at_most_once_too() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    crash(&shop, &short(), &ask, true);
    assert_eq!(shop.rows(&key), 0);
    let after = Shop { pool: Shop::open().pool, ..shop.clone() };
    let app = after.serve(short(), async |_, _tx| StatusCode::CREATED).await;
    assert_eq!(app.settled(&ask).await.status, 201);
    assert_eq!(shop.rows(&key), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn w03_a_handler_that_did_not_take_it_keeps_the_guarantee() {
    let (shop, (_, ask)) = (Shop::open(), a_key());
    crash(&shop, &short(), &ask, false);
    let app = shop.serve(short(), async |_, _tx| StatusCode::CREATED).await;
    app.settled_or_unknown(&ask).await.is_refused(409, "outcome-unknown");
    assert_eq!(app.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn w05_a_stale_worker_is_rolled_back_and_answers_as_the_winner() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let (app, go) = paused(&shop, Policy::new()).await;
    // The winner must not wait for the row of the first, so it writes another.
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1 && shop.locks() > 0).await;
    shop.lapse();
    let winner = App::start(shop.layer(Policy::new()), async |_| "the winner").await;
    assert_eq!(winner.send(&ask).await.text(), "the winner");
    go.notify_one();
    let first = first.await.expect("an answer");
    assert_eq!((first.text(), first.is_replay()), ("the winner", true));
    assert_eq!(shop.rows(&key), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn w05_a_stale_worker_answers_as_the_winner_also_where_both_say_the_same() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let (app, go) = paused(&shop, Policy::new()).await;
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1 && shop.locks() > 0).await;
    shop.lapse();
    let winner = App::start(shop.layer(Policy::new()), async |run| {
        (StatusCode::CREATED, run.number.to_string())
    });
    assert_eq!(winner.await.send(&ask).await.text(), "1");
    go.notify_one();
    let first = first.await.expect("an answer");
    assert_eq!((first.text(), first.is_replay(), shop.rows(&key)), ("1", true, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_claim_to_one_that_runs_is_told_so() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let (app, go) = paused(&shop, Policy::new()).await;
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1 && shop.locks() > 0).await;
    shop.lapse();
    let slow = App::start(shop.layer(Policy::new()), async |_| pause(60_000).await).await;
    drop(slow.in_background(&ask));
    eventually(|| slow.runs() == 1).await;
    go.notify_one();
    first.await.expect("an answer").is_refused(409, "in-progress");
    assert_eq!(shop.rows(&key), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_with_the_key_of_a_crashed_worker_runs_since_nothing_happened() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    crash(&shop, &short(), &ask, true);
    let app = shop.serve(short(), async |_, _tx| StatusCode::CREATED).await;
    let other = ask.body("another one");
    app.send(&other).await.is_refused(422, "key-reused");
    shop.lapse();
    assert_eq!((app.send(&other).await.status, shop.rows(&key)), (201, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_refused_at_once_and_hold_no_connection() {
    let shop = Shop::at(&super::shared().url(), 1);
    let (_, ask) = a_key();
    let (app, go) = paused(&shop, Policy::new()).await;
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1 && shop.pool.status().available == 0).await;
    for _ in 0..20 {
        app.send(&ask).await.is_refused(409, "in-progress");
    }
    assert_eq!((app.runs(), shop.pool.status().waiting), (1, 0));
    go.notify_one();
    assert_eq!(first.await.expect("an answer").status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_here_and_elsewhere_have_the_committed_answer() {
    let waiting = || Policy::new().in_flight(InFlight::wait(Duration::from_secs(10)));
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let elsewhere = shop.server.store_at(&shop.server.url(), &shop.records);
    let (app, go) = paused(&shop, waiting()).await;
    let first = app.in_background(&ask);
    eventually(|| app.runs() == 1).await;
    let there = Arc::new(elsewhere);
    let other = App::counting(crate::support::app::layer_with(&there, waiting())).await;
    let (near, far) = (app.in_background(&ask), other.in_background(&ask));
    pause(300).await;
    go.notify_one();
    for answer in [first, near, far] {
        let answer = answer.await.expect("an answer");
        assert_eq!((answer.status, answer.text()), (201, "1"));
    }
    assert_eq!((app.runs(), other.runs(), shop.rows(&key)), (1, 0, 1));
}
