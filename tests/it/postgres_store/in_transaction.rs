//! Claims and outcomes in a transaction of the caller's, as the consumer of a queue has one.

use std::sync::Arc;

use tower_idempotency::protocol::{Attempt, Found, Grant, Nonce, Reply, Slot};
use tower_idempotency::store::postgres::tokio_postgres::{Client, IsolationLevel, Transaction};
use tower_idempotency::store::{Effect, Error, ErrorKind, PostgresStore, Store};

use super::{A_MOMENT, WITHIN, attempt, claimed, is_busy, replayed, response, slot, table};
use crate::support::postgres::shared;

/// Consumers of a queue on the shared server, and the table into which they write.
struct Queue {
    store: PostgresStore,
    payments: String,
}

impl Queue {
    fn new() -> Arc<Self> {
        let table = table();
        let payments = format!("payments_{table}");
        shared().query(&format!("CREATE TABLE {payments} (consumer text);"));
        Arc::new(Self { store: shared().store_at(&shared().url(), &table), payments })
    }

    fn payments(&self) -> i64 {
        shared().query(&format!("SELECT count(*) FROM {}", self.payments))[0].get(0)
    }

    /// Claims a message in a transaction.
    async fn claim(&self, tx: &Transaction<'_>, attempt: &Attempt) -> Result<Reply, Error> {
        self.store.begin_in(tx, attempt).await
    }

    /// Writes for a message that is claimed, and completes it.
    async fn pay(&self, tx: &Transaction<'_>, attempt: Attempt, grant: Grant, consumer: &str) {
        let insert = format!("INSERT INTO {} VALUES ($1)", self.payments);
        tx.execute(&insert, &[&consumer]).await.expect("written");
        let claim = attempt.claim(grant);
        let reply = self.store.complete_in(tx, &claim, &response(consumer)).await;
        assert!(matches!(reply, Ok(Reply::Applied)), "{reply:?}");
    }

    /// Consumes a message as far as before the commit.
    async fn consumed<'a>(
        &self,
        client: &'a mut Client,
        slot: Slot,
        level: IsolationLevel,
        consumer: &str,
    ) -> Result<(Transaction<'a>, Option<Reply>), Error> {
        let tx = client.build_transaction().isolation_level(level).start().await;
        let tx = tx.expect("a transaction");
        let attempt = attempt(slot);
        match self.claim(&tx, &attempt).await? {
            Reply::Started(grant) => {
                self.pay(&tx, attempt, grant, consumer).await;
                Ok((tx, None))
            }
            reply => Ok((tx, Some(reply))),
        }
    }
}

#[tokio::test]
async fn a_message_is_consumed_in_one_transaction_and_a_second_delivery_finds_the_outcome() {
    let (queue, slot) = (Queue::new(), slot());
    let mut client = shared().client().await;
    for level in [IsolationLevel::ReadCommitted, IsolationLevel::Serializable] {
        let (tx, found) =
            queue.consumed(&mut client, slot, level, "first").await.expect("consumed");
        match found {
            None => tx.commit().await.expect("committed"),
            Some(found) => assert_eq!(replayed(Ok(found)), response("first")),
        }
        assert_eq!(queue.payments(), 1);
    }
    assert_eq!(replayed(queue.store.begin(&attempt(slot), WITHIN).await), response("first"));
}

#[tokio::test]
async fn of_two_consumers_one_waits_for_the_other_and_finds_its_outcome() {
    let (queue, slot) = (Queue::new(), slot());
    let mut client = shared().client().await;
    let level = IsolationLevel::ReadCommitted;
    let (tx, _) = queue.consumed(&mut client, slot, level, "first").await.expect("consumed");
    let second = second(&queue, slot, level);
    tokio::time::sleep(A_MOMENT * 20).await;
    assert!(!second.is_finished(), "it does not wait");
    tx.commit().await.expect("committed");
    let found = second.await.expect("it ends").expect("an answer").expect("it is consumed");
    assert_eq!(replayed(Ok(found)), response("first"));
    assert_eq!(queue.payments(), 1);
}

