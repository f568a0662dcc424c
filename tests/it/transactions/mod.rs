//! What a handler writes in its transaction is committed with the outcome of its request, or not at
//! all: on a real PostgreSQL. `main.rs` has this module twice, for two versions.

mod adopted;
#[cfg(feature = "near-cache")]
mod cached;
mod commits;
mod leaks;
mod outcomes;
mod pooler;
mod promised;
mod races;
mod refusals;
mod workers;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tower_idempotency::store::PostgresStore;
use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
use tower_idempotency::store::postgres::tokio_postgres::NoTls;
use tower_idempotency::store::postgres::tokio_postgres::types::Type;
use tower_idempotency::{IdempotencyLayer, IdempotentTx, Policy};

use crate::support::app::{App, Run, layer_with};
use crate::support::http::{Ask, keyed};
use crate::support::postgres::{self, PostgresServer};

const LEASE: Duration = Duration::from_secs(1);

/// A database with a table of charges, and servers that fill it.
#[derive(Clone)]
struct Shop {
    server: &'static PostgresServer,
    store: Arc<PostgresStore>,
    pool: Pool,
    charges: String,
    records: String,
}

impl Shop {
    fn open() -> Self {
        Self::at(&shared().url(), 16)
    }

    /// With a pool of this size at an address that leads to the server.
    fn at(url: &str, connections: usize) -> Self {
        let manager = Manager::new(url.parse().expect("an address"), NoTls);
        let pool = Pool::builder(manager).max_size(connections).build().expect("a pool");
        let (charges, records) = (name("charges"), name("records"));
        let store = PostgresStore::new(pool.clone()).table(&records).expect("a name");
        store.migrations().for_each(|text| _ = shared().query(&text));
        shared().query(&format!("CREATE TABLE {charges} (name text PRIMARY KEY); SELECT 1"));
        Self { server: shared(), store: Arc::new(store), pool, charges, records }
    }

    fn with(self, change: impl FnOnce(PostgresStore) -> PostgresStore) -> Self {
        let store = Arc::into_inner(self.store).expect("one store");
        Self { store: Arc::new(change(store)), ..self }
    }

    fn layer(&self, policy: Policy) -> IdempotencyLayer {
        layer_with(&self.store, policy)
    }

    /// A server whose handler charges, and then does this.
    async fn serve<F, R>(
        &self,
        policy: Policy,
        then: impl Fn(Run, IdempotentTx) -> F + Clone + Send + Sync + 'static,
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
    async fn charge(&self, run: &Run) -> Result<IdempotentTx, Response> {
        let claim = run.claim.as_ref().expect("a claim");
        let tx = IdempotentTx::begin(claim).await.map_err(IntoResponse::into_response)?;
        let charge = format!("INSERT INTO {} VALUES ($1)", self.charges);
        // In one round trip, and nothing is prepared that would have to be closed.
        let charged = tx.execute_typed(&charge, &[(&claim.key().as_str(), Type::TEXT)]).await;
        charged.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
        Ok(tx)
    }

    /// The keys for which there are rows.
    fn charged(&self) -> HashSet<String> {
        let charged = self.server.query(&format!("SELECT name FROM {}", self.charges));
        charged.iter().map(|row| row.get(0)).collect()
    }

    /// How many rows there are for this key.
    fn rows(&self, key: &str) -> i64 {
        let count = format!("SELECT count(*) FROM {} WHERE name = '{key}'", self.charges);
        self.server.query(&count)[0].get(0)
    }

    /// The phases of all records.
    fn phases(&self) -> Vec<i16> {
        let phases = self.server.query(&format!("SELECT phase FROM {}", self.records));
        phases.iter().map(|row| row.get(0)).collect()
    }

    /// Lets all leases lapse, as if that much time had passed.
    fn lapse(&self) {
        self.server.query(&format!("UPDATE {} SET moment = 1; SELECT 1", self.records));
    }
}

/// The server that these tests share, of the version that this module is for.
fn shared() -> &'static PostgresServer {
    match module_path!().ends_with("18") {
        true => postgres::shared_newer(),
        false => postgres::shared(),
    }
}

/// A policy with a short lease.
fn short() -> Policy {
    Policy::new().lease(LEASE)
}

fn name(what: &str) -> String {
    format!("{what}_{:016x}", rand::random::<u64>())
}

fn a_key() -> (String, Ask) {
    let key = name("key");
    let ask = keyed(&key);
    (key, ask)
}
