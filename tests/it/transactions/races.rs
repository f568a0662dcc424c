use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tower_idempotency::store::postgres::tokio_postgres::{Error, IsolationLevel};
use tower_idempotency::{IdempotentTx, Policy, RunningClaim, SerializationFailure};

use super::{Shop, a_key, name, shared};
use crate::support::app::{App, Run};

/// A shop with two accounts, in transactions as apart as can be.
struct Bank {
    shop: Shop,
    accounts: String,
}

impl Bank {
    fn open() -> Self {
        let shop = Shop::open().with(|store| store.isolation(IsolationLevel::Serializable));
        let accounts = name("accounts");
        shared().query(&format!(
            "CREATE TABLE {accounts} (id int PRIMARY KEY, balance int);
             INSERT INTO {accounts} VALUES (1, 10), (2, 10)"
        ));
        Self { shop, accounts }
    }

    /// A server whose handler looks at one account, lets the test meddle, and takes from the other.
    async fn serve(&self, retries: u32, meddle: Meddle<'static>) -> App {
        let accounts = self.accounts.clone();
        let layer = self.shop.layer(Policy::new().transaction_retries(retries));
        App::start(layer, move |run: Run| {
            let accounts = accounts.clone();
            async move {
                let claim = run.claim.expect("a claim");
                let tx = IdempotentTx::begin(&claim).await.expect("a transaction");
                let meddle = if run.number == 1 { meddle } else { Meddle::Never };
                transfer(&tx, &accounts, meddle).await.map_or_else(
                    |error| failed(&error),
                    |()| (StatusCode::CREATED, attempts(&claim)).into_response(),
                )
            }
        })
        .await
    }

    fn balances(&self) -> Vec<i32> {
        let rows = shared().query(&format!("SELECT balance FROM {} ORDER BY id", self.accounts));
        rows.iter().map(|row| row.get(0)).collect()
    }
}

async fn transfer(tx: &IdempotentTx, accounts: &str, meddle: Meddle<'_>) -> Result<(), Error> {
    let read = format!("SELECT balance FROM {accounts} WHERE id = 1");
    let balance: i32 = tx.query_one(&read, &[]).await?.get(0);
    if let Meddle::Before(statements) = meddle {
        shared().query(&statements.replace("accounts", accounts));
    }
    let write = format!("UPDATE {accounts} SET balance = $1 WHERE id = 2");
    tx.execute(&write, &[&(balance - 1)]).await?;
    if let Meddle::After(statements) = meddle {
        shared().query(&statements.replace("accounts", accounts));
    }
    Ok(())
}

fn failed(error: &Error) -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    if let Some(failure) = SerializationFailure::of(error) {
        response.extensions_mut().insert(failure);
    }
    response
}

fn attempts(claim: &RunningClaim) -> String {
    claim.attempt().to_string()
}

/// What another transaction does while the handler runs for the first time, and when: before or after
/// the handler writes.
#[derive(Clone, Copy)]
enum Meddle<'a> {
    Never,
    Before(&'a str),
    After(&'a str),
}

/// Another transaction writes what the handler is about to write.
const SAME_ROW: Meddle<'static> =
    Meddle::Before("UPDATE accounts SET balance = 5 WHERE id = 2; SELECT 1");

/// Another writes what the handler has read, and has read what it has written: that is noticed when
/// the handler's is committed.
const SKEWED: Meddle<'static> = Meddle::After(
    "
    BEGIN ISOLATION LEVEL SERIALIZABLE;
    SELECT balance FROM accounts WHERE id = 2;
    UPDATE accounts SET balance = 5 WHERE id = 1;
    COMMIT;",
);

#[tokio::test]
async fn a_statement_that_lost_a_race_runs_the_handler_again_within_its_claim() {
    let (bank, (_, ask)) = (Bank::open(), a_key());
    let app = bank.serve(1, SAME_ROW).await;
    let answer = app.send(&ask).await;
    assert_eq!((answer.status, answer.text()), (201, "1"));
    assert_eq!((app.runs(), bank.balances()), (2, vec![10, 9]));
    assert!(app.send(&ask).await.is_replay());
}

#[tokio::test]
async fn a_commit_that_lost_a_race_runs_the_handler_again_within_its_claim() {
    let (bank, (_, ask)) = (Bank::open(), a_key());
    let app = bank.serve(1, SKEWED).await;
    let answer = app.send(&ask).await;
    assert_eq!((answer.status, answer.text()), (201, "1"));
    assert_eq!((app.runs(), bank.balances()), (2, vec![5, 4]));
}

#[tokio::test]
async fn without_the_policy_it_is_rolled_back_and_a_retry_runs() {
    for (meddle, status) in [(SAME_ROW, 500), (SKEWED, 503)] {
        let (bank, (_, ask)) = (Bank::open(), a_key());
        let app = bank.serve(0, meddle).await;
        assert_eq!(app.send(&ask).await.status, status);
        assert_eq!(app.runs(), 1);
        assert_eq!(app.send(&ask).await.status, 201);
        assert_eq!(app.runs(), 2);
    }
}
