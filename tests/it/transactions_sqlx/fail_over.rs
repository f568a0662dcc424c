//! A server that dies while handlers are in their transactions, and its replica.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tower_idempotency::store::postgres::sqlx::{self, AssertSqlSafe, PgPool};
use tower_idempotency::{IdempotentSqlxTx, IdempotentTx, Policy, RunningClaim};

use super::{a_key, name, version};
use crate::support::app::{App, eventually, layer_with};
use crate::support::patience::wait_until;
use crate::support::postgres::PostgresServer;
use crate::support::postgres_wire::PostgresWire;

/// What runs a statement in the transaction of a claim, which is kept open.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Sqlx,
}

/// The transaction, as long as it is kept.
enum Open {
    Plain { _tx: IdempotentTx },
    Sqlx { _tx: IdempotentSqlxTx },
}

impl Kind {
    async fn run(self, claim: &RunningClaim, text: &str) -> Open {
        match self {
            Self::Plain => {
                let tx = IdempotentTx::begin(claim).await.expect("a transaction");
                tx.batch_execute(text).await.expect("written");
                Open::Plain { _tx: tx }
            }
            Self::Sqlx => {
                let mut tx = IdempotentSqlxTx::begin(claim).await.expect("a transaction");
                let text = sqlx::raw_sql(AssertSqlSafe(text));
                text.execute(&mut *tx).await.expect("written");
                Open::Sqlx { _tx: tx }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w12_what_a_server_dies_with_did_not_happen_and_its_replica_runs_the_retry() {
    let mut server = PostgresServer::start(version(), &[]);
    let replica = server.replica();
    let wire = PostgresWire::to(server.port()).await;
    let url = server.url_at(wire.port());
    let pool = PgPool::connect_lazy(&url).expect("an address");
    let store = Arc::new(server.store_at(&url, &name("records")).sqlx(pool));
    server.query("CREATE TABLE charges (name text); SELECT 1");
    let go = Arc::new(Semaphore::new(0));
    let serve = async |kind: Kind| {
        let go = Arc::clone(&go);
        App::start(layer_with(&store, Policy::new()), move |run| {
            let go = Arc::clone(&go);
            async move {
                let claim = run.claim.expect("a claim");
                let _open =
                    kind.run(&claim, &format!("INSERT INTO charges VALUES ('{kind:?}')")).await;
                if run.number == 1 {
                    let _waited = go.acquire().await;
                }
                (StatusCode::CREATED, run.number.to_string())
            }
        })
        .await
    };
    let mut first = Vec::new();
    for kind in [Kind::Plain, Kind::Sqlx] {
        let (app, ask) = (serve(kind).await, a_key().1);
        let answer = app.in_background(&ask);
        first.push((kind, app, ask, answer));
    }
    let locks = "SELECT count(*) FROM pg_locks
        WHERE relation = 'charges'::regclass AND mode = 'RowExclusiveLock'";
    eventually(|| server.query(locks)[0].get::<_, i64>(0) == 2).await;
    let written: i64 = server.query("SELECT (pg_current_wal_lsn() - '0/0')::bigint")[0].get(0);
    let has = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
    wait_until("the replica has it", || replica.query(has)[0].get::<_, i64>(0) >= written).await;
    server.kill();
    replica.query("SELECT pg_promote()");
    wire.lead_to(replica.port());
    go.close();
    for (kind, app, ask, answer) in first {
        answer.await.expect("an answer").is_refused(503, "store-unavailable");
        let retry = app.settled_for_good(&ask).await;
        assert_eq!((retry.status, retry.text(), app.runs()), (201, "2", 2), "{kind:?}");
        let rows = replica.query(&format!("SELECT FROM charges WHERE name = '{kind:?}'")).len();
        assert_eq!(rows, 1, "{kind:?}");
    }
}
