use std::fmt;

use crate::store::Error;

/// Why a handler has no [`IdempotentTx`](crate::IdempotentTx), or no
/// [`RecoveryPoints`](crate::RecoveryPoints). As a response it says that nothing was executed.
#[derive(Debug)]
#[non_exhaustive]
pub enum NoTransaction {
    /// The request is not protected: it has no key, or its route has no layer.
    Unclaimed,
    /// The request runs unprotected, since the store could not be asked.
    Unprotected,
    /// The store of the layer is no [`PostgresStore`](crate::PostgresStore).
    NoDatabase,
    /// The store was given no pool of `sqlx`:
    /// [`PostgresStore::sqlx`](crate::PostgresStore::sqlx).
    #[cfg(feature = "sqlx")]
    NoSqlxPool,
    /// The transaction is in use already, or was begun as one of another kind, or its handler has
    /// ended.
    InUse,
    /// Another worker owns the key by now.
    ClaimLost,
    /// The database cannot be used.
    Unavailable(Error),
}

impl fmt::Display for NoTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unprotected => "the store could not be asked, so the request has no transaction",
            Self::Unclaimed => {
                "the request has no key, or its route no layer, so it has no transaction"
            }
            Self::NoDatabase => "the store of the layer has no transactions: use a PostgresStore",
            #[cfg(feature = "sqlx")]
            Self::NoSqlxPool => "the store has no pool of sqlx: give it one, PostgresStore::sqlx",
            Self::InUse => "the transaction of this request is in use, or its handler has ended",
            Self::ClaimLost => "another worker owns the key by now",
            Self::Unavailable(_) => "the database cannot be used",
        })
    }
}

impl std::error::Error for NoTransaction {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for NoTransaction {
    fn into_response(self) -> axum::response::Response {
        use super::problem::Problems;
        use crate::engine::{Chain, Rejection, Verdict};

        tracing::error!(error = %Chain(&self), "the handler has no transaction");
        let rejection = match self {
            Self::Unclaimed => Rejection::KeyMissing,
            #[cfg(feature = "sqlx")]
            Self::NoSqlxPool => Rejection::HandlerFailed { retryable: false },
            Self::NoDatabase | Self::InUse => Rejection::HandlerFailed { retryable: false },
            Self::Unprotected | Self::ClaimLost | Self::Unavailable(_) => Rejection::unavailable(),
        };
        let mut response = Problems::new().response(&rejection).map(axum::body::Body::from);
        response.extensions_mut().insert(Verdict::NotExecuted);
        response
    }
}
