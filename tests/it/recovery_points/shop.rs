//! An application that takes an order in three phases, and can be made to end between them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use tower_idempotency::store::PostgresStore;
use tower_idempotency::store::postgres::tokio_postgres::Error;
use tower_idempotency::{PhaseError, PhaseTx, Policy, RecoveryPoints};

use crate::support::app::layer_with;
use crate::support::http::{Answer, Ask, Server, post as ask};
use crate::support::postgres::{PostgresServer, shared, shared_newer};
use crate::support::postgres_wire::PostgresWire;
use crate::support::wire::{Loss, Point};

/// What the handler does when it comes to a step.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Answer(u16),
    Panic,
    /// It stands still until somebody wakes it up.
    Stand,
    /// The network does this to what it sends next.
    Break(Break),
    /// The other service fails, and it says so.
    Fail,
}

/// What happens to a call to PostgreSQL that the handler is about to make.
#[derive(Clone, Copy, Debug)]
pub enum Break {
    /// After this many others, the reply is lost.
    Reply(usize, Loss),
    /// After this many others, it never arrives, and nor does what is sent after it.
    Request(usize),
}

/// What all servers of an application share, and what other services have been asked for.
#[derive(Debug)]
pub struct Shop {
    server: &'static PostgresServer,
    /// The records are in the table `records`, with this behind its name, and the orders likewise.
    name: String,
    url: String,
    /// What its servers reach PostgreSQL through, if that can break.
    wire: Option<PostgresWire>,
    plan: Mutex<Vec<(&'static str, Act)>>,
    standing: Mutex<bool>,
    awake: tokio::sync::Notify,
    calls: Mutex<Vec<(String, String)>>,
}

impl Shop {
    /// An application on the shared server.
    pub fn new() -> Arc<Self> {
        Self::on(shared(), None)
    }

    /// The same on the server of a newer version.
    pub fn newer() -> Arc<Self> {
        Self::on(shared_newer(), None)
    }

    /// The same where its servers reach PostgreSQL through a network that can break.
    pub async fn wired() -> Arc<Self> {
        Self::on(shared(), Some(PostgresWire::to(shared().port()).await))
    }

    fn on(server: &'static PostgresServer, wire: Option<PostgresWire>) -> Arc<Self> {
        let url = wire.as_ref().map_or(server.url(), |wire| server.url_at(wire.port()));
        let name = format!("{:016x}", rand::random::<u64>());
        drop(server.store_at(&server.url(), &format!("records_{name}")));
        server.query(&format!("CREATE TABLE orders_{name} (id serial, hold text);"));
        let (plan, standing, calls) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self {
            server,
            name,
            url,
            wire,
            plan,
            standing,
            awake: tokio::sync::Notify::new(),
            calls,
        })
    }

    /// The next time that a handler comes to this step, it does this.
    pub fn plan(&self, step: &'static str, act: Act) {
        self.plan.lock().unwrap().push((step, act));
    }

    pub fn store(&self) -> PostgresStore {
        let store = PostgresStore::connect(&self.url).expect("a valid address");
        store.table(&format!("records_{}", self.name)).expect("a valid name")
    }

    /// A server of it.
    pub async fn serve(self: &Arc<Self>, policy: Policy) -> Server {
        self.serve_with(self.store(), policy).await
    }

    pub async fn serve_with(self: &Arc<Self>, store: PostgresStore, policy: Policy) -> Server {
        let layer = layer_with(&Arc::new(store), policy);
        let router = Router::new().route("/orders", post(order)).with_state(Arc::clone(self));
        Server::start(router.layer(layer)).await
    }

    /// A server that dies when a handler of it comes to this step.
    pub async fn crash(self: &Arc<Self>, step: &'static str, lease: Duration) {
        self.plan(step, Act::Stand);
        let mut dying = tokio::runtime::Builder::new_multi_thread();
        let dying = dying.worker_threads(1).enable_all().build().expect("a runtime");
        let shop = Arc::clone(self);
        let server = dying.spawn(async move { shop.serve(Policy::new().lease(lease)).await });
        let server = server.await.expect("it starts");
        let _unanswered = dying.spawn(async move { server.send(request()).await });
        self.stands().await;
        dying.shutdown_background();
        *self.standing.lock().unwrap() = false;
    }

    /// Waits until a handler stands still.
    pub async fn stands(&self) {
        crate::support::app::eventually(|| *self.standing.lock().unwrap()).await;
    }

    /// Lets another one be waited for.
    pub fn sits(&self) {
        *self.standing.lock().unwrap() = false;
    }

