use std::time::Duration;

use axum::http::StatusCode;
use tower_idempotency::{IdempotentTx, Policy};

use super::{Shop, a_key, name, shared, short};
use crate::support::app::{answers, eventually, pause};

const CONNECTIONS: usize = 8;

impl Shop {
    /// A shop whose connections carry a name, by which the server tells them apart.
    fn named() -> (Self, String) {
        let name = name("app");
        let url = format!("{}?application_name={name}", shared().url());
        (Self::at(&url, CONNECTIONS), name)
    }
}

/// How many of these connections are in a transaction.
fn open_transactions(name: &str) -> i64 {
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = '{name}' AND xact_start IS NOT NULL"
    );
    shared().query(&open)[0].get(0)
}

/// Every connection of the pool can be had, and is out of any transaction.
async fn is_whole(shop: &Shop, name: &str) {
    eventually(|| open_transactions(name) == 0).await;
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let got = tokio::time::timeout(Duration::from_secs(10), shop.pool.get()).await;
        let client = got.expect("a connection is free").expect("it works");
        let fresh = client.query_one("SELECT pg_current_xact_id_if_assigned()::text", &[]).await;
        assert_eq!(fresh.expect("a row").get::<_, Option<String>>(0), None);
        all.push(client);
    }
    assert_eq!(shop.pool.status().size, CONNECTIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_hang_ups_leak_no_connection_and_no_transaction() {
    let (shop, name) = Shop::named();
    let app = shop
        .serve(Policy::new(), async |run, _tx| {
            pause(u64::try_from(run.number % 7).unwrap()).await;
            StatusCode::CREATED
        })
        .await;
    let requests: Vec<_> = (0..500).map(|_| a_key()).collect();
    for (number, (_, ask)) in requests.iter().enumerate() {
        let mut client = app.server.connect().await;
        client.write(ask).await;
        pause(u64::try_from(number % 5).unwrap()).await;
        drop(client);
    }
    for (_, ask) in &requests {
        assert_eq!(app.settled(ask).await.status, 201);
    }
    // Of each no more than one, as the table has it.
    assert_eq!(shop.charged().len(), 500);
    is_whole(&shop, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_are_stopped_at_any_time_leak_none() {
    let (shop, name) = Shop::named();
    // Some are stopped while they wait for the transaction or for the server.
    let policy = short().max_run(Duration::from_millis(4));
    let app = shop
        .serve(policy, async |run, tx: IdempotentTx| {
            if run.number % 2 == 0 {
                let _ = tx.batch_execute("SELECT pg_sleep(0.004)").await;
            }
            StatusCode::CREATED
        })
        .await;
    let requests: Vec<_> = (0..200).map(|_| a_key()).collect();
    let all: Vec<_> = requests.iter().map(|(_, ask)| app.in_background(ask)).collect();
    let answers = answers(all).await;
    let charged = shop.charged();
    for (answer, (key, _)) in answers.iter().zip(&requests) {
        assert_eq!(charged.contains(key), answer.status == 201, "{}", answer.status);
    }
    is_whole(&shop, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_not_waited_for_leaks_none() {
    let (shop, name) = Shop::named();
    let layer = shop.layer(Policy::new());
    let app = crate::support::app::App::start(layer, async |run| {
        let claim = run.claim.expect("a claim");
        for micros in 0..100 {
            let begin = IdempotentTx::begin(&claim);
            let _ = tokio::time::timeout(Duration::from_micros(micros * 50), begin).await;
        }
        StatusCode::CREATED
    })
    .await;
    app.send(a_key().1).await;
    is_whole(&shop, &name).await;
}
