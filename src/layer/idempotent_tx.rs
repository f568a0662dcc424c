use std::fmt;
use std::ops::Deref;

use deadpool_postgres::Client;

use super::loan::Loan;
use super::no_transaction::NoTransaction;
use super::transaction::SerializationFailure;
use crate::engine::RunningClaim;
use crate::store::postgres::{Lender, Shared, lost_a_race};

/// A transaction in which what the handler writes is committed together with the outcome of its
/// request, or not at all: its effects in that database happen exactly once.
///
/// It is the handler's own use of PostgreSQL, on a connection of the pool that the
/// [`PostgresStore`](crate::PostgresStore) of the layer was made of. With the `axum` feature it is an
/// extractor. The layer ends the transaction when the response is there:
///
/// - 2xx and 3xx, where it is definitive: the outcome is stored in it and it is committed; then the client is answered.
/// - 4xx, where it is [definitive](crate::Verdict): what the handler wrote is undone, unless
///   [`Policy::refused_writes`](crate::Policy::refused_writes) says otherwise, and the outcome is stored
///   and committed.
/// - An ambiguous answer, a panic, a lost connection, the end of the process: it is rolled back, and a
///   retry runs as if nothing had happened, under every guarantee. An abandoned claim is taken over. A 2xx
///   or 3xx that is declared [ambiguous](crate::Verdict::Ambiguous) is not sent, since it is no success any
///   more: the client gets a 500 `handler-failed`. One that says of itself that nothing was
///   [executed](crate::Verdict::NotExecuted) is.
///
/// If another worker has the claim by then, it is rolled back too, and the client gets the other's
/// answer. If the answer to the commit is lost, the client is told nothing before it is certain whether
/// it was committed.
///
/// Set [`Guarantee::Transactional`](crate::Guarantee::Transactional) for handlers that have effects nowhere
/// else. Their record says from the start that what is not committed did not happen, so nothing is ever
/// unknown, and a request needs one commit less. Under another guarantee the record says so once the
/// transaction is taken: a process that ends between the claim and that, perhaps while it waits for a
/// connection, leaves `outcome-unknown` at most once, though never a row.
///
/// A handler of a transactional route may answer without having taken its transaction. It has done nothing
/// then, as was promised: a definitive answer is stored, every other one frees the key.
///
/// ```
/// use axum::http::StatusCode;
/// use tower_idempotency::IdempotentTx;
///
/// async fn charge(tx: IdempotentTx, amount: String) -> Result<StatusCode, StatusCode> {
///     tx.execute("INSERT INTO charges (amount) VALUES ($1::text::numeric)", &[&amount])
///         .await
///         .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
///     Ok(StatusCode::CREATED)
/// }
/// # let _ = charge;
/// ```
///
/// # What to mind
/// - Do not end the transaction yourself with `COMMIT` or `ROLLBACK`. Savepoints are fine.
/// - It has to be dropped by the time the handler has returned; a short body that is read whole may still
///   have it until it ends. A transaction that somebody has
///   kept is never committed; the client gets a 500 `handler-failed`, and a retry runs.
/// - What the handler does elsewhere does not belong to it: give other services
///   [derived keys](RunningClaim::derived_key).
/// - A handler that does nothing in it for almost a lease is ended by the server, since others have to
///   wait for what it has locked (`idle_in_transaction_session_timeout`).
/// - It is begun when the handler takes it, which waits for a connection of the pool for a lease at most. So
///   take no second connection of that pool meanwhile: handlers that hold one each wait for each other.
pub struct IdempotentTx(Loan<Shared>);

impl IdempotentTx {
    /// The transaction of this claim: begun, or the one that was begun before and is not in use.
    ///
    /// # Errors
    /// If there is none. Then end the handler without an effect: the record may say already that what is
    /// not committed did not happen.
    pub async fn begin(claim: &RunningClaim) -> Result<Self, NoTransaction> {
        Loan::take(claim, Lender::begin).await.map(Self)
    }
}

impl Deref for IdempotentTx {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0.transaction()
    }
}

impl fmt::Debug for IdempotentTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentTx").field("claim", self.0.claim()).finish_non_exhaustive()
    }
}

impl SerializationFailure {
    /// Whether this is what an error of the database's client says: a serialization failure or a
    /// deadlock. An error of your own may be around it, if that names it as its
    /// [`source`](std::error::Error::source).
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| error.source()).any(lost_a_race).then_some(Self)
    }
}

#[cfg(feature = "axum")]
mod extract {
    use axum::extract::FromRequestParts;
    use http::request::Parts;

    use super::{IdempotentTx, NoTransaction, RunningClaim};

    impl<S: Sync> FromRequestParts<S> for IdempotentTx {
        type Rejection = NoTransaction;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoTransaction> {
            let claim = parts.extensions.get::<RunningClaim>().cloned();
            Self::begin(&claim.ok_or(NoTransaction::Unclaimed)?).await
        }
    }
}
