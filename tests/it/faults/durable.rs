//! A replica that does not answer, where claims wait for it.

use std::sync::Arc;

use tower_idempotency::store::redis::Durability;

use crate::support::app::{App, layer};
use crate::support::http::post;
use crate::support::launch::Kind;
use crate::support::replicated::replicated;

#[tokio::test]
async fn w10_a_claim_that_the_replica_lacks_is_refused_and_its_key_is_free_afterwards() {
    let (master, replica) = replicated(Kind::Redis);
    let store = Arc::new(master.store().durability(Durability::replicas(1)));
    let app = App::counting(layer(&store).build().expect("a valid layer")).await;
    let before = app.send(post("/charges").key("before")).await;
    assert_eq!(before.status, 200);
    replica.pause();
    let refused = app.send(post("/charges").key("k")).await;
    refused.is_refused(503, "store-unavailable");
    assert_eq!(app.runs(), 1, "it was not run");
    app.send(post("/charges").key("before")).await.is_replay_of(&before);
    replica.resume();
    let run = app.settled(post("/charges").key("k")).await;
    assert_eq!((run.status, app.runs()), (200, 2));
    app.send(post("/charges").key("k")).await.is_replay_of(&run);
}
