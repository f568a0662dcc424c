//! Statements that meet in one row.

use std::sync::Arc;

use tower_idempotency::protocol::{Attempt, Found, Grant, Phase, Ran, Reply};
use tower_idempotency::store::Store;

use super::{
    A_MOMENT, HOUR, WITHIN, attempt, claimed, complete, is_busy, lapsed, replayed, rerunning,
    response, slot, table,
};
use crate::support::postgres::shared;

/// What another transaction does to a row, and commits while a verb waits for it.
struct Meanwhile {
    table: String,
    change: &'static str,
}

impl Meanwhile {
    /// Runs a verb that finds the row before the change, and can write to it only after.
    async fn run<T: Send + 'static>(&self, verb: impl Future<Output = T> + Send + 'static) -> T {
        let mut client = shared().client().await;
        let transaction = client.transaction().await.expect("a transaction");
        let change = self.change.replace("records", &self.table);
        transaction.execute(&change, &[]).await.expect("it is changed");
        let verb = tokio::spawn(verb);
        tokio::time::sleep(A_MOMENT * 20).await;
        assert!(!verb.is_finished(), "it does not wait for the row");
        transaction.commit().await.expect("it is committed");
        verb.await.expect("the verb ends")
    }
}

#[tokio::test]
async fn w24_a_claim_that_finds_nothing_and_comes_second_looks_again() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    let slot = slot();
    let first = claimed(&store, attempt(slot)).await;
    complete(&store, &first, "done").await;
    // Somebody else puts in what was there, and commits a moment later.
    shared().query(&format!("CREATE TABLE saved_{table} AS TABLE {table}; TRUNCATE {table};"));
    let meanwhile = Meanwhile { change: "INSERT INTO records SELECT * FROM saved_records", table };
    let begin = {
        let store = Arc::clone(&store);
        async move { store.begin(&attempt(slot), WITHIN).await }
    };
    assert_eq!(replayed(meanwhile.run(begin).await), response("done"));
}

#[tokio::test]
async fn a_take_over_that_waits_for_the_renewal_of_the_claim_does_not_take_it() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    let claim = lapsed(&store).await;
    let slot = claim.attempt().slot;
    let change = "UPDATE records SET moment = moment + 3600000000";
    let begin = {
        let store = Arc::clone(&store);
        async move { store.begin(&rerunning(slot), WITHIN).await }
    };
    let reply = Meanwhile { table, change }.run(begin).await;
    assert!(is_busy(&reply), "{reply:?}");
    complete(&store, &claim, "late, and in time").await;
}

#[tokio::test]
async fn an_abandoned_transaction_that_somebody_else_has_renewed_or_taken_meanwhile_is_not_taken() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    let slot = lapsed(&store).await.attempt().slot;
    shared().query(&format!("UPDATE {table} SET transactional = true"));
    let seen = store.look(slot, WITHIN).await.expect("look").record.expect("a record");
    assert_eq!(seen.phase, Phase::Released);
    let change = "UPDATE records SET moment = moment + 3600000000";
    let begin = {
        let store = Arc::clone(&store);
        async move { store.begin(&attempt(slot), WITHIN).await }
    };
    let reply = Meanwhile { table, change }.run(begin).await;
    assert!(is_busy(&reply), "{reply:?}");
}

#[tokio::test]
async fn w25_a_release_that_waits_for_the_commit_of_a_lapsed_claim_finds_its_outcome() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    complete(&store, &claimed(&store, attempt(slot())).await, "committed").await;
    let claim = lapsed(&store).await;
    shared().query(&format!("UPDATE {table} SET transactional = true WHERE phase = 1"));
    let change = "UPDATE records SET phase = 2, outcome = other.outcome \
                  FROM (SELECT outcome FROM records WHERE phase = 2) AS other WHERE phase = 1";
    let release = {
        let store = Arc::clone(&store);
        async move { store.release(claim.attempt(), Ran::Maybe, HOUR, WITHIN).await }
    };
    let reply = Meanwhile { table, change }.run(release).await;
    let Ok(Reply::Fenced(Found::Completed { outcome, .. })) = reply else { panic!("{reply:?}") };
    assert_eq!(outcome, response("committed"));
}

#[tokio::test]
async fn a_completion_that_waits_for_a_take_over_is_fenced() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    let claim = lapsed(&store).await;
    let change = "UPDATE records SET nonce = '\\x01010101010101010101010101010101', \
                  fence = fence + 1, moment = moment + 3600000000";
    let completion = {
        let store = Arc::clone(&store);
        async move { store.complete(&claim, &response("late"), WITHIN).await }
    };
    let reply = Meanwhile { table, change }.run(completion).await;
    assert!(matches!(reply, Ok(Reply::Fenced(Found::Busy { .. }))), "{reply:?}");
}

#[tokio::test]
async fn a_claim_that_waits_for_a_purge_starts() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    let expired = Attempt { lease: A_MOMENT, retention: A_MOMENT, ..attempt(slot()) };
    let slot = expired.slot;
    let _abandoned = claimed(&store, expired).await;
    tokio::time::sleep(A_MOMENT * 2).await;
    let begin = {
        let store = Arc::clone(&store);
        async move { store.begin(&attempt(slot), WITHIN).await }
    };
    let reply = Meanwhile { table, change: "DELETE FROM records" }.run(begin).await;
    assert!(matches!(reply, Ok(Reply::Started(Grant { number: 1, .. }))), "{reply:?}");
}

#[tokio::test]
async fn a_late_copy_of_a_claim_does_nothing_after_it_has_waited_for_a_lock() {
    let table = table();
    let store = Arc::new(shared().store_at(&shared().url(), &table));
    let claim = lapsed(&store).await;
    let slot = claim.attempt().slot;
    let begin = {
        let store = Arc::clone(&store);
        // Its caller gives up, and the statement waits on.
        async move { store.begin(&rerunning(slot), A_MOMENT * 6).await }
    };
    let mut client = shared().client().await;
    let transaction = client.transaction().await.expect("a transaction");
    let change = format!("UPDATE {table} SET waited = true");
    transaction.execute(&change, &[]).await.expect("it is changed");
    begin.await.expect_err("it takes too long");
    tokio::time::sleep(A_MOMENT * 2).await;
    transaction.commit().await.expect("it is committed");
    tokio::time::sleep(A_MOMENT * 10).await;
    let seen = store.look(slot, HOUR).await.expect("look");
    assert_eq!(seen.record.expect("a record").fence, claim.grant().fence);
}

#[tokio::test]
async fn nobody_decides_about_a_lapsed_claim_whose_handler_commits_with_it() {
    let name = table();
    let store = shared().store_at(&shared().url(), &name);
    let claim = lapsed(&store).await;
    let (slot, fence) = (claim.attempt().slot, claim.grant().fence);
    let resolve = async || store.resolve(slot, fence, &response("o"), WITHIN, WITHIN).await;
    shared().query(&format!("UPDATE {name} SET transactional = true; SELECT 1"));
    let refused = resolve().await;
    assert!(matches!(refused, Ok(Reply::Fenced(Found::Nothing))), "{refused:?}");
    shared().query(&format!("UPDATE {name} SET transactional = false; SELECT 1"));
    assert_eq!(resolve().await.expect("an answer"), Reply::Applied);
}
