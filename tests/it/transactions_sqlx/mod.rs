//! The same promises for handlers that use `sqlx`: on a real PostgreSQL, of two
//! versions, as `main.rs` has this module twice.

mod adopted;
mod commits;
mod fail_over;
mod leaks;
mod nested;
mod outcomes;
mod pooler;
mod races;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tower_idempotency::store::PostgresStore;
use tower_idempotency::store::postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tower_idempotency::store::postgres::sqlx::{self, AssertSqlSafe, PgPool};
use tower_idempotency::{IdempotencyLayer, IdempotentSqlxTx, Policy};

use crate::support::app::{App, Run, eventually, layer_with};
use crate::support::http::{Ask, keyed};
use crate::support::postgres::{self, PostgresServer, Version};

const CONNECTIONS: u32 = 8;

/// A database with a table of charges, and servers that fill it.
#[derive(Clone)]
struct Shop {
    store: Arc<PostgresStore>,
    pool: PgPool,
    /// By which the server tells the connections of the pool apart.
    application: String,
    charges: String,
    records: String,
}

impl Shop {
    fn open() -> Self {
        Self::of(|store| store)
    }

    fn of(change: impl FnOnce(PostgresStore) -> PostgresStore) -> Self {
        Self::at(&shared().url(), &shared().url(), change)
    }

    /// With a store and a pool at addresses that lead to the server.
    fn at(url: &str, of_pool: &str, change: impl FnOnce(PostgresStore) -> PostgresStore) -> Self {
        let [application, charges, records] = ["app", "charges", "records"].map(name);
        let options: PgConnectOptions = of_pool.parse().expect("an address");
        // A pooler knows nothing of the digits of floats.
        let options = options.application_name(&application).extra_float_digits(None);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with(options);
        let store = change(shared().store_at(url, &records)).sqlx(pool.clone());
        shared().query(&format!("CREATE TABLE {charges} (name text PRIMARY KEY); SELECT 1"));
        Self { store: Arc::new(store), pool, application, charges, records }
    }

    fn layer(&self, policy: Policy) -> IdempotencyLayer {
        layer_with(&self.store, policy)
    }

    /// A server whose handler charges, and then does this.
    async fn serve<F, R>(
        &self,
        policy: Policy,
        then: impl Fn(Run, IdempotentSqlxTx) -> F + Clone + Send + Sync + 'static,
    ) -> App
    where
        F: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let shop = self.clone();
        let handler = move |run: Run| {
            let (shop, then) = (shop.clone(), then.clone());
            async move {
                match shop.charge(&run).await {
                    Ok(tx) => then(run, tx).await.into_response(),
                    Err(answer) => answer,
                }
            }
        };
        App::start(self.layer(policy), handler).await
    }

    /// Writes a row that is named after the key.
    async fn charge(&self, run: &Run) -> Result<IdempotentSqlxTx, Response> {
        let claim = run.claim.as_ref().expect("a claim");
        let mut tx = IdempotentSqlxTx::begin(claim).await.map_err(IntoResponse::into_response)?;
        let charge = format!("INSERT INTO {} VALUES ($1)", self.charges);
        let charge = sqlx::query(AssertSqlSafe(charge)).bind(claim.key().as_str().to_owned());
        // A pooler does not know what is prepared under a name.
        let charge = charge.persistent(false);
        let charged = charge.execute(&mut *tx).await;
        charged.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
        Ok(tx)
    }

    /// The keys for which there are rows.
    fn charged(&self) -> HashSet<String> {
        let charged = shared().query(&format!("SELECT name FROM {}", self.charges));
        charged.iter().map(|row| row.get(0)).collect()
    }

    /// How many rows there are for this key.
    fn rows(&self, key: &str) -> i64 {
        self.count(&format!("{} WHERE name = '{key}'", self.charges))
    }

    fn count(&self, of: &str) -> i64 {
        shared().query(&format!("SELECT count(*) FROM {of}"))[0].get(0)
    }

    /// How many connections of the pool are in a transaction.
    fn open_transactions(&self) -> i64 {
        let name = &self.application;
        let of_pool = format!("pg_stat_activity WHERE application_name = '{name}'");
        self.count(&format!("{of_pool} AND xact_start IS NOT NULL"))
    }

    /// Every connection of the pool can be had, and is out of any transaction.
    async fn is_whole(&self) {
        eventually(|| self.open_transactions() == 0).await;
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            let got = tokio::time::timeout(Duration::from_secs(10), self.pool.begin()).await;
            let mut begun = got.expect("a connection is free").expect("it works");
            let fresh = sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned()::text");
            assert_eq!(fresh.fetch_one(&mut *begun).await.ok(), Some(None::<String>));
            all.push(begun);
        }
        assert_eq!(self.open_transactions(), i64::from(CONNECTIONS));
        for begun in all {
            begun.rollback().await.expect("it was one");
        }
        assert_eq!((self.open_transactions(), self.pool.size()), (0, CONNECTIONS));
    }
}

/// The version that this module is for.
fn version() -> Version {
    if module_path!().ends_with("18") { Version::Newer } else { Version::Packaged }
}

/// The server that these tests share.
fn shared() -> &'static PostgresServer {
    match version() {
        Version::Newer => postgres::shared_newer(),
        Version::Packaged => postgres::shared(),
    }
}

fn name(what: &str) -> String {
    format!("{what}_{:016x}", rand::random::<u64>())
}

fn a_key() -> (String, Ask) {
    let key = name("key");
    let ask = keyed(&key);
    (key, ask)
}
