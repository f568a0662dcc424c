use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use tower_idempotency::Policy;
use tower_idempotency::store::PostgresStore;

use super::{Shop, a_key, shared};
use crate::support::postgres_wire::PostgresWire;
use crate::support::wire::{Loss, Point};

const LEASE: Duration = Duration::from_secs(2);

/// As many calls as end a transaction, and some more.
const CALLS: usize = 7;

/// What leads to the server, and how the store has to be told of it.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) port: u16,
    pub(super) tell: fn(PostgresStore) -> PostgresStore,
}

/// Whether the first run of a request is committed that breaks like this when it ends. One run is, and
/// nobody is told of another.
async fn commits(
    way: Way,
    at_the_end: impl Fn(&PostgresWire) + Clone + Send + Sync + 'static,
) -> bool {
    let wire = PostgresWire::to(way.port).await;
    let [url, of_pool] = [way.port, wire.port()].map(|port| shared().url_at(port));
    // Only what the transaction says goes over the wire.
    let shop = Shop::at(&url, &of_pool, way.tell);
    let app = shop
        .serve(Policy::new().lease(LEASE), move |run, _tx| {
            if run.number == 1 {
                wire.reset();
                at_the_end(&wire);
            }
            async move { (StatusCode::CREATED, run.number.to_string()) }
        })
        .await;
    let (key, ask) = a_key();
    let first = app.send(&ask).await;
    let last = app.settled_for_good(&ask).await;
    assert_eq!((last.status, shop.rows(&key)), (201, 1));
    match (first.status, last.text(), last.is_replay()) {
        (201, "1", true) => true,
        (503, "2", false) => {
            first.is_refused(503, "store-unavailable");
            false
        }
        other => panic!("{other:?}"),
    }
}

/// The same for each call of the end that breaks: how many of them come before it is committed.
async fn before_it_is_committed<F>(way: Way, at_the_end: impl Fn(usize) -> F) -> usize
where
    F: Fn(&PostgresWire) + Clone + Send + Sync + 'static,
{
    let committed = join_all((0..CALLS).map(|call| commits(way, at_the_end(call)))).await;
    assert!(committed.is_sorted() && committed[CALLS - 1], "{committed:?}");
    committed.partition_point(|&committed| !committed)
}

pub(super) async fn a_lost_commit_is_told_as_what_it_is(way: Way) {
    let (late, lost, broken) = tokio::join!(
        before_it_is_committed(way, |call| move |wire: &PostgresWire| {
            wire.hold(call, Point::Reply);
        }),
        before_it_is_committed(way, |call| move |wire: &PostgresWire| {
            wire.hold(call, Point::Request);
        }),
        before_it_is_committed(way, |call| move |wire: &PostgresWire| {
            wire.lose_after(call, Loss::Close);
        }),
    );
    assert!(late >= 2, "savepoint and outcome come before it");
    assert_eq!((broken, lost), (late, late + 1), "what arrives is committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_commit_whose_answer_is_lost_is_told_as_what_it_is_and_a_lost_one_never_happens() {
    a_lost_commit_is_told_as_what_it_is(Way { port: shared().port(), tell: |store| store }).await;
}
