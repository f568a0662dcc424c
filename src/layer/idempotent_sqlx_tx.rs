use std::fmt;
use std::ops::{Deref, DerefMut};

use super::loan::Loan;
use super::no_transaction::NoTransaction;
use crate::engine::RunningClaim;
use crate::store::postgres::sqlx::PgConnection;
use crate::store::postgres::{Lender, SharedSqlx};

/// An [`IdempotentTx`](crate::IdempotentTx) for handlers that use `sqlx`, on a connection of the pool
/// that the store was given by [`PostgresStore::sqlx`](crate::PostgresStore::sqlx). It promises the
/// same, and the same is to be minded.
///
/// ```
/// use axum::http::StatusCode;
/// use tower_idempotency::IdempotentSqlxTx;
/// use tower_idempotency::store::postgres::sqlx;
///
/// async fn charge(mut tx: IdempotentSqlxTx, amount: String) -> Result<StatusCode, StatusCode> {
///     sqlx::query("INSERT INTO charges (amount) VALUES ($1::numeric)")
///         .bind(amount)
///         .execute(&mut *tx)
///         .await
///         .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
///     Ok(StatusCode::CREATED)
/// }
/// # let _ = charge;
/// ```
///
/// # What is different
/// - What the handler begins on it with [`Connection::begin`](sqlx::Connection::begin) is a savepoint.
///   If that fails, or is not waited for, `sqlx` takes back what the handler has written so far; the
///   transaction is then never committed, and the client gets a 500 `handler-failed`. Answer then: after
///   a second one that fails, `sqlx` is in no transaction any more.
/// - `sqlx` waits for every answer of the server before it goes on: the beginning takes five round
///   trips, three where the guarantee is transactional, and the end four, five under `SERIALIZABLE`, where
///   `IdempotentTx` takes one each.
pub struct IdempotentSqlxTx(Loan<SharedSqlx>);

impl IdempotentSqlxTx {
    /// The transaction of this claim: begun, or the one that was begun before and is not in use.
    ///
    /// # Errors
    /// If there is none.
    pub async fn begin(claim: &RunningClaim) -> Result<Self, NoTransaction> {
        Loan::take(claim, Lender::begin_sqlx).await.map(Self)
    }
}

impl Deref for IdempotentSqlxTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.transaction()
    }
}

impl DerefMut for IdempotentSqlxTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.transaction_mut()
    }
}

impl fmt::Debug for IdempotentSqlxTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentSqlxTx").field("claim", self.0.claim()).finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for IdempotentSqlxTx {
    type Rejection = NoTransaction;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, NoTransaction> {
        let claim = parts.extensions.get::<RunningClaim>().cloned();
        Self::begin(&claim.ok_or(NoTransaction::Unclaimed)?).await
    }
}
