#[cfg(feature = "sqlx")]
mod sqlx;

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::tokio_postgres::IsolationLevel;
use deadpool_postgres::tokio_postgres::types::{ToSql, Type};
use deadpool_postgres::{Client, Object, PoolError};
use futures_util::future::join3;

#[cfg(feature = "sqlx")]
pub(crate) use self::sqlx::Shared as SharedSqlx;
use super::PostgresStore;
use super::connection::Source;
use super::connection::lane::Lane;
use super::error::{Cure, Failure};
use super::row::{Hidden, signed, span};
use crate::protocol::{Claim, Outcome, Slot};
use crate::store::records::content;
use crate::store::watch::board::Board;
use crate::store::{
    Effect, Error, ErrorKind, Operation, Transaction, Transactions, Uncommitted, Writes,
};

/// Lends handlers transactions on connections of the caller's pool.
pub(crate) struct Lender {
    pub(super) source: Arc<Source>,
    /// For what is saved outside of the handlers' transactions.
    pub(super) finishes: Lane,
    board: Arc<Board>,
}

/// A connection with a transaction that a handler and its record share. Unless it has ended, the
/// connection is closed when this is dropped, which rolls it back.
pub(crate) struct Shared {
    client: Option<Client>,
    pub(super) lender: Arc<Lender>,
}

/// Why there is no transaction.
pub(crate) enum NotBegun {
    /// The claim is somebody else's by now.
    Lost,
    /// The store was given no pool of `sqlx`.
    #[cfg(feature = "sqlx")]
    NoPool,
    Failed(Error),
}

/// Where a transaction goes back to if its handler has refused the request.
const SAVEPOINT: &str = "SAVEPOINT tower_idempotency";

impl PostgresStore {
    pub(super) fn lender(&self) -> Transactions {
        let (source, board) = (Arc::clone(&self.source), Arc::clone(&self.watches.board));
        Transactions::new(Lender { source, finishes: self.finishes.clone(), board })
    }
}

impl Lender {
    /// Begins a transaction, once the record of the claim says that what is not committed did not
    /// happen.
    pub(crate) async fn begin(self: Arc<Self>, claim: &Claim) -> Result<Shared, NotBegun> {
        let shared = self.connection().await.map_err(NotBegun::Failed)?;
        let begun = match claim.attempt().transactional {
            true => shared.begin(claim).await.map(|()| 1),
            false => shared.join_and_begin(claim).await,
        };
        match begun {
            Ok(0) => Err(NotBegun::Lost),
            Ok(_) => Ok(shared),
            Err(failure) => Err(NotBegun::Failed(failed(&failure))),
        }
    }

    /// A connection of the caller's pool.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Shared, Error> {
        let client = Some(self.source.pool.get().await.map_err(no_connection)?);
        Ok(Shared { client, lender: Arc::clone(self) })
    }

    /// What begins a handler's transaction. Others have to wait for what it has locked, so the server
    /// ends it if its worker stands still for a lease, and looks whether there is still one while a
    /// statement runs. What is set ends with the transaction, so that no other one is taken for it.
    pub(super) fn begin_text(&self, claim: &Claim) -> String {
        let level = match self.source.settings.isolation {
            IsolationLevel::Serializable => "SERIALIZABLE",
            IsolationLevel::RepeatableRead => "REPEATABLE READ",
            _ => "READ COMMITTED",
        };
        let (fence, lease) = (claim.grant().fence.number(), claim.attempt().lease);
        let idle = u64::try_from((lease - lease / 20).as_millis()).unwrap_or(u64::MAX);
        let idle = idle.clamp(1, i32::MAX as u64);
        let look = (idle / 4).clamp(1, 1000);
        let setting = "current_setting('idle_in_transaction_session_timeout')::interval";
        format!(
            "BEGIN ISOLATION LEVEL {level} READ WRITE;
            SELECT set_config('tower_idempotency.claim', '{fence}', true);
            SELECT set_config('synchronous_commit', 'on', true)
                WHERE current_setting('synchronous_commit') = 'off';
            SELECT set_config('idle_in_transaction_session_timeout', '{idle}ms', true)
                WHERE {setting} = '0' OR {setting} > '{idle} ms';
            SELECT set_config('client_connection_check_interval', '{look}ms', true)
                WHERE current_setting('client_connection_check_interval') = '0'
                    AND version() LIKE '%linux%'"
        )
    }

    /// Tells those who wait in this process.
    fn wake(&self, claim: &Claim) {
        let slot: Slot = claim.attempt().slot;
        self.board.wake(slot.as_bytes());
    }
}

