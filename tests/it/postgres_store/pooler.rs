//! A pooler in between that hands out the server's connections by the transaction.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::task::JoinSet;
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::{Effect, ErrorKind, PostgresStore, Store};

use super::{
    A_MOMENT, WITHIN, attempt, complete, end, is_busy, is_completed, lapsed, replayed, rerunning,
    response, slot, start, table, watch,
};
use crate::support::pooler::Pooler;
use crate::support::postgres::{PostgresServer, Version, shared};

fn behind(pooler: &Pooler, server: &PostgresServer, name: &str) -> PostgresStore {
    server.store_at(&server.url_at(pooler.port()), name).behind_pooler()
}

#[tokio::test]
async fn claims_and_answers_pass_a_pooler_with_two_connections_for_all() {
    let pooler = Pooler::start(shared(), 2);
    let connections = NonZeroU32::new(10).expect("ten");
    let store = Arc::new(behind(&pooler, shared(), &table()).connections(connections));
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let store = Arc::clone(&store);
        requests.spawn(async move {
            let claim = start(&store).await;
            assert!(is_busy(&store.begin(&attempt(claim.attempt().slot), WITHIN).await));
            store.renew(&claim, WITHIN).await.expect("renew");
            complete(&store, &claim, "done").await;
            let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
            assert_eq!(replayed(reply), response("done"));
        });
    }
    requests.join_all().await;
    let abandoned = lapsed(&store).await;
    let reply = store.begin(&rerunning(abandoned.attempt().slot), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Reclaimed(_))), "{reply:?}");
    assert_eq!(store.purge().await.expect("purge"), 0);
}

#[tokio::test]
async fn w23_claims_pass_a_pooler_where_the_default_is_serializable() {
    let server = PostgresServer::start(Version::Packaged, &[]);
    server.query("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'");
    let pooler = Pooler::start(&server, 4);
    let store = Arc::new(behind(&pooler, &server, &table()));
    let slot = slot();
    let mut claims = JoinSet::new();
    for _ in 0..100 {
        let store = Arc::clone(&store);
        claims.spawn(async move { store.begin(&attempt(slot), WITHIN).await });
    }
    let replies = claims.join_all().await;
    assert_eq!(replies.iter().filter(|reply| matches!(reply, Ok(Reply::Started(_)))).count(), 1);
    assert_eq!(replies.iter().filter(|reply| is_busy(reply)).count(), 99, "{replies:?}");
}

#[tokio::test]
async fn a_statement_that_fails_behind_a_pooler_has_done_nothing_and_spoils_nothing() {
    let name = table();
    let pooler = Pooler::start(shared(), 2);
    let store = behind(&pooler, shared(), &name);
    let claim = start(&store).await;
    let mut client = shared().client().await;
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&format!("SELECT FROM {name} FOR UPDATE"), &[]).await.expect("locked");
    let error = store.renew(&claim, WITHIN).await.expect_err("the row is held");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
    transaction.rollback().await.expect("unlocked");
    complete(&store, &claim, "done").await;
}

#[tokio::test]
async fn who_waits_listens_past_the_pooler() {
    let name = table();
    let pooler = Pooler::start(shared(), 2);
    let direct = shared().url().parse().expect("an address");
    let no_tls = tower_idempotency::store::postgres::tokio_postgres::NoTls;
    let store = Arc::new(behind(&pooler, shared(), &name).listening(direct, no_tls));
    let other = behind(&pooler, shared(), &name);
    let claim = start(&other).await;
    let watch = watch(&store, &claim);
    tokio::time::sleep(A_MOMENT * 20).await;
    complete(&other, &claim, "done").await;
    assert!(is_completed(&end(watch).await));
}