    /// Lets the one that has stood for longest go on.
    pub fn wake(&self) {
        *self.standing.lock().unwrap() = false;
        self.awake.notify_one();
    }

    /// The keys with which another service was asked for this.
    pub fn calls(&self, service: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name == service).map(|(_, key)| key.clone()).collect()
    }

    /// Whether the network has done what was planned.
    pub fn broke(&self, how: Break) -> bool {
        self.wire.as_ref().is_some_and(|wire| match how {
            Break::Reply(..) => wire.has_lost(),
            Break::Request(_) => wire.holds(),
        })
    }

    pub fn orders(&self) -> i64 {
        self.number("SELECT count(*) FROM orders")
    }

    /// How many bytes of results are saved.
    pub fn saved(&self) -> i64 {
        self.number("SELECT coalesce(sum(octet_length(points)), 0) FROM records")
    }

    /// What becomes of the record.
    pub fn alter(&self, set: &str) {
        self.server.query(&self.named(&format!("UPDATE records SET {set};")));
    }

    /// A number from its tables.
    pub fn number(&self, query: &str) -> i64 {
        self.server.query(&self.named(query))[0].get(0)
    }

    /// A query of its tables.
    pub fn named(&self, query: &str) -> String {
        ["records", "orders"].iter().fold(query.to_owned(), |query, table| {
            query.replace(table, &format!("{table}_{}", self.name))
        })
    }

    async fn step(&self, step: &str) -> Option<Act> {
        let act = {
            let mut plan = self.plan.lock().unwrap();
            let next = plan.iter().position(|(planned, _)| *planned == step)?;
            plan.remove(next).1
        };
        match act {
            Act::Panic => panic!("as planned"),
            Act::Stand => {
                *self.standing.lock().unwrap() = true;
                self.awake.notified().await;
                None
            }
            Act::Break(how) => {
                let wire = self.wire.as_ref().expect("a network that can break");
                wire.reset();
                match how {
                    Break::Reply(others, loss) => wire.lose_after(others, loss),
                    Break::Request(others) => wire.hold(others, Point::Request),
                }
                None
            }
            Act::Answer(_) | Act::Fail => Some(act),
        }
    }

    /// Another service: it notes the key, and answers with its own name.
    pub async fn ask(&self, service: &str, key: String) -> Result<String, String> {
        self.calls.lock().unwrap().push((service.to_owned(), key));
        match self.step(service).await {
            Some(Act::Fail) => Err(format!("{service} is down")),
            _ => Ok(service.to_owned()),
        }
    }

    pub async fn insert(&self, tx: PhaseTx, hold: &str) -> Result<i32, Error> {
        let insert = self.named("INSERT INTO orders (hold) VALUES ($1) RETURNING id");
        let id = tx.query_one(&insert, &[&hold]).await?.try_get(0)?;
        self.step("insert").await;
        Ok(id)
    }
}

/// The steps of a handler between its phases.
pub const STEPS: [&str; 4] = ["begun", "authorised", "written", "shipped"];

async fn order(
    mut points: RecoveryPoints,
    State(shop): State<Arc<Shop>>,
    _body: String,
) -> Result<Response, PhaseError> {
    let answered = |act| match act {
        Some(Act::Answer(status)) => StatusCode::from_u16(status).ok(),
        _ => None,
    };
    if let Some(status) = answered(shop.step("begun").await) {
        return Ok(status.into_response());
    }
    let hold = points.call("authorise", async |key| shop.ask("authorise", key).await).await?;
    if let Some(status) = answered(shop.step("authorised").await) {
        return Ok(status.into_response());
    }
    let id = points.write("order", async |tx| shop.insert(tx, &hold).await).await?;
    if let Some(status) = answered(shop.step("written").await) {
        return Ok(status.into_response());
    }
    let parcel = points.call("ship", async |key| shop.ask("ship", key).await).await?;
    if let Some(status) = answered(shop.step("shipped").await) {
        return Ok(status.into_response());
    }
    Ok((StatusCode::CREATED, format!("{hold} {id} {parcel}")).into_response())
}

/// The order.
pub fn request() -> Ask {
    ask("/orders").key("k").body("two apples")
}

/// Another one with the same key.
pub fn other_request() -> Ask {
    ask("/orders").key("k").body("two pears")
}

/// Sends the order until it is not in progress any more.
pub async fn settled(server: Server) -> Answer {
    for _ in 0..500 {
        let answer = server.send(request()).await;
        if answer.status != 409 || answer.problem()["code"] != "in-progress" {
            return answer;
        }
        crate::support::app::pause(20).await;
    }
    panic!("it is still in progress");
}
