//! Hard cases of abandoned claims: what else can happen to a claim while somebody finds out what
//! became of it.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{IdempotencyLayer, Policy, Recovery};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, eventually, layer_with, pause};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{Answer, Ask, keyed};

on_every_store![rule_24_a_worker_whose_claim_was_resolved_gives_the_answer_that_stands];

fn known() -> Recovery {
    Recovery::Response(Response::new("the hook's".into()))
}

fn in_background(app: &App, ask: &Ask) -> JoinHandle<Answer> {
    let (app, ask) = (app.clone(), ask.clone());
    tokio::spawn(async move { app.send(ask).await })
}

async fn numbered(layer: IdempotencyLayer) -> App {
    App::start(layer, |run: Run| async move {
        format!("attempt {}", run.claim.expect("a claim").attempt())
    })
    .await
}

async fn rule_24_a_worker_whose_claim_was_resolved_gives_the_answer_that_stands(inner: AnyStore) {
    let store = FaultyStore::new(&inner);
    store.fault(Operation::Renew, Fault::Fails(ErrorKind::Unreachable));
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let policy = Policy::new().lease(Duration::from_millis(200));
    let frozen = App::start(layer_with(&store, policy), move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            "the worker's"
        }
    })
    .await;
    let worker = in_background(&frozen, &keyed("k"));
    eventually(|| frozen.runs() == 1).await;
    pause(400).await;
    let hook = Policy::new().on_abandoned(async |_| known());
    let other = numbered(layer_with(&inner, hook)).await;
    let resolved = other.send(keyed("k")).await;
    assert_eq!(resolved.text(), "the hook's");
    go.notify_one();
    worker.await.expect("an answer").is_replay_of(&resolved);
    frozen.send(keyed("k")).await.is_replay_of(&resolved);
}
