#[cfg(feature = "sqlx")]
mod sqlx;
mod texts;

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::tokio_postgres::Statement;
use deadpool_postgres::tokio_postgres::types::{ToSql, Type};
use deadpool_postgres::{Client, Object, PoolError};
use futures_util::future::{join, join3};

#[cfg(feature = "sqlx")]
pub(crate) use self::sqlx::Shared as SharedSqlx;
pub(super) use self::texts::{BY_THE_INDEX, begin_text};
use self::texts::{COMMIT_TYPES, JOIN_TYPES, SAVEPOINT, join_text};
use super::PostgresStore;
use super::call::TRIES;
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
    /// Whether anything is prepared on the caller's connections.
    prepares: AtomicBool,
}

/// A connection with a transaction that a handler and its record share. Unless it has ended, the
/// connection is closed when this is dropped, which rolls it back.
pub(crate) struct Shared {
    client: Option<Client>,
    pub(super) lender: Arc<Lender>,
    /// The statement that stores the outcome, where it is prepared.
    commit: Option<Statement>,
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

impl PostgresStore {
    pub(super) fn lender(&self) -> Transactions {
        let (source, board) = (Arc::clone(&self.source), Arc::clone(&self.watches.board));
        let prepares = AtomicBool::new(!source.settings.pooler);
        Transactions::new(Lender { source, finishes: self.finishes.clone(), board, prepares })
    }
}

impl Lender {
    /// Begins a transaction, once the record of the claim says that what is not committed did not
    /// happen.
    pub(crate) async fn begin(self: Arc<Self>, claim: &Claim) -> Result<Shared, NotBegun> {
        let begin = format!("{}; {SAVEPOINT}", begin_text(&self.source.settings, claim));
        let unmarked = (!claim.attempt().transactional).then_some(claim);
        let begun = self.begin_with(&begin, unmarked).await;
        begun.map_err(NotBegun::Failed)?.ok_or(NotBegun::Lost)
    }

    /// The same with a text that begins it, for a claim whose record is to be marked before, or for one
    /// that is marked. `None` if the claim is lost.
    ///
    /// A connection that somebody has put back in the middle of a transaction of his own is closed, which
    /// rolls that back, and another one is taken.
    pub(super) async fn begin_with(
        self: &Arc<Self>,
        begin: &str,
        unmarked: Option<&Claim>,
    ) -> Result<Option<Shared>, Error> {
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let mut shared = self.connection().await?;
            let begun = match unmarked {
                Some(claim) => shared.join_and_begin(claim, begin).await,
                None => shared.begin(begin).await.map(Some),
            };
            let failure = match begun {
                Ok(None) => return Ok(None),
                Ok(Some(commit)) => {
                    shared.commit = commit;
                    return Ok(Some(shared));
                }
                Err(failure) => failure,
            };
            self.heed(&failure);
            if !failure.is_midway() && !failure.is_unprepared() || tries_left == 0 {
                return Err(failed(&failure));
            }
        }
    }

    /// A connection of the caller's pool.
    async fn connection(self: &Arc<Self>) -> Result<Shared, Error> {
        let client = Some(self.source.pool.get().await.map_err(no_connection)?);
        Ok(Shared { client, lender: Arc::clone(self), commit: None })
    }

    /// Where somebody throws away what is prepared, on connections that go back to the pool, nothing is.
    fn heed(&self, failure: &Failure) {
        if failure.is_unprepared() {
            tracing::warn!("statements do not stay prepared in the pool: none is from now on");
            self.prepares.store(false, Ordering::Relaxed);
        }
        if failure.is_midway() {
            tracing::warn!("a connection of the pool was left in a transaction: it is closed");
        }
    }

    /// Tells those who wait in this process.
    fn wake(&self, claim: &Claim) {
        let slot: Slot = claim.attempt().slot;
        self.board.wake(slot.as_bytes());
    }
}

impl Shared {
    /// Begins the transaction, and prepares what ends it.
    async fn begin(&self, begin: &str) -> Result<Option<Statement>, Failure> {
        let commit = self.prepared(&self.lender.source.statements.commit, &COMMIT_TYPES);
        let (begun, commit) = join(self.batch_execute(begin), commit).await;
        begun?;
        commit
    }

    /// The same once the record of the claim is marked; `None` if that is lost.
    async fn join_and_begin(
        &self,
        claim: &Claim,
        begin: &str,
    ) -> Result<Option<Option<Statement>>, Failure> {
        let text = &self.lender.source.statements.join;
        let statement = self.prepared(text, &JOIN_TYPES).await?;
        let attempt = claim.attempt();
        let (nonce, slot) = (Hidden(attempt.nonce.as_bytes()), Hidden(attempt.slot.as_bytes()));
        let fence = signed(claim.grant().fence.number());
        let (open, begin) = (join_text(), format!("COMMIT; {begin}"));
        // In one round trip: each is sent as soon as it is polled.
        let (opened, joined, begun) = join3(
            self.batch_execute(&open),
            self.send(statement.as_ref(), text, &[&slot, &nonce, &fence], &JOIN_TYPES),
            self.begin(&begin),
        )
        .await;
        opened?;
        let joined = joined?;
        let commit = begun?;
        Ok((joined > 0).then_some(commit))
    }

    /// A statement as it is prepared on this connection, where anything is.
    async fn prepared(&self, text: &str, types: &[Type]) -> Result<Option<Statement>, Failure> {
        match self.lender.prepares.load(Ordering::Relaxed) {
            true => Ok(Some(self.prepare_typed_cached(text, types).await?)),
            false => Ok(None),
        }
    }

    /// Sends a statement, prepared or not, and says how many rows it was about.
    async fn send(
        &self,
        prepared: Option<&Statement>,
        text: &str,
        arguments: &[&(dyn ToSql + Sync)],
        types: &[Type],
    ) -> Result<u64, Failure> {
        Ok(match prepared {
            Some(statement) => self.execute(statement, arguments).await?,
            None => {
                let typed = arguments.iter().copied().zip(types.iter().cloned());
                self.execute_typed(text, &typed.collect::<Vec<_>>()).await?
            }
        })
    }

    /// Sends the end of the transaction in one round trip, and waits for it.
    async fn end(&self, claim: &Claim, outcome: &Outcome, writes: Writes) -> Result<(), Failure> {
        let attempt = claim.attempt();
        let (nonce, slot) = (Hidden(attempt.nonce.as_bytes()), Hidden(attempt.slot.as_bytes()));
        let fence = signed(claim.grant().fence.number());
        let (content, retention) = (content(outcome), span(attempt.retention));
        let content = Hidden(&content);
        let arguments: [&(dyn ToSql + Sync); 5] = [&slot, &nonce, &fence, &content, &retention];
        let savepoint = match writes {
            Writes::Keep => "RELEASE SAVEPOINT tower_idempotency",
            Writes::Undo => "ROLLBACK TO SAVEPOINT tower_idempotency",
        };
        let text = &self.lender.source.statements.commit;
        // What follows a statement that fails is not carried out, and `COMMIT` rolls back then.
        let (returned, stored, committed) = join3(
            self.batch_execute(&format!("{savepoint}; {BY_THE_INDEX}")),
            self.send(self.commit.as_ref(), text, &arguments, &COMMIT_TYPES),
            self.batch_execute("COMMIT"),
        )
        .await;
        returned?;
        stored.inspect_err(|failure| self.lender.heed(failure))?;
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
