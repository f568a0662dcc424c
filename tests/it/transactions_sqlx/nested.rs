use axum::http::StatusCode;
use tower_idempotency::store::postgres::sqlx::{self, AssertSqlSafe, Connection as _};
use tower_idempotency::{IdempotentSqlxTx, Policy};

use super::{Shop, a_key};

async fn insert(shop: &Shop, on: &mut sqlx::PgConnection, name: &str) -> sqlx::Result<()> {
    let insert = format!("INSERT INTO {} VALUES ($1)", shop.charges);
    let insert = sqlx::query(AssertSqlSafe(insert)).bind(name.to_owned());
    insert.execute(on).await.map(drop)
}

#[tokio::test]
async fn what_a_handler_begins_is_a_savepoint() {
    let shop = Shop::open();
    let handlers = shop.clone();
    let app = shop
        .serve(Policy::new(), move |run, mut tx: IdempotentSqlxTx| {
            let shop = handlers.clone();
            async move {
                let mut kept = tx.begin().await.expect("a savepoint");
                insert(&shop, &mut kept, &format!("kept {}", run.number)).await.expect("kept");
                kept.commit().await.expect("released");
                assert_eq!(shop.count(&shop.charges), 0, "nothing is committed yet");
                let mut undone = tx.begin().await.expect("another savepoint");
                insert(&shop, &mut undone, "undone").await.expect("for now");
                drop(undone);
                if run.number == 1 {
                    return StatusCode::INTERNAL_SERVER_ERROR;
                }
                StatusCode::CREATED
            }
        })
        .await;
    let (key, ask) = a_key();
    assert_eq!(app.send(&ask).await.status, 500);
    assert_eq!(shop.count(&shop.charges), 0, "its commit was none");
    assert_eq!(app.send(&ask).await.status, 201);
    assert_eq!((shop.rows(&key), shop.rows("kept 2"), shop.rows("undone")), (1, 1, 0));
    shop.is_whole().await;
}

#[tokio::test]
async fn a_savepoint_that_fails_or_is_not_waited_for_lets_nothing_be_committed() {
    let shop = Shop::open();
    let handlers = shop.clone();
    let app = shop
        .serve(Policy::new(), move |run, mut tx: IdempotentSqlxTx| {
            let shop = handlers.clone();
            async move {
                match run.number {
                    1 => {
                        sqlx::query("SELECT 1/0").execute(&mut *tx).await.expect_err("an error");
                        tx.begin().await.expect_err("the transaction is aborted");
                    }
                    2 => {
                        let mut begin = Box::pin(tx.begin());
                        let now = std::future::poll_fn(|context| {
                            std::task::Poll::Ready(begin.as_mut().poll(context).is_pending())
                        });
                        assert!(now.await, "it waits for the server");
                    }
                    _ => {}
                }
                // For `sqlx`, that was the end of what it had begun.
                insert(&shop, &mut tx, "afterwards").await.expect("written");
                StatusCode::CREATED
            }
        })
        .await;
    let (key, ask) = a_key();
    for _ in 0..2 {
        app.send(&ask).await.is_refused(500, "handler-failed");
        assert_eq!(shop.count(&shop.charges), 0);
    }
    assert_eq!((app.send(&ask).await.status, shop.rows(&key)), (201, 1));
    shop.is_whole().await;
}

#[tokio::test]
async fn a_handler_that_ends_the_transaction_is_not_believed() {
    for text in ["ROLLBACK", "ROLLBACK; BEGIN"] {
        let shop = Shop::open();
        let app = shop
            .serve(Policy::new(), move |run, mut tx| async move {
                if run.number == 1 {
                    sqlx::raw_sql(text).execute(&mut *tx).await.expect("ended");
                }
                StatusCode::CREATED
            })
            .await;
        let (key, ask) = a_key();
        app.send(&ask).await.is_refused(500, "handler-failed");
        assert_eq!((app.send(&ask).await.status, shop.rows(&key)), (201, 1));
        shop.is_whole().await;
    }
}
