use axum::http::StatusCode;
use tower_idempotency::store::postgres::sqlx::{AssertSqlSafe, raw_sql};
use tower_idempotency::{Guarantee, Policy};

use super::{Shop, a_key};
use crate::support::app::eventually;

#[tokio::test]
async fn what_somebody_has_left_in_an_open_transaction_is_not_committed() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::Transactional] {
        for begin in ["BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ"] {
            let (shop, (key, ask)) = (Shop::open(), a_key());
            let half_done = format!("{begin}; INSERT INTO {} VALUES ('half done')", shop.charges);
            let mut connection = shop.pool.acquire().await.expect("a connection");
            let left = raw_sql(AssertSqlSafe(half_done)).execute(&mut *connection).await;
            left.expect("it is begun");
            drop(connection);
            eventually(|| shop.pool.num_idle() == 1).await;
            let policy = Policy::new().guarantee(guarantee);
            let app = shop.serve(policy, async |_, _tx| StatusCode::CREATED).await;
            assert_eq!(app.send(&ask).await.status, 201);
            assert_eq!((shop.rows("half done"), shop.rows(&key)), (0, 1), "{begin}");
        }
    }
}