#[tokio::test]
async fn a_consumer_goes_on_where_another_one_rolled_back_or_died() {
    for dies in [false, true] {
        let (queue, slot) = (Queue::new(), slot());
        let mut client = shared().client().await;
        let level = IsolationLevel::ReadCommitted;
        let pid: i32 = {
            let row = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("an answer");
            row.get(0)
        };
        let (tx, _) = queue.consumed(&mut client, slot, level, "first").await.expect("consumed");
        let second = second(&queue, slot, level);
        tokio::time::sleep(A_MOMENT * 20).await;
        assert_eq!(queue.payments(), 0);
        match dies {
            true => drop(shared().query(&format!("SELECT pg_terminate_backend({pid})"))),
            false => tx.rollback().await.expect("rolled back"),
        }
        let found = second.await.expect("it ends").expect("an answer");
        assert_eq!((found, queue.payments()), (None, 1), "it has paid");
        let seen = queue.store.begin(&attempt(slot), WITHIN).await;
        assert_eq!(replayed(seen), response("second"));
    }
}

#[tokio::test]
async fn w23_above_read_committed_who_waited_has_to_begin_again() {
    for level in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        let (queue, slot) = (Queue::new(), slot());
        let mut client = shared().client().await;
        let (tx, _) = queue.consumed(&mut client, slot, level, "first").await.expect("consumed");
        let waits = second(&queue, slot, level);
        tokio::time::sleep(A_MOMENT * 20).await;
        tx.commit().await.expect("committed");
        let error = waits.await.expect("it ends").expect_err("it has lost a race");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
        let source = std::error::Error::source(&error).expect("a source").to_string();
        assert!(source.contains("40001"), "{source}");
        let found = second(&queue, slot, level).await.expect("it ends").expect("an answer");
        assert_eq!(replayed(Ok(found.expect("it is consumed"))), response("first"));
        assert_eq!(queue.payments(), 1);
    }
}

/// Another consumer of the message, with what it finds, if it is not its own.
fn second(
    queue: &Arc<Queue>,
    slot: Slot,
    level: IsolationLevel,
) -> tokio::task::JoinHandle<Result<Option<Reply>, Error>> {
    let queue = Arc::clone(queue);
    tokio::spawn(async move {
        let mut client = shared().client().await;
        let (tx, found) = queue.consumed(&mut client, slot, level, "second").await?;
        tx.commit().await.expect("committed");
        Ok(found)
    })
}

#[tokio::test]
async fn a_message_that_is_claimed_outside_of_a_transaction_is_busy_and_can_be_completed_in_one() {
    let (queue, slot) = (Queue::new(), slot());
    let mut client = shared().client().await;
    let claim = claimed(&queue.store, attempt(slot)).await;
    let tx = client.transaction().await.expect("a transaction");
    assert!(is_busy(&queue.claim(&tx, &attempt(slot)).await));
    // An attempt that has lost its claim stores nothing.
    let nonce = Nonce::from_bytes(rand::random());
    let stale = Attempt { nonce, ..attempt(slot) }.claim(claim.grant());
    let reply = queue.store.complete_in(&tx, &stale, &response("stale")).await;
    assert!(matches!(reply, Ok(Reply::Fenced(Found::Busy { .. }))), "{reply:?}");
    let reply = queue.store.complete_in(&tx, &claim, &response("done")).await;
    assert!(matches!(reply, Ok(Reply::Applied)), "{reply:?}");
    assert!(is_busy(&queue.store.begin(&attempt(slot), WITHIN).await), "nothing is committed yet");
    tx.commit().await.expect("committed");
    assert_eq!(replayed(queue.store.begin(&attempt(slot), WITHIN).await), response("done"));
}

#[tokio::test]
async fn a_transaction_that_is_open_for_longer_than_its_lease_is_not_interrupted() {
    let (queue, slot) = (Queue::new(), slot());
    let mut client = shared().client().await;
    let tx = client.transaction().await.expect("a transaction");
    let brief = Attempt { lease: A_MOMENT, ..attempt(slot) };
    let Ok(Reply::Started(grant)) = queue.claim(&tx, &brief).await else { panic!("not claimed") };
    tokio::time::sleep(A_MOMENT * 4).await;
    let other = queue.store.begin(&super::rerunning(slot), A_MOMENT * 40).await;
    assert!(other.is_err(), "{other:?}");
    queue.pay(&tx, brief, grant, "slow").await;
    tx.commit().await.expect("committed");
    assert_eq!(replayed(queue.store.begin(&attempt(slot), WITHIN).await), response("slow"));
}
