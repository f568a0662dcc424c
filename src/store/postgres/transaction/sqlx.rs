use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::tokio_postgres::IsolationLevel;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, SqlSafeStr as _};
// The trait has no name in `sqlx` itself.
use sqlx_core::transaction::TransactionManager as _;

use super::{BY_THE_INDEX, Lender, NotBegun, begin_text, failed, in_time, join_text};
use crate::protocol::{Claim, Outcome};
use crate::store::postgres::call::TRIES;
use crate::store::postgres::error::Failure;
use crate::store::postgres::row::{signed, span};
use crate::store::records::content;
use crate::store::{Effect, Error, ErrorKind, Operation, Transaction, Uncommitted, Writes};

/// The same as the other `Shared` on a connection of `sqlx`. Unless its transaction has ended, the
/// connection is closed when this is dropped: `sqlx` itself would put it back into its pool, whatever
/// state it is in.
pub(crate) struct Shared {
    connection: Option<PoolConnection<Postgres>>,
    lender: Arc<Lender>,
}

/// How deep `sqlx` is in transactions when the handler gets the connection: in one, and in two
/// savepoints. So what the handler begins is a savepoint in turn. Where that fails or is not waited for,
/// `sqlx` leaves two levels; if there were no more, it would end the transaction, and what follows
/// would be committed by itself.
const DEPTH: usize = 3;

impl Lender {
    /// The same as `begin` on a connection of `sqlx`.
    pub(crate) async fn begin_sqlx(self: Arc<Self>, claim: &Claim) -> Result<Shared, NotBegun> {
        let pool = self.source.settings.sqlx.as_ref().ok_or(NotBegun::NoPool)?;
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let connection = pool.acquire().await.map_err(no_connection)?;
            // From here on it is closed, unless it is given back.
            let mut shared = Shared { connection: Some(connection), lender: Arc::clone(&self) };
            let failure = match shared.begin(claim).await {
                Ok(true) => return Ok(shared),
                Ok(false) => return Err(NotBegun::Lost),
                Err(failure) => failure,
            };
            self.heed(&failure);
            if !failure.is_midway() || tries_left == 0 {
                return Err(NotBegun::Failed(failed(&failure)));
            }
        }
    }
}

impl Shared {
    /// Begins the transaction, and says whether the claim was there.
    async fn begin(&mut self, claim: &Claim) -> Result<bool, Failure> {
        let mut text = begin_text(&self.lender.source.settings, claim);
        // The record of a claim that was made so is marked.
        if !claim.attempt().transactional {
            if !self.join(claim).await? {
                return Ok(false);
            }
            text.insert_str(0, "COMMIT; ");
        }
        PgTransactionManager::begin(self, Some(AssertSqlSafe(text).into_sql_str())).await?;
        for _ in 1..DEPTH {
            PgTransactionManager::begin(self, None).await?;
        }
        Ok(true)
    }

    /// Begins to mark the record, and says whether it is there.
    async fn join(&mut self, claim: &Claim) -> Result<bool, Failure> {
        let source = Arc::clone(&self.lender.source);
        let attempt = claim.attempt();
        sqlx::raw_sql(AssertSqlSafe(join_text())).execute(&mut **self).await?;
        let join = sqlx::query(AssertSqlSafe(source.statements.join.as_str()))
            .persistent(!source.settings.pooler)
            .bind(attempt.slot.as_bytes().as_slice())
            .bind(attempt.nonce.as_bytes().as_slice())
            .bind(signed(claim.grant().fence.number()));
        Ok(join.execute(&mut **self).await?.rows_affected() > 0)
    }

    async fn end(
        &mut self,
        claim: &Claim,
        outcome: &Outcome,
        writes: Writes,
    ) -> Result<(), Failure> {
        if PgTransactionManager::get_transaction_depth(self) != DEPTH {
            return Err(Failure::Unusable("the handler has left the transaction that it was lent"));
        }
        let source = Arc::clone(&self.lender.source);
        let attempt = claim.attempt();
        // Of the inner savepoint, which is no more where the handler has ended the transaction.
        match writes {
            Writes::Keep => PgTransactionManager::commit(self).await?,
            Writes::Undo => PgTransactionManager::rollback(self).await?,
        }
        if matches!(source.settings.isolation, IsolationLevel::Serializable) {
            sqlx::raw_sql(BY_THE_INDEX).execute(&mut **self).await?;
        }
        let content = content(outcome);
        sqlx::query(AssertSqlSafe(source.statements.commit.as_str()))
            .persistent(!source.settings.pooler)
            .bind(attempt.slot.as_bytes().as_slice())
            .bind(attempt.nonce.as_bytes().as_slice())
            .bind(signed(claim.grant().fence.number()))
            .bind(&content[..])
            .bind(span(attempt.retention))
            .execute(&mut **self)
            .await?;
        for _ in 1..DEPTH {
            PgTransactionManager::commit(self).await?;
        }
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), sqlx::Error> {
        while PgTransactionManager::get_transaction_depth(self) > 0 {
            PgTransactionManager::start_rollback(self);
        }
        self.ping().await
    }

    /// The transaction has ended: the connection goes back to the pool.
    fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl Transaction for Shared {
    fn commit<'a>(
        mut self: Box<Self>,
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

    fn roll_back(
        mut self: Box<Self>,
        within: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Ok(Ok(())) = tokio::time::timeout(within, self.undo()).await {
                self.give_back();
            }
        })
    }
}

impl Deref for Shared {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is there until it is given back")
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until it is given back")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// Nothing was sent.
fn no_connection(error: sqlx::Error) -> NotBegun {
    let kind = match &error {
        sqlx::Error::PoolTimedOut => ErrorKind::TimedOut,
        _ => Failure::from(error).kind(),
    };
    NotBegun::Failed(Error::new(kind, Operation::Commit, Effect::None))
}