/// What is said before the record is marked: whatever the default is, it is one short transaction
/// that is durable when it has ended.
const JOIN: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL lock_timeout = '500ms';
    SELECT set_config('synchronous_commit', 'on', true)
        WHERE current_setting('synchronous_commit') = 'off';
";

impl Shared {
    /// Begins the transaction of a claim whose record was marked when it was made.
    async fn begin(&self, claim: &Claim) -> Result<(), Failure> {
        let begin = format!("{}; {SAVEPOINT}", self.lender.begin_text(claim));
        Ok(self.batch_execute(&begin).await?)
    }

    /// Marks the record of the claim before, and tells how many there are to be marked.
    async fn join_and_begin(&self, claim: &Claim) -> Result<u64, Failure> {
        let attempt = claim.attempt();
        let (nonce, slot) = (Hidden(attempt.nonce.as_bytes()), Hidden(attempt.slot.as_bytes()));
        let fence = signed(claim.grant().fence.number());
        let join = &self.lender.source.statements.join;
        let arguments: [(&(dyn ToSql + Sync), Type); 3] =
            [(&slot, Type::BYTEA), (&nonce, Type::BYTEA), (&fence, Type::INT8)];
        let begin = format!("COMMIT; {}; {SAVEPOINT}", self.lender.begin_text(claim));
        // In one round trip: each is sent as soon as it is polled.
        let (opened, joined, begun) = join3(
            self.batch_execute(JOIN),
            self.execute_typed(join, &arguments),
            self.batch_execute(&begin),
        )
        .await;
        opened?;
        let joined = joined?;
        begun?;
        Ok(joined)
    }

    /// Sends the end of the transaction in one round trip, and waits for it.
    async fn end(&self, claim: &Claim, outcome: &Outcome, writes: Writes) -> Result<(), Failure> {
        let attempt = claim.attempt();
        let (nonce, slot) = (Hidden(attempt.nonce.as_bytes()), Hidden(attempt.slot.as_bytes()));
        let fence = signed(claim.grant().fence.number());
        let (content, retention) = (content(outcome), span(attempt.retention));
        let content = Hidden(&content);
        let arguments: [(&(dyn ToSql + Sync), Type); 5] = [
            (&slot, Type::BYTEA),
            (&nonce, Type::BYTEA),
            (&fence, Type::INT8),
            (&content, Type::BYTEA),
            (&retention, Type::INT8),
        ];
        let savepoint = match writes {
            Writes::Keep => "RELEASE SAVEPOINT tower_idempotency",
            Writes::Undo => "ROLLBACK TO SAVEPOINT tower_idempotency",
        };
        // What follows a statement that fails is not carried out, and `COMMIT` rolls back then.
        let (returned, stored, committed) = join3(
            self.batch_execute(savepoint),
            self.query_typed(&self.lender.source.statements.commit, &arguments),
            self.batch_execute("COMMIT"),
        )
        .await;
        returned?;
        stored?;
        committed?;
        Ok(())
    }

    /// The transaction has ended: the connection goes back to the pool.
    pub(super) fn give_back(mut self) {
        drop(self.client.take());
    }
}

impl Transaction for Shared {
    fn commit<'a>(
        self: Box<Self>,
        claim: &'a Claim,
        outcome: &'a Outcome,
        writes: Writes,
        within: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<(), Uncommitted>> + Send + 'a>> {
        Box::pin(async move {
            in_time(within, self.end(claim, outcome, writes)).await?;
            self.lender.wake(claim);
            self.give_back();
            Ok(())
        })
    }

    fn roll_back(self: Box<Self>, within: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Ok(Ok(())) = tokio::time::timeout(within, self.batch_execute("ROLLBACK")).await {
                self.give_back();
            }
        })
    }
}

impl Deref for Shared {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is there until it is given back")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// What came of an end that may take so long.
async fn in_time(
    within: Duration,
    end: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Uncommitted> {
    match tokio::time::timeout(within, end).await {
        Ok(ended) => ended.map_err(|failure| Uncommitted {
            error: failed(&failure),
            lost_a_race: failure.cure() == Cure::Repeat,
        }),
        Err(_) => {
            let error = Error::new(ErrorKind::TimedOut, Operation::Commit, Effect::Unknown);
            Err(Uncommitted { error, lost_a_race: false })
        }
    }
}

fn no_connection(error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => failed(&error.into()),
        error => {
            Error::new(ErrorKind::TimedOut, Operation::Commit, Effect::None).with_source(error)
        }
    }
}

pub(super) fn failed(failure: &Failure) -> Error {
    Error::new(failure.kind(), Operation::Commit, failure.effect()).with_source(failure.cause())
}
